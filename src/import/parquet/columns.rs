//! What the columns of a Parquet file mean, and how a row of them becomes a document.

use arrow::array::{Array, ArrayRef, AsArray, LargeStringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Schema};
use arrow::record_batch::RecordBatch;

use super::value;
use crate::document::{Document, Metadata};

/// Which columns hold what. Where `id`, `text` or `title` is not named, a column of that name is taken if
/// there is one (`text` must be there).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// Strings or whole numbers.
    pub id: Option<String>,
    /// Strings.
    pub text: Option<String>,
    /// Strings.
    pub title: Option<String>,
    /// Lists of floats, or FixedSizeBinary of little-endian f32.
    pub embedding: Option<String>,
    /// Anything but binary data; the names become metadata keys.
    pub metadata: Vec<String>,
}

/// The columns as they were found in a file: indices of top-level fields.
pub(super) struct Selection {
    id: Option<usize>,
    text: usize,
    title: Option<usize>,
    embedding: Option<usize>,
    metadata: Vec<(String, usize)>,
}

impl Selection {
    /// Finds the columns and checks their types; the reason names the column and what there is instead.
    pub(super) fn find(columns: &Columns, schema: &Schema) -> Result<Selection, String> {
        let index = |name: &str| schema.fields().iter().position(|field| field.name() == name);
        let named = |name: &str| {
            index(name).ok_or_else(|| {
                let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                format!("has no column `{name}`; its columns are: {}", names.join(", "))
            })
        };
        let or_default = |given: &Option<String>, default: &str| match given {
            Some(name) => named(name).map(Some),
            None => Ok(index(default)),
        };
        let selection = Selection {
            id: or_default(&columns.id, "id")?,
            text: named(columns.text.as_deref().unwrap_or("text"))?,
            title: or_default(&columns.title, "title")?,
            embedding: columns.embedding.as_deref().map(named).transpose()?,
            metadata: columns
                .metadata
                .iter()
                .map(|name| Ok((name.clone(), named(name)?)))
                .collect::<Result<_, String>>()?,
        };
        let check = |index: usize, ok: fn(&DataType) -> bool, wanted: &str| {
            let field = schema.field(index);
            if ok(field.data_type()) { Ok(()) } else { Err(wrong_type(field, wanted)) }
        };
        check(selection.text, is_text, "text")?;
        selection.title.map_or(Ok(()), |index| check(index, is_text, "text"))?;
        let is_id = |kind: &DataType| is_text(kind) || kind.is_integer();
        selection.id.map_or(Ok(()), |index| check(index, is_id, "text or whole numbers"))?;
        let wanted = "lists of floats, or FixedSizeBinary of f32,";
        selection.embedding.map_or(Ok(()), |index| check(index, is_embedding, wanted))?;
        for (_, index) in &selection.metadata {
            value::check_type(schema.field(*index))?;
        }
        Ok(selection)
    }

    /// Every column that is read.
    pub(super) fn indices(&self) -> Vec<usize> {
        let single = [self.id, Some(self.text), self.title, self.embedding];
        let mut indices: Vec<_> =
            single.into_iter().flatten().chain(self.metadata.iter().map(|(_, index)| *index)).collect();
        indices.sort_unstable();
        indices.dedup();
        indices
    }
}

fn wrong_type(field: &Field, wanted: &str) -> String {
    format!("column `{}` must hold {wanted} and holds {}", field.name(), field.data_type())
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

fn is_embedding(kind: &DataType) -> bool {
    match kind {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type().is_floating()
        }
        DataType::FixedSizeBinary(bytes) => *bytes > 0 && bytes % 4 == 0,
        _ => false,
    }
}

/// The selected columns of one batch, ready to be read row by row.
pub(super) struct BatchColumns<'a> {
    id: Option<LargeStringArray>,
    text: LargeStringArray,
    title: Option<LargeStringArray>,
    embedding: Option<ArrayRef>,
    metadata: Vec<(&'a str, ArrayRef)>,
}

impl<'a> BatchColumns<'a> {
    /// `batch` holds the columns of [`Selection::indices`], in that order.
    pub(super) fn new(selection: &'a Selection, batch: &RecordBatch) -> Result<Self, String> {
        let indices = selection.indices();
        let column = |index: usize| {
            let position = indices.binary_search(&index).ok();
            let column = position.and_then(|position| batch.columns().get(position));
            column.cloned().ok_or_else(|| "the columns don't match the schema".to_owned())
        };
        let strings = |index: usize| {
            let strings = cast(&column(index)?, &DataType::LargeUtf8).map_err(|error| error.to_string())?;
            Ok::<_, String>(strings.as_string::<i64>().clone())
        };
        Ok(BatchColumns {
            id: selection.id.map(strings).transpose()?,
            text: strings(selection.text)?,
            title: selection.title.map(strings).transpose()?,
            embedding: selection.embedding.map(column).transpose()?,
            metadata: selection
                .metadata
                .iter()
                .map(|(name, index)| Ok((name.as_str(), column(*index)?)))
                .collect::<Result<_, String>>()?,
        })
    }

    /// The document in `row`, or why there is none.
    pub(super) fn document(&self, row: usize) -> Result<Document, String> {
        let string = |column: &LargeStringArray| column.is_valid(row).then(|| column.value(row).to_owned());
        let id = match &self.id {
            Some(column) => Some(string(column).ok_or("the id is null")?),
            None => None,
        };
        let mut metadata = Metadata::new();
        for (name, column) in &self.metadata {
            let value = value::value(column.as_ref(), row).map_err(|reason| format!("{name}: {reason}"))?;
            if let Some(value) = value {
                metadata.insert((*name).to_owned(), value);
            }
        }
        Ok(Document {
            id,
            text: string(&self.text).ok_or("the text is null")?,
            title: self.title.as_ref().and_then(string).filter(|title| !title.trim().is_empty()),
            uri: None,
            metadata,
            vector: self.embedding.as_ref().map_or(Ok(None), |column| vector(column.as_ref(), row))?,
        })
    }
}

/// The vector in `row`; a null is no vector.
fn vector(column: &dyn Array, row: usize) -> Result<Option<Vec<f32>>, String> {
    if column.is_null(row) {
        return Ok(None);
    }
    let list = match column.data_type() {
        DataType::FixedSizeBinary(_) => {
            let (values, _) = column.as_fixed_size_binary().value(row).as_chunks::<4>();
            return Ok(Some(values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()));
        }
        DataType::FixedSizeList(..) => column.as_fixed_size_list().value(row),
        DataType::LargeList(_) => column.as_list::<i64>().value(row),
        _ => column.as_list::<i32>().value(row),
    };
    if list.null_count() > 0 {
        return Err("the embedding holds a null".into());
    }
    let floats = cast(&list, &DataType::Float32).map_err(|error| error.to_string())?;
    Ok(Some(floats.as_primitive::<Float32Type>().values().to_vec()))
}
