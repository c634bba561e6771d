//! Files are written with the parquet crate's own writer, then read as documents.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::*;
use arrow::record_batch::RecordBatch;
use half::f16;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::json;

use super::*;

fn write(columns: Vec<(&str, ArrayRef)>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(300)).build();
    let mut writer =
        ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    (folder, path)
}

fn strings(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn columns(embedding: Option<&str>, metadata: &[&str]) -> Columns {
    Columns {
        embedding: embedding.map(str::to_owned),
        metadata: metadata.iter().map(|name| (*name).to_owned()).collect(),
        ..Columns::default()
    }
}

fn read(path: &Path, columns: &Columns) -> Vec<Result<Row, ReadError>> {
    ParquetReader::open(path, columns).unwrap().collect()
}

#[test]
fn rows_of_several_groups_become_documents_in_order() {
    let rows = 700;
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let texts: ArrayRef =
        Arc::new(LargeStringArray::from_iter_values((0..rows).map(|row| format!("text {row}"))));
    let titles: ArrayRef =
        Arc::new(StringViewArray::from_iter((0..rows).map(|row| (row > 0).then_some("T"))));
    let (_folder, path) = write(vec![("id", ids), ("text", texts), ("title", titles)]);
    let read: Vec<_> = read(&path, &Columns::default()).into_iter().map(Result::unwrap).collect();
    assert_eq!(read.len(), 700);
    for (row, index) in read.iter().zip(0..) {
        assert_eq!(row.document.id.as_deref(), Some(index.to_string().as_str()));
        assert_eq!(row.document.text, format!("text {index}"));
        assert_eq!(row.document.title.is_some(), index > 0);
        assert_eq!(row.origin.position, Some(index + 1));
    }
    assert_eq!(read[699].bytes_read, std::fs::metadata(&path).unwrap().len());
}

#[test]
fn without_an_id_column_ids_come_from_file_and_row() {
    let dictionary: DictionaryArray<Int32Type> = ["same", "same", "other"].into_iter().collect();
    let (_folder, path) = write(vec![("body", Arc::new(dictionary))]);
    let columns = Columns { text: Some("body".into()), ..Columns::default() };
    let documents: Vec<_> = read(&path, &columns).into_iter().map(|row| row.unwrap().document).collect();
    let pairs: Vec<_> = documents.iter().map(|d| (d.id.as_deref().unwrap(), d.text.as_str())).collect();
    assert_eq!(pairs, [("rows.parquet#1", "same"), ("rows.parquet#2", "same"), ("rows.parquet#3", "other")]);
}

#[test]
fn embeddings_are_read_from_every_list_type_and_from_bytes() {
    let item = |kind| Arc::new(Field::new_list_field(kind, true));
    let offsets = || OffsetBuffer::<i32>::from_lengths([2, 2]);
    let floats = || Arc::new(Float32Array::from(vec![0.5, 1.0, -2.0, 4.0]));
    let doubles = Arc::new(Float64Array::from(vec![0.5, 1.0, -2.0, 4.0]));
    let halves = Arc::new(Float16Array::from_iter_values([0.5, 1.0, -2.0, 4.0].map(f16::from_f32)));
    let bytes: Vec<Vec<u8>> = [[0.5f32, 1.0], [-2.0, 4.0]]
        .iter()
        .map(|vector| vector.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let large = OffsetBuffer::<i64>::from_lengths([2, 2]);
    let arrays: [ArrayRef; 5] = [
        Arc::new(ListArray::new(item(DataType::Float32), offsets(), floats(), None)),
        Arc::new(LargeListArray::new(item(DataType::Float64), large, doubles, None)),
        Arc::new(ListArray::new(item(DataType::Float16), offsets(), halves, None)),
        Arc::new(FixedSizeListArray::new(item(DataType::Float32), 2, floats(), None)),
        Arc::new(FixedSizeBinaryArray::try_from_iter(bytes.iter()).unwrap()),
    ];
    for array in arrays {
        let kind = array.data_type().to_string();
        let (_folder, path) = write(vec![("text", strings(&["a", "b"])), ("v", array)]);
        let vectors: Vec<_> = read(&path, &columns(Some("v"), &[]))
            .into_iter()
            .map(|row| row.unwrap().document.vector.unwrap())
            .collect();
        assert_eq!(vectors, [[0.5, 1.0], [-2.0, 4.0]], "{kind}");
    }
}

#[test]
fn metadata_keeps_types_and_leaves_nulls_out() {
    let tags = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None, Some(2)]), None]);
    let place = StructArray::from(vec![
        (Arc::new(Field::new("city", DataType::Utf8, true)), strings(&["Bern", "Oslo"])),
        (
            Arc::new(Field::new("floor", DataType::Int8, true)),
            Arc::new(Int8Array::from(vec![None, Some(2)])) as _,
        ),
    ]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    map.keys().append_value("k");
    map.values().append_value(7);
    map.append(true).unwrap();
    map.append(false).unwrap();
    let naive = TimestampMicrosecondArray::from(vec![Some(1_500_000), None]);
    let zoned = TimestampMillisecondArray::from(vec![Some(0), None]).with_timezone("Europe/Zurich");
    let decimal = Decimal128Array::from(vec![Some(12_345), None]).with_precision_and_scale(10, 2).unwrap();
    let columns_written: Vec<(&str, ArrayRef)> = vec![
        ("text", strings(&["a", "b"])),
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("small", Arc::new(Float32Array::from(vec![0.1, f32::NAN]))),
        ("big", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None]))),
        ("naive", Arc::new(naive)),
        ("zoned", Arc::new(zoned)),
        ("day", Arc::new(Date32Array::from(vec![Some(20_000), None]))),
        ("decimal", Arc::new(decimal)),
        ("tags", Arc::new(tags)),
        ("place", Arc::new(place)),
        ("map", Arc::new(map.finish())),
    ];
    let names: Vec<_> = columns_written.iter().skip(1).map(|(name, _)| *name).collect();
    let (_folder, path) = write(columns_written);
    let metadata: Vec<_> = read(&path, &columns(None, &names))
        .into_iter()
        .map(|row| serde_json::Value::from(row.unwrap().document.metadata))
        .collect();
    let expected = json!({
        "flag": true, "small": 0.1, "big": u64::MAX, "naive": "1970-01-01T00:00:01.5Z",
        "zoned": "1970-01-01T00:00:00Z", "day": "2024-10-04", "decimal": "123.45", "tags": [1, 2],
        "place": {"city": "Bern"}, "map": {"k": 7},
    });
    assert_eq!(metadata, [expected, json!({"place": {"city": "Oslo", "floor": 2}})]);
}

