use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::*;
use crate::chunk::ApproximateTokenizer;

/// Derives vectors from texts, remembers what it was asked for, and waits at its gate for each text.
struct Fake {
    model: Model,
    asked: Mutex<Vec<String>>,
    gate: Semaphore,
}

impl Fake {
    fn new(id: &str) -> Arc<Fake> {
        let model = Model {
            id: id.into(),
            origin: String::new(),
            dimensions: 3,
            max_tokens: 100,
            dense_weight: 0.5,
            dense_floor: 0.0,
            english: true,
        };
        Arc::new(Fake { model, asked: Mutex::default(), gate: Semaphore::new(1000) })
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn vector(text: &str) -> [f32; 3] {
    let sum: u32 = text.bytes().map(u32::from).sum();
    [text.len() as f32, sum as f32, 1.0]
}

#[async_trait]
impl Embedder for Fake {
    fn model(&self) -> &Model {
        &self.model
    }

    fn tokenizer(&self) -> Result<Arc<dyn Tokenizer>, EmbedError> {
        Ok(Arc::new(ApproximateTokenizer))
    }

    async fn embed(&self, texts: Vec<String>, kind: Kind) -> Result<Embeddings, EmbedError> {
        self.embed_each(texts, kind, &|_, _| {}, &Stop::new()).await
    }

    async fn embed_each(
        &self,
        texts: Vec<String>,
        _: Kind,
        arrived: &Arrived<'_>,
        _: &Stop,
    ) -> Result<Embeddings, EmbedError> {
        let mut values = Vec::new();
        for (at, text) in texts.into_iter().enumerate() {
            self.asked.lock().unwrap().push(text.clone());
            self.gate.acquire().await.unwrap().forget();
            if text.contains("poison") {
                return Err(EmbedError::Provider("no poison, please".into()));
            }
            arrived(at, &vector(&text));
            values.extend(vector(&text));
        }
        Ok(Embeddings { dimensions: 3, values, ..Embeddings::default() })
    }
}

fn cached(fake: &Arc<Fake>, dir: &std::path::Path) -> (EmbeddingCache, Arc<dyn Embedder>) {
    let cache = EmbeddingCache::new(dir.into(), 1 << 20);
    let embedder = cache.around(fake.clone(), Pools::new(1).unwrap());
    (cache, embedder)
}

async fn embed(embedder: &dyn Embedder, texts: &[&str], kind: Kind) -> Result<(), EmbedError> {
    let owned = texts.iter().map(|text| (*text).to_owned()).collect();
    let embeddings = embedder.embed(owned, kind).await?;
    assert_eq!(embeddings.rows().len(), texts.len());
    for (row, text) in embeddings.rows().zip(texts) {
        assert_eq!(row, vector(text), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn a_text_is_embedded_once_across_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::new("m");
    for round in 0..2 {
        let (_, embedder) = cached(&fake, dir.path());
        embed(&*embedder, &["one", "two", "one"], Kind::Document).await.unwrap();
        let first: &[&str] = if round == 0 { &["one", "two"] } else { &[] };
        assert_eq!(fake.asked(), first);
        embed(&*embedder, &["two", "three", "one"], Kind::Document).await.unwrap();
        let second: &[&str] = if round == 0 { &["three"] } else { &[] };
        assert_eq!(fake.asked(), second);
        embed(&*embedder, &[], Kind::Document).await.unwrap();
    }
}

#[tokio::test]
async fn each_text_is_told_once_whether_it_was_known_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::new("m");
    let (_, embedder) = cached(&fake, dir.path());
    embed(&*embedder, &["one", "two"], Kind::Document).await.unwrap();
    let texts = ["one", "new", "two", "one", "new", "newer"];
    let told = Mutex::new(vec![0; texts.len()]);
    let arrived = |first: usize, values: &[f32]| {
        for (offset, values) in values.chunks_exact(3).enumerate() {
            assert_eq!(values, vector(texts[first + offset]));
            told.lock().unwrap()[first + offset] += 1;
        }
    };
    let owned = texts.iter().map(|text| (*text).to_owned()).collect();
    embedder.embed_each(owned, Kind::Document, &arrived, &Stop::new()).await.unwrap();
    assert_eq!(*told.lock().unwrap(), [1; 6]);
}

#[tokio::test]
async fn vectors_of_models_and_kinds_are_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (Fake::new("m"), Fake::new("n"));
    for fake in [&one, &other] {
        let (_, embedder) = cached(fake, dir.path());
        for kind in [Kind::Document, Kind::Query] {
            embed(&*embedder, &["text"], kind).await.unwrap();
            assert_eq!(fake.asked(), ["text"]);
        }
    }
}

#[tokio::test]
async fn what_arrived_before_a_failure_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::new("m");
    let (_, embedder) = cached(&fake, dir.path());
    embed(&*embedder, &["one", "two", "poison", "three"], Kind::Document).await.unwrap_err();
    fake.asked();
    embed(&*embedder, &["one", "two", "three"], Kind::Document).await.unwrap();
    assert_eq!(fake.asked(), ["three"]);
}

#[tokio::test]
async fn the_same_query_asked_at_once_is_embedded_once() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::new("m");
    fake.gate.forget_permits(1000);
    let (cache, embedder) = cached(&fake, dir.path());
    let ask = || {
        let embedder = Arc::clone(&embedder);
        tokio::spawn(async move { embed(&*embedder, &["what?"], Kind::Query).await })
    };
    let asking: Vec<_> = (0..20).map(|_| ask()).collect();
    while cache.stats().queries.shared < 19 {
        tokio::task::yield_now().await;
    }
    // whoever asked first goes away: the others still get their answer
    asking[0].abort();
    tokio::task::yield_now().await;
    fake.gate.add_permits(1000);
    for (at, asked) in asking.into_iter().enumerate() {
        assert!(at == 0 || asked.await.unwrap().is_ok());
    }
    assert_eq!(fake.asked(), ["what?"]);
    ask().await.unwrap().unwrap();
    assert_eq!(cache.stats().queries, QueryStats { hits: 1, misses: 1, shared: 19 });
}

#[tokio::test]
async fn a_failed_query_is_told_to_all_and_tried_again_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::new("m");
    fake.gate.forget_permits(1000);
    let (_, embedder) = cached(&fake, dir.path());
    let open = async { fake.gate.add_permits(1000) };
    let ask = || embed(&*embedder, &["poison"], Kind::Query);
    let (one, other, ()) = tokio::join!(ask(), ask(), open);
    assert!(one.is_err() && other.is_err());
    assert_eq!(fake.asked(), ["poison"]);
    embed(&*embedder, &["poison"], Kind::Query).await.unwrap_err();
    assert_eq!(fake.asked(), ["poison"]);
}

#[tokio::test]
async fn a_query_nobody_waits_for_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::new("m");
    fake.gate.forget_permits(1000);
    let (_, embedder) = cached(&fake, dir.path());
    let run = embed(&*embedder, &["what?"], Kind::Query);
    assert!(tokio::time::timeout(Duration::from_millis(10), run).await.is_err());
    fake.gate.add_permits(1000);
    assert_eq!(fake.asked(), ["what?"]);
    embed(&*embedder, &["what?"], Kind::Query).await.unwrap();
    assert_eq!(fake.asked(), ["what?"], "the first run did not end behind our back");
}
