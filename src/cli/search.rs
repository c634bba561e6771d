//! `gleaner search`: one search, in a data directory or on a server.

use std::fmt::Write;

use anyhow::Result;
use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::output::{self, excerpt, wrap};
use super::signals;
use super::target::{Target, TargetArguments};
use crate::config::Config;
use crate::search::request::{GroupBy, Mode, SearchRequest};
use crate::search::response::{Hit, LegScore, SearchResponse, StageState};

/// Characters of a hit's text that are shown.
const EXCERPT: usize = 200;

/// Arguments of `gleaner search`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Name of the collection
    collection: String,
    /// The question or keywords; words in double quotes must occur as that phrase
    query: String,
    /// hybrid, dense or lexical; otherwise every leg the collection has
    #[arg(long, value_parser = from_name::<Mode>)]
    mode: Option<Mode>,
    /// The most hits
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Only documents whose metadata pass, e.g. '{"type":"eq","key":"lang","value":"en"}'
    #[arg(long, value_name = "JSON", value_parser = |text: &str| serde_json::from_str::<Value>(text))]
    filter: Option<Value>,
    /// At most one hit a document
    #[arg(long)]
    group: bool,
    /// Compare with every vector instead of walking the graph
    #[arg(long)]
    exact: bool,
    /// Show how each score came about
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    target: TargetArguments,
    /// Print the answer as REST gives it
    #[arg(long)]
    json: bool,
}

/// Reads one of the names the API uses.
fn from_name<T: DeserializeOwned>(name: &str) -> Result<T, String> {
    serde_json::from_value(name.into()).map_err(|error| error.to_string())
}

pub async fn run(arguments: Arguments, config: Config) -> Result<()> {
    let target = Target::open(&arguments.target, &config).await?;
    let request = SearchRequest {
        query: Some(arguments.query),
        mode: arguments.mode,
        limit: arguments.limit,
        filter: arguments.filter,
        group_by: arguments.group.then_some(GroupBy::Document),
        exact: arguments.exact,
        explain: arguments.explain,
        ..SearchRequest::default()
    };
    let answer =
        signals::interruptible(async { Ok(target.search(&arguments.collection, request).await?) }).await;
    target.close().await;
    let answer = answer?;
    if arguments.json { output::json(&answer) } else { Ok(output::line(show(&answer))?) }
}

/// The answer for people, in 80 columns.
pub fn show(answer: &SearchResponse) -> String {
    let mut text = String::new();
    for (hit, rank) in answer.hits.iter().zip(1..) {
        show_hit(&mut text, hit, rank);
    }
    let count = answer.hits.len();
    let _ = write!(text, "{count} {} in {}", if count == 1 { "hit" } else { "hits" }, timings(answer));
    let status = &answer.status;
    for (name, stage) in [("dense", &status.dense), ("lexical", &status.lexical), ("rerank", &status.rerank)]
    {
        let what = match stage.state {
            StageState::Failed => "failed",
            StageState::Partial => "is partial",
            StageState::Ok | StageState::Skipped => continue,
        };
        let reason = stage.error.as_deref().unwrap_or("no reason given");
        let _ = write!(text, "\n{}", wrap(&format!("degraded: {name} {what}: {reason}"), 0));
    }
    text
}

fn show_hit(text: &mut String, hit: &Hit, rank: usize) {
    let title = hit.title.as_deref().unwrap_or(&hit.document_id);
    // a document's first heading is often its title
    let headings = hit.headings.iter().map(String::as_str).skip_while(|heading| *heading == title);
    let path: Vec<_> = std::iter::once(title).chain(headings).collect();
    let _ = writeln!(text, "{rank}. {}", wrap(&path.join(" › "), 3).trim_start());
    let place = hit.uri.as_deref().unwrap_or(&hit.document_id);
    let _ = writeln!(text, "   score {:.3} · {place} · chunk {} of {}", hit.score, hit.chunk + 1, hit.chunks);
    let _ = writeln!(text, "{}", wrap(&excerpt(&hit.text, EXCERPT), 3));
    if let Some(explain) = &hit.explain {
        let mut parts = vec![format!("fused {:.3}", explain.fused)];
        parts.extend(explain.dense.map(|score| leg("dense", score)));
        parts.extend(explain.lexical.map(|score| leg("lexical", score)));
        parts.extend(explain.rerank.map(|score| format!("rerank {score:.3}")));
        let _ = writeln!(text, "{}", wrap(&parts.join(" · "), 3));
    }
    text.push('\n');
}

fn leg(name: &str, LegScore { rank, raw, normalized }: LegScore) -> String {
    let rank = rank.map_or_else(|| "not recalled".to_owned(), |rank| format!("#{rank}"));
    format!("{name} {rank} {raw:.3} → {normalized:.3}")
}

fn timings(answer: &SearchResponse) -> String {
    let timings = &answer.timings;
    let parts: Vec<_> =
        timings.stages().map(|(stage, milliseconds)| format!("{stage} {milliseconds:.1}")).collect();
    format!("{:.1} ms ({})", timings.total_ms, parts.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hits_are_shown_in_eighty_columns() {
        let answer = json!({
            "hits": [{
                "document_id": "docs/promise.md", "chunk": 1, "chunks": 4, "score": 0.7312, "title": "The promise",
                "text": "word ".repeat(100), "headings": ["The promise", "What 2xx means"],
                "uri": "docs/promise.md", "metadata": {},
                "span": {"byte_start": 0, "byte_end": 500, "char_start": 0, "char_end": 500},
                "explain": {"fused": 0.7312, "dense": {"rank": 1, "raw": 0.6, "normalized": 0.6},
                            "lexical": {"raw": 12.0, "normalized": 0.8}},
            }],
            "status": {"degraded": true, "dense": {"state": "ok"}, "lexical": {"state": "ok"},
                       "rerank": {"state": "failed", "error": "the provider did not answer in 3000 ms"}},
            "timings": {"embed_ms": 8.25, "filter_ms": 0.0, "dense_ms": 1.0, "lexical_ms": 0.5, "fuse_ms": 0.1,
                        "rerank_ms": 0.0, "assemble_ms": 0.2, "total_ms": 10.0},
        });
        let text = show(&serde_json::from_value(answer).unwrap());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.starts_with(
            "1. The promise › What 2xx means\n   score 0.731 · docs/promise.md · chunk 2 of 4\n"
        ));
        assert!(text.contains("fused 0.731 · dense #1 0.600 → 0.600 · lexical not recalled 12.000 → 0.800"));
        assert!(text.contains("1 hit in 10.0 ms (embed 8.2, dense 1.0"), "{text}");
        assert!(text.ends_with("degraded: rerank failed: the provider did not answer in 3000 ms"), "{text}");
    }

    #[test]
    fn modes_have_the_names_of_the_api() {
        assert_eq!(from_name::<Mode>("lexical"), Ok(Mode::Lexical));
        assert!(from_name::<Mode>("sparse").unwrap_err().contains("`hybrid`"));
    }
}