#[test]
fn bad_rows_are_named_and_the_others_read() {
    let ids: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("one"), Some("two"), None]));
    let (_folder, path) = write(vec![("id", ids), ("text", texts)]);
    let read = read(&path, &Columns::default());
    assert!(read[0].is_ok());
    assert!(read[1].as_ref().unwrap_err().to_string().ends_with("rows.parquet:2: the id is null"));
    assert!(read[2].as_ref().unwrap_err().to_string().ends_with("rows.parquet:3: the text is null"));
}

#[test]
fn columns_that_cannot_serve_are_refused_by_name() {
    let binary: ArrayRef = Arc::new(BinaryArray::from(vec![&b"x"[..]]));
    let numbers: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    let (_folder, path) = write(vec![("text", strings(&["a"])), ("blob", binary), ("n", numbers)]);
    let named = |field: fn(&mut Columns) -> &mut Option<String>, name: &str| {
        let mut columns = Columns::default();
        *field(&mut columns) = Some(name.into());
        columns
    };
    for (columns, expected) in [
        (named(|c| &mut c.text, "blob"), "column `blob` must hold text"),
        (named(|c| &mut c.id, "n"), "column `n` must hold text or whole numbers"),
        (named(|c| &mut c.title, "nope"), "no column `nope`; its columns are: text, blob, n"),
        (named(|c| &mut c.embedding, "n"), "column `n` must hold lists of floats"),
        (columns(None, &["blob"]), "column `blob` can't be metadata"),
    ] {
        let error = ParquetReader::open(&path, &columns).err().unwrap().to_string();
        assert!(error.contains(expected) && error.contains("rows.parquet"), "{error}");
    }
}

#[test]
fn damage_is_an_error_that_names_the_file() {
    let (_folder, path) = write(vec![("text", strings(&["a longer text, so that there is a page"; 400]))]);
    let good = std::fs::read(&path).unwrap();
    for cut in [0, 3, 8, good.len() / 2, good.len() - 1] {
        std::fs::write(&path, &good[..cut]).unwrap();
        let error = ParquetReader::open(&path, &Columns::default()).err().unwrap();
        assert!(error.to_string().contains("rows.parquet: "), "{error}");
    }
    for position in 0..good.len() {
        let mut bad = good.clone();
        bad[position] ^= 0x55;
        std::fs::write(&path, &bad).unwrap();
        // an error or other values, but no panic and no end without a word
        if let Ok(reader) = ParquetReader::open(&path, &Columns::default()) {
            assert!(reader.take(10_000).count() > 0);
        }
    }
}
