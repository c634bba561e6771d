use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

static MINILM: LazyLock<HfTokenizer> = LazyLock::new(|| {
    HfTokenizer::from_bytes(include_bytes!("../../models/all-minilm-l6-v2/tokenizer.json")).unwrap()
});

fn chunker(max_tokens: u32, overlap_tokens: u32) -> Chunker {
    Chunker { strategy: ChunkingStrategy::Markdown, max_tokens, overlap_tokens }
}

/// Texts and heading paths of the chunks of `source`.
fn cut(max_tokens: u32, source: &str) -> Vec<(String, Vec<String>)> {
    chunker(max_tokens, 0)
        .chunk(&*MINILM, None, source)
        .into_iter()
        .map(|chunk| (text(source, &chunk).to_string(), chunk.headings))
        .collect()
}

fn text<'a>(source: &'a str, chunk: &Chunk) -> &'a str {
    &source[chunk.bytes.start as usize..chunk.bytes.end as usize]
}

/// `count` one-token words.
fn words(count: usize) -> String {
    vec!["word"; count].join(" ")
}

#[track_caller]
fn check(chunker: &Chunker, tokenizer: &dyn Tokenizer, title: Option<&str>, source: &str) {
    let chunks = chunker.chunk(tokenizer, title, source);
    assert_eq!(chunks, chunker.chunk(tokenizer, title, source), "deterministic");
    let mut covered = 0;
    let mut last = 0..0;
    for chunk in &chunks {
        let text =
            source.get(chunk.bytes.start as usize..chunk.bytes.end as usize).expect("character boundaries");
        assert!(!text.is_empty() && text == text.trim(), "{text:?}");
        let by_characters: String =
            source.chars().skip(chunk.chars.start as usize).take(chunk.chars.len()).collect();
        assert_eq!(by_characters, text, "the character span says the same");
        assert!(chunk.bytes.start >= last.start && chunk.bytes.end > last.end, "ordered: {last:?} {chunk:?}");
        if chunk.bytes.start as usize > covered {
            assert_eq!(
                source[covered..chunk.bytes.start as usize].trim(),
                "",
                "only white space is left out"
            );
        }
        covered = chunk.bytes.end as usize;
        last = chunk.bytes.clone();
        let embedded = chunker.embedded_text(tokenizer, title, &chunk.headings, text);
        let count = tokenizer.count(&embedded);
        assert!(count <= chunker.max_tokens as usize, "{count} tokens in {embedded:?}");
    }
    assert_eq!(source[covered..].trim(), "", "the end is covered");
}

/// Documents of markdown pieces, odd Unicode and ordinary prose.
fn document() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("# ".to_string()),
        Just("\n## Two\n\n".to_string()),
        Just("\n### Three `code` *x*\n".to_string()),
        Just("\nSetext\n===\n".to_string()),
        Just("- item\n  - nested\n".to_string()),
        Just("\n| a | b |\n|---|---|\n| 1 | 2 |\n".to_string()),
        Just("\n```rust\nfn main() {}\n".to_string()),
        Just("```\n".to_string()),
        Just("---\ntitle: x\n---\n".to_string()),
        Just("> quote\n> more\n\n".to_string()),
        Just("<Tabs>\n<div>\n</div>\n".to_string()),
        Just("\r\n".to_string()),
        Just("\r".to_string()),
        Just("\0".to_string()),
        Just("\u{85}\u{2028}\u{3000}".to_string()),
        Just("👩‍👩‍👧‍👦🇩🇪🇫🇷".to_string()),
        Just("e\u{301}\u{302}\u{303}".to_string()),
        Just("日本語の文。次の文".to_string()),
        Just("[SEP] [UNK]".to_string()),
        Just("ภาษาไทย".to_string()),
        "[a-z]{1,150}".prop_map(|word| word),
        "([A-Z][a-z]{1,8} [a-z]{1,9}[.,!?] ){1,30}",
        any::<String>(),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn chunks_are_valid_spans_that_cover_the_document(
        source in document(),
        title in prop::option::of(document()),
        max_tokens in 16u32..80,
        overlap_tokens in 0u32..20,
        text in any::<bool>(),
        approximate in any::<bool>(),
    ) {
        let strategy = if text { ChunkingStrategy::Text } else { ChunkingStrategy::Markdown };
        let tokenizer: &dyn Tokenizer = if approximate { &ApproximateTokenizer } else { &*MINILM };
        check(&Chunker { strategy, max_tokens, overlap_tokens }, tokenizer, title.as_deref(), &source);
    }
}

#[test]
fn white_space_has_no_chunks() {
    assert!(cut(64, "").is_empty());
    assert!(cut(64, " \n\t\r\n\u{3000}").is_empty());
    assert_eq!(cut(64, "\n x "), [("x".to_string(), vec![])]);
}

#[test]
fn sections_end_chunks_and_headings_make_paths() {
    let body = words(30);
    let source =
        format!("# Guide\n\n## Install *it* `now`\n\n{body}\n\n### Linux\n\n{body}\n\nUse\n---\n\n{body}\n");
    let chunks = cut(64, &source);
    let paths: Vec<_> = chunks.iter().map(|(_, headings)| headings.join(" > ")).collect();
    assert_eq!(paths, ["Guide", "Guide > Install it now > Linux", "Guide > Use"]);
    assert_eq!(chunks[1].0, format!("### Linux\n\n{body}"));
}

#[test]
fn tiny_sections_go_together_under_what_they_share() {
    let source = format!("# A\n\n## One\n\nfew\n\n## Two\n\nwords\n\n## Three\n\n{}", words(60));
    let chunks = cut(80, &source);
    assert_eq!(chunks.len(), 1, "{chunks:?}");
    assert_eq!(chunks[0].1, ["A"]);
}

