use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::embed::{Embedder, Kind};

async fn embed(model: &Onnx, texts: &[&str], kind: Kind) -> Vec<Vec<f32>> {
    let texts = texts.iter().map(|text| (*text).to_owned()).collect();
    model.embed(texts, kind).await.unwrap().rows().map(<[f32]>::to_vec).collect()
}

fn cosine(left: &[f32], right: &[f32]) -> f32 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

#[tokio::test]
async fn vectors_are_those_of_the_model() {
    let model = open(2);
    let texts = ["The cat sits on the mat.", "gleaner finds passages"];
    let vectors = embed(&model, &texts, Kind::Document).await;
    // the first values ONNX Runtime 1.32 gives for the same file, pooled in float32
    let golden = [
        [0.122_985, -0.018_112, -0.020_118, 0.036_119, -0.038_618, 0.038_139, 0.044_658, 0.028_430],
        [-0.029_193, 0.068_567, 0.031_838, -0.009_595, 0.033_878, -0.046_404, 0.079_202, -0.054_421],
    ];
    for (vector, golden) in vectors.iter().zip(golden) {
        assert_eq!(vector.len(), 384);
        assert!((cosine(vector, vector) - 1.0).abs() < 1e-5);
        for (value, golden) in vector.iter().zip(golden) {
            assert!((value - golden).abs() < 0.005, "{:?} is not {golden}", &vector[..8]);
        }
    }
}

#[tokio::test]
async fn near_meanings_are_near() {
    let model = open(2);
    let texts = ["How do I reset my password?", "I forgot my login credentials", "The soup needs more salt"];
    let vectors = embed(&model, &texts, Kind::Query).await;
    let (near, far) = (cosine(&vectors[0], &vectors[1]), cosine(&vectors[0], &vectors[2]));
    assert!(near > 0.4 && far < 0.2, "{near} {far}");
}

#[tokio::test]
async fn a_vector_does_not_depend_on_company_or_kind() {
    let model = open(2);
    let long = "a much longer text that stands beside the others ".repeat(20);
    let texts = ["short", long.as_str(), "of middle length, by the way", ""];
    let together = embed(&model, &texts, Kind::Document).await;
    for (text, vector) in texts.iter().zip(&together) {
        assert_eq!(&embed(&model, &[text], Kind::Query).await[0], vector, "{text:?}");
    }
}

#[tokio::test]
async fn only_the_first_254_tokens_count() {
    let model = open(2);
    let text = |words: usize| "word ".repeat(words);
    let texts = [text(253), text(254), text(255), text(100_000)];
    let vectors = embed(&model, &texts.each_ref().map(String::as_str), Kind::Document).await;
    assert_ne!(vectors[0], vectors[1]);
    assert_eq!(vectors[1], vectors[2]);
    assert_eq!(vectors[1], vectors[3]);
}

#[tokio::test]
async fn any_text_has_a_vector() {
    let model = open(2);
    let texts = ["", " \n", "\0", "東京都", "🦀🦀", "\u{feff}\u{200b}", "a\u{301}\u{301}\u{301}"];
    for vector in embed(&model, &texts, Kind::Query).await {
        assert!((cosine(&vector, &vector) - 1.0).abs() < 1e-5);
    }
}

#[tokio::test]
async fn a_query_does_not_wait_for_an_import_and_a_dropped_import_ends() {
    let model = Arc::new(open(1));
    model.warm().await.unwrap();
    let texts = vec!["word ".repeat(250); 400];
    let import = tokio::spawn({
        let model = model.clone();
        async move { model.embed(texts, Kind::Document).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!model.documents().is_idle(1) && model.queries().is_idle(1));
    embed(&model, &["a question"], Kind::Query).await;
    assert!(!import.is_finished(), "the import is longer than the query");

    import.abort();
    // the run that was under way may end; after it there is none
    let quiet = async {
        let mut idle = 0;
        while idle < 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            idle = if model.documents().is_idle(1) { idle + 1 } else { 0 };
        }
    };
    tokio::time::timeout(Duration::from_secs(10), quiet).await.unwrap();
}
