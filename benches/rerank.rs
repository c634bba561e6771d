//! Pairs a second of a local cross-encoder in the ways `rten` can run it, and whether a pair's number depends on the
//! others of its run. Prints one JSON object.
//!
//! Arguments: the folder of the model (see `gleaner models`), and a folder in BEIR layout. The pairs are the first
//! queries with documents of the set, so their lengths are as different as those of passages are.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use gleaner::chunk::HfTokenizer;
use gleaner::eval::beir::BeirSet;
use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, ValueView};

const THREADS: usize = 2;
/// Pairs of a query.
const CANDIDATES: usize = 20;
const QUERIES: usize = 3;
/// Pairs of one padded batch.
const BATCH: usize = 5;
/// All take turns, so that a busy moment of the machine does not fall on one of them only.
const ROUNDS: usize = 5;
const MAX_TOKENS: usize = 512;

/// Token ids of a pair, and where its second text begins.
type Pair = (Vec<i32>, usize);

/// The network as `rten` runs it.
struct Network {
    model: Model,
    inputs: [NodeId; 3],
    output: NodeId,
}

impl Network {
    fn load(folder: &std::path::Path) -> Network {
        let path = gleaner::local::manifest::network(folder).unwrap();
        let model = ModelOptions::with_all_ops().prepack_weights(true).load_file(path).unwrap();
        let inputs =
            ["input_ids", "attention_mask", "token_type_ids"].map(|name| model.node_id(name).unwrap());
        let output = model.output_ids()[0];
        Network { model, inputs, output }
    }

    /// The numbers of these pairs, run as one batch that is padded to the longest.
    fn run(&self, pairs: &[&Pair], threads: &Arc<ThreadPool>) -> Vec<f32> {
        let width = pairs.iter().map(|(ids, _)| ids.len()).max().unwrap();
        let padded = |value: fn(i32, usize, usize) -> i32| -> Vec<i32> {
            let row = |(ids, second): &&Pair| {
                let mut row = vec![0; width];
                ids.iter().enumerate().for_each(|(at, &id)| row[at] = value(id, at, *second));
                row
            };
            pairs.iter().flat_map(row).collect()
        };
        let values =
            [padded(|id, _, _| id), padded(|_, _, _| 1), padded(|_, at, second| (at >= second).into())];
        let view = |values| ValueView::from_shape([pairs.len(), width], values).unwrap().into();
        let inputs = self.inputs.iter().zip(&values).map(|(&id, values)| (id, view(values.as_slice())));
        let options = RunOptions::default().with_thread_pool(Some(threads.clone()));
        let [output] =
            threads.run(|| self.model.run_n(inputs.collect(), [self.output], Some(options))).unwrap();
        output.into_shape_vec::<f32, 2>().unwrap().1
    }

    /// One thread for each of `pools`, each of which takes the next batch when it is done with one.
    fn side_by_side(&self, batches: &[Vec<&Pair>], pools: &[Arc<ThreadPool>]) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for pool in pools {
                scope.spawn(|| {
                    while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                        self.run(batch, pool);
                    }
                });
            }
        });
    }
}

fn pairs(tokenizer: &HfTokenizer, set: &BeirSet) -> Vec<Vec<Pair>> {
    let special = |token| tokenizer.id_of(token).unwrap() as i32;
    let ids = |text: &str| tokenizer.ids(text).unwrap().into_iter().map(|id| id as i32);
    let documents: Vec<_> = set.documents.chunks(CANDIDATES).take(QUERIES).collect();
    let of_query =
        |(query, documents): (&gleaner::eval::beir::JudgedQuery, &&[gleaner::document::Document])| {
            let pair = |document: &gleaner::document::Document| {
                let mut pair: Vec<i32> = std::iter::once(special("[CLS]"))
                    .chain(ids(&query.text))
                    .chain([special("[SEP]")])
                    .collect();
                let second = pair.len();
                pair.extend(ids(&document.text));
                pair.truncate(MAX_TOKENS - 1);
                pair.push(special("[SEP]"));
                (pair, second)
            };
            documents.iter().map(pair).collect()
        };
    set.queries.iter().zip(&documents).map(of_query).collect()
}

