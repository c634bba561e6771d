//! Passages a second of the built-in embedder, beside those of `rten` alone with the same network, texts
//! and number of threads. Prints one JSON object.
//!
//! `rten` alone is measured in the three ways it can be used: padded batches on all threads, one text a run on
//! all threads, and one text a run with a run on each thread. It is given token ids; the embedder is given text,
//! and tokenizes, pools and normalises.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use gleaner::chunk::HfTokenizer;
use gleaner::collection::definition::EmbeddingDefinition;
use gleaner::dispatch::Http;
use gleaner::embed::{Embedders, EmbeddingCache, Kind};
use gleaner::runtime::Pools;
use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, ValueView};

const NETWORK: &[u8] = include_bytes!("../models/all-minilm-l6-v2/model.onnx");
const TOKENIZER: &[u8] = include_bytes!("../models/all-minilm-l6-v2/tokenizer.json");
const THREADS: usize = 2;
const PASSAGES: usize = 64;
const PASSAGE_TOKENS: usize = 230;
/// Passages of one padded batch.
const BATCH: usize = 8;
/// All take turns, so that a busy moment of the machine does not fall on one of them only.
const ROUNDS: usize = 7;

/// Passages of this project's documentation, as often as it takes.
fn passages(tokenizer: &dyn gleaner::chunk::Tokenizer) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> =
        root.join("docs").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    files.push(root.join("ARCHITECTURE.md"));
    files.sort();
    let text: String = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let mut tokens = Vec::new();
    tokenizer.tokens(&text, &mut tokens);
    let passage = |tokens: &[std::ops::Range<u32>]| {
        text[tokens[0].start as usize..tokens[PASSAGE_TOKENS - 1].end as usize].to_owned()
    };
    let passages: Vec<String> = tokens.chunks_exact(PASSAGE_TOKENS).map(passage).collect();
    assert!(!passages.is_empty(), "the documentation is shorter than a passage");
    passages.iter().cycle().take(PASSAGES).cloned().collect()
}

/// The network as `rten` runs it.
struct Network {
    model: Model,
    inputs: [NodeId; 3],
    output: NodeId,
}

impl Network {
    fn load() -> Network {
        let model = ModelOptions::with_all_ops().prepack_weights(true).load_static_slice(NETWORK).unwrap();
        let inputs =
            ["input_ids", "attention_mask", "token_type_ids"].map(|name| model.node_id(name).unwrap());
        let output = model.output_ids()[0];
        Network { model, inputs, output }
    }

    /// Runs texts of these tokens as one batch, padded to the longest.
    fn run(&self, texts: &[Vec<i32>], threads: &Arc<ThreadPool>) {
        let width = texts.iter().map(Vec::len).max().unwrap();
        let padded = |value: fn(i32) -> i32| -> Vec<i32> {
            let padding = |text: &Vec<i32>| vec![0; width - text.len()];
            texts.iter().flat_map(|text| text.iter().map(|&id| value(id)).chain(padding(text))).collect()
        };
        let values = [padded(|id| id), padded(|_| 1), padded(|_| 0)];
        let view = |values| ValueView::from_shape([texts.len(), width], values).unwrap().into();
        let inputs = self.inputs.iter().zip(&values).map(|(&id, values)| (id, view(values.as_slice())));
        let options = RunOptions::default().with_thread_pool(Some(threads.clone()));
        let outputs =
            threads.run(|| self.model.run_n(inputs.collect(), [self.output], Some(options))).unwrap();
        black_box(outputs);
    }
}

/// Passages a second of `work`, which embeds all of them.
fn rate(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    PASSAGES as f64 / begun.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).build().unwrap();
    let cache = EmbeddingCache::new("unused".into(), 0);
    let embedders = Embedders::new(Pools::new(THREADS).unwrap(), Http::default(), cache, "models".into());
    let embedder = embedders.open(&EmbeddingDefinition::Builtin {}).unwrap().unwrap();
    let texts = passages(&*embedder.tokenizer().unwrap());

    let tokenizer = HfTokenizer::from_bytes(TOKENIZER).unwrap();
    let special = |token| tokenizer.id_of(token).unwrap() as i32;
    let ids = |text: &String| -> Vec<i32> {
        let body = tokenizer.ids(text).unwrap().into_iter().map(|id| id as i32);
        std::iter::once(special("[CLS]")).chain(body).chain([special("[SEP]")]).collect()
    };
    let ids: Vec<Vec<i32>> = texts.iter().map(ids).collect();
    let network = Network::load();

    let embed = |texts: &[String]| {
        let vectors = runtime.block_on(embedder.embed(texts.to_vec(), Kind::Document)).unwrap();
        assert_eq!(vectors.rows().len(), texts.len());
    };
    let pool = |threads| Arc::new(ThreadPool::with_num_threads(threads));
    let (wide, narrow) = (pool(THREADS), [(); THREADS].map(|()| pool(1)));
    let in_batches = || ids.chunks(BATCH).for_each(|batch| network.run(batch, &wide));
    let one_by_one = || ids.chunks(1).for_each(|text| network.run(text, &wide));
    let side_by_side = || {
        std::thread::scope(|scope| {
            for (texts, thread) in ids.chunks(PASSAGES / THREADS).zip(&narrow) {
                let network = &network;
                scope.spawn(move || texts.chunks(1).for_each(|text| network.run(text, thread)));
            }
        });
    };
    embed(&texts[..BATCH]); // loads the model
    network.run(&ids[..BATCH], &wide);
    let mut rates: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        rates[0].push(rate(|| embed(&texts)));
        rates[1].push(rate(in_batches));
        rates[2].push(rate(one_by_one));
        rates[3].push(rate(side_by_side));
    }
    let [ours, batches, one_by_one, side_by_side] = rates.map(median);
    let result = serde_json::json!({
        "benchmark": "embedding",
        "threads": THREADS,
        "passage_tokens": PASSAGE_TOKENS,
        "gleaner_per_s": ours,
        "rten_in_batches_per_s": batches,
        "rten_one_by_one_per_s": one_by_one,
        "rten_side_by_side_per_s": side_by_side,
        "ratio_to_fastest": ours / batches.max(one_by_one).max(side_by_side),
    });
    println!("{result}");
}