#[test]
fn lists_tables_and_code_that_fit_stay_whole() {
    let list = (0..12).map(|n| format!("- item {n}\n")).collect::<String>();
    let table = format!("| a | b |\n|---|---|\n{}", "| c | d |\n".repeat(4));
    let code = format!("```\n{}```\n", "let x;\n".repeat(12));
    for block in [list, table, code] {
        let source = format!("{}\n\n{block}\n{}", words(30), words(30));
        let chunks = cut(64, &source);
        assert!(chunks.iter().any(|(text, _)| text.contains(block.trim())), "{chunks:#?}");
    }
}

#[test]
fn what_does_not_fit_is_cut_between_items_rows_and_lines() {
    let list = (0..40).map(|n| format!("- item number {n}\n")).collect::<String>();
    for (text, _) in cut(64, &list) {
        assert!(text.starts_with("- item") && text.chars().last().unwrap().is_numeric(), "{text}");
    }
    let table = format!("| a | b |\n|---|---|\n{}", "| c | d |\n".repeat(40));
    for (text, _) in cut(64, &table) {
        assert!(text.starts_with('|') && text.ends_with('|'), "{text}");
    }
    let code = format!("```\n{}```\n", "let x = 1;\n".repeat(40));
    for (text, _) in cut(64, &code) {
        assert!(text.starts_with(['`', 'l']) && text.ends_with([';', '`']) && text != "```", "{text}");
    }
}

#[test]
fn prose_is_cut_at_sentences_and_overlaps() {
    let source = "The quick brown fox jumps over the lazy dog. ".repeat(20);
    let chunks = chunker(64, 16).chunk(&*MINILM, None, &source);
    assert!(chunks.len() > 3);
    for pair in chunks.windows(2) {
        assert!(
            text(&source, &pair[1]).starts_with("The quick") && text(&source, &pair[1]).ends_with("dog.")
        );
        assert_eq!(pair[0].bytes.end - pair[1].bytes.start, 44, "a sentence is repeated");
    }
    let smallest = chunks.iter().map(|chunk| chunk.tokens).min();
    assert!(smallest > Some(20), "no tiny rest: {smallest:?}");
    let apart = format!("{}\n\n{}", words(40), words(40));
    let chunks = chunker(64, 16).chunk(&*MINILM, None, &apart);
    assert!(chunks[0].bytes.end < chunks[1].bytes.start, "whole paragraphs do not overlap");
}

#[test]
fn front_matter_belongs_to_the_first_chunk() {
    let chunks = cut(64, "---\ntitle: Guide\nparent: Docs\n---\n\n# Guide\n\nText.\n");
    assert_eq!(chunks.len(), 1);
    assert!(chunks[0].0.starts_with("---\ntitle"));
    assert_eq!(chunks[0].1, ["Guide"]);
}

#[test]
fn jsx_and_html_are_text() {
    let source = "import X from 'x';\n\n<Tabs>\n  <TabItem value={a => `}`}>\n\n## In tab\n\nText\n</TabItem>\n</Tabs>\n";
    check(&chunker(16, 4), &*MINILM, None, source);
    assert_eq!(cut(128, source).len(), 1);
}

#[test]
fn a_long_title_leaves_room_for_text() {
    let title = words(5000);
    let source = format!("# {}\n\n{}", words(5000), words(500));
    check(&chunker(64, 0), &*MINILM, Some(&title), &source);
    assert!(chunker(64, 0).chunk(&*MINILM, Some(&title), &source).iter().all(|chunk| chunk.tokens >= 10));
}

#[test]
fn text_knows_paragraphs_only() {
    let source = format!("# no heading\n\n{}\n\n- {}", words(40), words(40));
    let chunks =
        Chunker { strategy: ChunkingStrategy::Text, ..chunker(64, 0) }.chunk(&*MINILM, None, &source);
    let texts: Vec<_> = chunks.iter().map(|chunk| text(&source, chunk)).collect();
    assert_eq!(texts, [format!("# no heading\n\n{}", words(40)), format!("- {}", words(40))]);
    assert!(chunks.iter().all(|chunk| chunk.headings.is_empty()));
}

#[test]
fn the_model_bounds_the_definition() {
    let definition = |max_tokens| ChunkingDefinition { max_tokens, ..Default::default() };
    assert_eq!(Chunker::new(&definition(None), None).max_tokens, 256);
    assert_eq!(Chunker::new(&definition(None), Some(126)).max_tokens, 126);
    assert_eq!(Chunker::new(&definition(Some(512)), Some(8191)).max_tokens, 512);
}

#[test]
fn time_is_linear_in_the_length_of_a_line() {
    let repeated = |unit: &str, bytes: usize| unit.repeat(bytes / unit.len());
    let mut sources = vec![repeated("word ", 10_000_000), repeated("x", 10_000_000)];
    // what would find a quadratic corner: in the parser, at sentences, in heading paths
    let units =
        ["日", "a\u{301}", "- ", "> ", "[a](", "*a_", "# ", "\n#\n", "`", "\"", ". ", "|a|b\n", "\n- a\n  "];
    sources.extend(units.map(|unit| repeated(unit, 1_000_000)));
    sources.push(format!("a{}b", repeated(" ", 10_000_000)));
    for source in sources {
        let started = Instant::now();
        let chunks = chunker(256, 32).chunk(&ApproximateTokenizer, None, &source);
        // a busy machine takes its time; quadratic takes minutes
        let unit = source.chars().take(8).collect::<String>();
        assert!(started.elapsed() < Duration::from_secs(10), "{unit:?}: {:?}", started.elapsed());
        let longest = chunks.iter().map(|chunk| chunk.bytes.len()).max();
        assert!(longest <= Some(256 * 64), "{unit:?}: {longest:?}");
    }
}