/// The pairs of a query in runs of `size`.
fn runs<'a>(query: &[&'a Pair], size: usize) -> Vec<Vec<&'a Pair>> {
    query.chunks(size).map(<[_]>::to_vec).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let folders: Vec<PathBuf> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).map(PathBuf::from).collect();
    let [model, set] = &folders[..] else {
        println!("rerank: not run, it needs the folder of a cross-encoder and one in BEIR layout");
        return;
    };
    let tokenizer = HfTokenizer::from_bytes(&std::fs::read(model.join("tokenizer.json")).unwrap()).unwrap();
    let queries = pairs(&tokenizer, &BeirSet::read(set).unwrap());
    let network = Network::load(model);
    let pool = |threads| Arc::new(ThreadPool::with_num_threads(threads));
    let (wide, narrow) = (pool(THREADS), [(); THREADS].map(|()| pool(1)));

    let mut by_length: Vec<Vec<&Pair>> = queries.iter().map(|query| query.iter().collect()).collect();
    by_length.iter_mut().for_each(|query| query.sort_by_key(|(ids, _)| std::cmp::Reverse(ids.len())));
    // the pairs of each query, one a run as they come, one a run the longest first, and in batches of similar length
    let as_they_come: Vec<_> =
        queries.iter().map(|query| runs(&query.iter().collect::<Vec<_>>(), 1)).collect();
    let longest_first: Vec<_> = by_length.iter().map(|query| runs(query, 1)).collect();
    let batches: Vec<Vec<_>> = by_length.iter().map(|query| runs(query, BATCH)).collect();

    let one_after_other = |queries: &[Vec<Vec<&Pair>>]| {
        queries.iter().flatten().for_each(|batch| drop(network.run(batch, &wide)))
    };
    let side_by_side =
        |queries: &[Vec<Vec<&Pair>>]| queries.iter().for_each(|query| network.side_by_side(query, &narrow));
    let ways: [(&str, &dyn Fn()); 5] = [
        ("one_by_one", &|| one_after_other(&as_they_come)),
        ("batches", &|| one_after_other(&batches)),
        ("side_by_side", &|| side_by_side(&as_they_come)),
        ("side_by_side_longest_first", &|| side_by_side(&longest_first)),
        ("batches_side_by_side", &|| side_by_side(&batches)),
    ];
    let mut rates = ways.map(|_| Vec::new());
    let count = queries.iter().flatten().count();
    for _ in 0..ROUNDS {
        for ((_, work), rates) in ways.iter().zip(&mut rates) {
            let begun = Instant::now();
            work();
            rates.push(count as f64 / begun.elapsed().as_secs_f64());
        }
    }
    let rates: serde_json::Map<_, _> =
        ways.iter().zip(rates).map(|((name, _), rates)| ((*name).to_owned(), median(rates).into())).collect();

    let mut moved: Vec<f64> = Vec::new();
    for batch in batches.iter().flatten() {
        let together = network.run(batch, &wide);
        let alone = batch.iter().map(|pair| network.run(&[pair], &wide)[0]);
        moved.extend(alone.zip(together).map(|(alone, together)| f64::from((alone - together).abs())));
    }
    let again = queries[0].iter().all(|pair| network.run(&[pair], &wide) == network.run(&[pair], &narrow[0]));
    let tokens: usize = queries.iter().flatten().map(|(ids, _)| ids.len()).sum();
    let result = serde_json::json!({
        "benchmark": "rerank",
        "threads": THREADS,
        "tokens_per_pair": tokens as f64 / count as f64,
        "batch": BATCH,
        "pairs_per_s": rates,
        "batched_logits_differ_by_at_most": moved.iter().copied().fold(0.0, f64::max),
        "batched_logits_differ_by_median": median(moved),
        "single_logits_same_on_any_threads": again,
    });
    println!("{result}");
}
