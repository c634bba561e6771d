use safetensors::tensor::TensorView;
use tempfile::TempDir;

use super::*;

/// Words and their ids: a tokenizer that splits at white space.
const WORDS: [&str; 4] = ["[UNK]", "red", "green", "blue"];

fn folder(dtype: Dtype, rows: &[[f32; 3]], name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let vocabulary: serde_json::Map<_, _> =
        WORDS.iter().enumerate().map(|(id, word)| ((*word).to_owned(), id.into())).collect();
    let json = serde_json::json!({
        "version": "1.0",
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    });
    std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    let values = rows.iter().flatten();
    let bytes: Vec<u8> = match dtype {
        Dtype::F16 => values.flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
        _ => values.flat_map(|value| value.to_le_bytes()).collect(),
    };
    let tensor = TensorView::new(dtype, vec![rows.len(), 3], &bytes).unwrap();
    let file = folder.path().join("model.safetensors");
    safetensors::serialize_to_file([(name, tensor)], None, &file).unwrap();
    folder
}

const ROWS: [[f32; 3]; 4] = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, -4.0]];

fn open(folder: &TempDir) -> Result<StaticModel, EmbedError> {
    StaticModel::open(folder.path(), Pools::new(2).unwrap())
}

async fn embed(model: &StaticModel, texts: &[&str], kind: Kind) -> Result<Vec<f32>, EmbedError> {
    let texts = texts.iter().map(|text| (*text).to_owned()).collect();
    Ok(model.embed(texts, kind).await?.values)
}

fn close(left: &[f32], right: &[f32]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| (left - right).abs() < 1e-6)
}

#[tokio::test]
async fn a_vector_is_the_unit_mean_of_the_rows() {
    for (dtype, name) in [(Dtype::F16, "embedding.weight"), (Dtype::F32, "embeddings")] {
        let folder = folder(dtype, &ROWS, name);
        let model = open(&folder).unwrap();
        assert_eq!(model.model().dimensions, 3);
        for kind in [Kind::Query, Kind::Document] {
            let values = embed(&model, &["red green", "blue", "green red red"], kind).await.unwrap();
            let (a, b) = (5_f32.sqrt().recip(), 2_f32.sqrt().recip());
            assert!(close(&values, &[a, 2.0 * a, 0.0, 0.0, 0.0, -1.0, b, b, 0.0]), "{values:?}");
        }
    }
}

#[tokio::test]
async fn a_text_with_nothing_known_still_has_a_unit_vector() {
    let folder = folder(Dtype::F16, &ROWS, "embedding.weight");
    let values = embed(&open(&folder).unwrap(), &["", "  ", "mauve"], Kind::Query).await.unwrap();
    assert!(close(&values, &[3_f32.sqrt().recip(); 9]), "{values:?}");
}

#[tokio::test]
async fn many_texts_keep_their_order() {
    let folder = folder(Dtype::F32, &ROWS, "embeddings");
    let long = "green ".repeat(3000);
    let texts: Vec<&str> = (0..200).map(|i| [long.as_str(), "red", "blue"][i % 3]).collect();
    let values = embed(&open(&folder).unwrap(), &texts, Kind::Document).await.unwrap();
    for (i, vector) in values.chunks_exact(3).enumerate() {
        let expected = [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]][i % 3];
        assert!(close(vector, &expected), "text {i}: {vector:?}");
    }
}

#[test]
fn the_id_follows_the_content_not_the_folder() {
    let id = |rows| open(&folder(Dtype::F32, rows, "embeddings")).unwrap().model().id.clone();
    let mut other = ROWS;
    other[2][0] = 0.5;
    assert_eq!(id(&ROWS), id(&ROWS));
    assert_ne!(id(&ROWS), id(&other));
}

#[tokio::test]
async fn what_cannot_be_used_is_said_with_its_path() {
    let check = |error: EmbedError, reason: &str| {
        let message = error.to_string();
        assert!(matches!(error, EmbedError::Config(_)) && message.contains(reason), "{message}");
    };
    let missing = StaticModel::open(Path::new("no/such/folder"), Pools::new(1).unwrap());
    check(missing.err().unwrap(), "no/such/folder");
    check(open(&tempfile::tempdir().unwrap()).err().unwrap(), "exactly one");
    check(open(&folder(Dtype::F32, &ROWS, "weights")).err().unwrap(), "no tensor");
    check(open(&folder(Dtype::I32, &ROWS, "embeddings")).err().unwrap(), "must be a table");

    let damaged = folder(Dtype::F32, &ROWS, "embeddings");
    let path = damaged.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(matches!(open(&damaged), Err(EmbedError::Config(_))), "cut to {length} bytes");
    }

    let few = folder(Dtype::F32, &ROWS[..2], "embeddings");
    check(embed(&open(&few).unwrap(), &["red"], Kind::Query).await.unwrap_err(), "2 rows");
    let infinite = folder(Dtype::F16, &[[f32::NAN; 3]; 4], "embeddings");
    check(embed(&open(&infinite).unwrap(), &["red"], Kind::Query).await.unwrap_err(), "not finite");
}
