//! The leg as a whole: what was written is found, and scored alike however rows are spread.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::Path;

use proptest::prelude::*;

use super::row_scorer::{RowScorer, weigh};
use super::*;
use crate::Code;
use crate::collection::definition::{Analyzer, TextDefinition};
use crate::rows::RowSet;
use crate::store::part::BLOCK;
use crate::store::{OsDisk, PartFile, PartKind, PartWriter};

#[derive(Clone, Debug, Default)]
struct Row {
    title: String,
    headings: Vec<String>,
    text: String,
    terms: Vec<Vec<u8>>,
}

fn row(text: &str) -> Row {
    Row { text: text.into(), ..Row::default() }
}

fn build_at(path: &Path, rows: &[Row], definition: &TextDefinition) -> TextPart {
    let mut builder = TextBuilder::new(definition).unwrap();
    for row in rows {
        let (title, headings) = (Some(row.title.as_str()), row.headings.as_slice());
        builder.push(&TextRow { title, headings, text: &row.text, terms: &row.terms }).unwrap();
    }
    builder.finish(PartWriter::create(&OsDisk, path, PartKind::Text).unwrap()).unwrap();
    TextPart::open(PartFile::open(path, PartKind::Text).unwrap()).unwrap()
}

fn build(rows: &[Row]) -> TextPart {
    let dir = tempfile::tempdir().unwrap();
    build_at(&dir.path().join("a.text"), rows, &TextDefinition::default())
}

fn merged(inputs: &[(&TextPart, &RowSet)]) -> TextPart {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("merged.text");
    merge(inputs, PartWriter::create(&OsDisk, &path, PartKind::Text).unwrap()).unwrap();
    TextPart::open(PartFile::open(&path, PartKind::Text).unwrap()).unwrap()
}

fn parse(text: &str) -> TextQuery {
    TextQuery::parse(Analyzer::Default, text)
}

fn rows_of(parts: &[&TextPart], text: &str) -> Vec<(usize, u32)> {
    let statistics = Statistics::new(parts);
    let found = recall(parts, &vec![None; parts.len()], &statistics, &parse(text), 100).unwrap();
    found.iter().map(|scored| (scored.part, scored.row)).collect()
}

fn found(part: &TextPart, text: &str) -> BTreeSet<u32> {
    rows_of(&[part], text).into_iter().map(|(_, row)| row).collect()
}

#[test]
fn words_are_found_whatever_their_form() {
    let part = build(&[row("The foxes were running."), row("Un café à Zürich"), row("机器学习很有趣")]);
    for (question, expected) in [("fox RUN", 0), ("cafe", 1), ("zurich", 1), ("学习", 2)] {
        assert_eq!(found(&part, question), BTreeSet::from([expected]), "{question}");
    }
    assert!(found(&part, "nothing of it").is_empty());
    assert!(found(&part, "").is_empty());
}

#[test]
fn identifiers_are_found_whole_and_in_parts() {
    let part = build(&[
        row("call `foo.barBaz()` with snake_case_name"),
        row("error[E0308]: ERR_CONN_RESET since v1.2.3"),
        row("see https://example.com/docs/index.html and src/main.rs"),
        row("the e-mail and C++"),
    ]);
    for (question, expected) in [
        ("foo.barBaz", 0),
        ("barbaz", 0),
        ("baz", 0),
        ("snake", 0),
        ("snakeCaseName", 0),
        ("e0308", 1),
        ("reset", 1),
        ("err-conn-reset", 1),
        ("1.2.3", 1),
        ("example.com", 2),
        ("main.rs", 2),
        ("index", 2),
        ("email", 3),
        ("c++", 3),
    ] {
        assert_eq!(rows_of(&[&part], question).first(), Some(&(0, expected)), "{question}");
    }
}

#[test]
fn only_stop_words_are_words() {
    let part = build(&[row("to be or not to be"), row("another row of it")]);
    assert_eq!(found(&part, "to be or not to be"), BTreeSet::from([0]));
    assert_eq!(found(&part, "what is a row"), BTreeSet::from([1]), "only `row` counts");
}

#[test]
fn phrases_must_occur_and_do_not_cross_pieces() {
    let part = build(&[
        row("new york is big"),
        row("york is a new thing"),
        Row {
            title: "big new".into(),
            headings: vec!["york city".into()],
            text: "hall".into(),
            ..Row::default()
        },
    ]);
    assert_eq!(found(&part, "\"new york\""), BTreeSet::from([0]));
    assert_eq!(found(&part, "“new york” city"), BTreeSet::from([0]));
    assert_eq!(found(&part, "\"york city\" big"), BTreeSet::from([2]));
    assert_eq!(found(&part, "\"city hall\""), BTreeSet::new());
    assert_eq!(found(&part, "\"is big\" \"new york\""), BTreeSet::from([0]));
    assert_eq!(found(&part, "new \"york"), BTreeSet::from([0, 1, 2]), "a quote without its pair");
    assert_eq!(found(&part, "\"\" hall \"...\""), BTreeSet::from([2]), "nothing between the quotes");
    assert_eq!(found(&part, "\"thing\" york"), BTreeSet::from([1]), "one word");
    let statistics = Statistics::new(&[&part]);
    let scores = score_rows(&part, &statistics, &parse("\"new york\""), &[0, 1, 2]).unwrap();
    assert!(scores[0] > 0.0 && scores[1..] == [0.0, 0.0]);
}

#[test]
fn titles_and_headings_count_as_often_as_defined() {
    let rows = [
        Row { title: "otter".into(), text: "river bank".into(), ..Row::default() },
        Row { text: "otter river".into(), ..Row::default() },
        Row { headings: vec!["otter".into()], text: "river bank".into(), ..Row::default() },
    ];
    let dir = tempfile::tempdir().unwrap();
    let definition = TextDefinition { title_weight: 3, heading_weight: 0, ..TextDefinition::default() };
    let part = build_at(&dir.path().join("a.text"), &rows, &definition);
    assert_eq!(part.tokens(), 5 + 2 + 2);
    assert_eq!(rows_of(&[&part], "otter"), [(0, 0), (0, 1)]);
}

#[test]
fn a_part_may_be_empty() {
    let empty = build(&[]);
    let full = build(&[row("a word")]);
    assert_eq!((empty.rows(), empty.tokens()), (0, 0));
    assert_eq!(rows_of(&[&empty, &full], "word"), [(1, 0)]);
    assert!(rows_of(&[&empty], "word").is_empty());
    let statistics = Statistics::new(&[&empty]);
    assert!(parse("word").max_score(&statistics).unwrap().is_finite());
    let none = merged(&[(&empty, &RowSet::empty(0)), (&full, &RowSet::empty(1))]);
    assert_eq!(none.rows(), 0);
    let all = merged(&[(&empty, &RowSet::full(0)), (&full, &RowSet::full(1)), (&none, &RowSet::full(0))]);
    assert_eq!(rows_of(&[&all], "word"), [(0, 0)]);
}

#[test]
fn metadata_terms_are_looked_up_by_value_and_range() {
    let terms = |names: &[&str]| names.iter().map(|n| n.as_bytes().to_vec()).collect::<Vec<_>>();
    let rows: Vec<Row> = [&["a:1", "b"][..], &["a:2"], &["a:3", "a:3", "b\0\u{ff}"], &[]]
        .map(|names| Row { terms: terms(names), ..Row::default() })
        .to_vec();
    let dir = tempfile::tempdir().unwrap();
    let part = build_at(&dir.path().join("a.text"), &rows, &TextDefinition::default());
    let term = |term: &str| {
        let mut set = RowSet::empty(TermRows::rows(&part));
        part.add_term(term.as_bytes(), &mut set).unwrap();
        set.iter().collect::<Vec<_>>()
    };
    assert_eq!(term("a:3"), [2]);
    assert_eq!(term("b"), [0]);
    assert_eq!(term("b\0\u{ff}"), [2]);
    assert!(term("c").is_empty() && term("").is_empty());
    let range = |lower: Bound<&str>, upper: Bound<&str>, keep: fn(&[u8]) -> bool| {
        let mut set = RowSet::empty(4);
        part.add_range(lower.map(str::as_bytes), upper.map(str::as_bytes), &mut |term| keep(term), &mut set)
            .unwrap();
        set.iter().collect::<Vec<_>>()
    };
    use Bound::*;
    assert_eq!(range(Included("a:1"), Excluded("a:3"), |_| true), [0, 1]);
    assert_eq!(range(Excluded("a:1"), Included("a:3"), |_| true), [1, 2]);
    assert_eq!(range(Unbounded, Unbounded, |term| term.ends_with(b"2")), [1]);
    assert!(part.add_range(Included(b"z"), Unbounded, &mut |_| true, &mut RowSet::empty(4)).is_ok());
    let long = Row { terms: vec![vec![7; builder::MAX_TERM_LEN]], ..Row::default() };
    let mut set = RowSet::empty(1);
    build(std::slice::from_ref(&long)).add_term(&long.terms[0], &mut set).unwrap();
    assert_eq!(set.len(), 1);
}

#[test]
fn damage_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.text");
    let rows: Vec<Row> = (0..4000).map(|n| row(&format!("common word{} number{n}", n % 7))).collect();
    build_at(&path, &rows, &TextDefinition::default());
    let good = std::fs::read(&path).unwrap();
    let mut failed = 0;
    for block in 0..good.len() / BLOCK {
        let mut bad = good.clone();
        bad[block * BLOCK + 1000] ^= 0x40;
        std::fs::write(&path, &bad).unwrap();
        let searched = PartFile::open(&path, PartKind::Text)
            .map_err(Into::into)
            .and_then(TextPart::open)
            .and_then(|part| {
                let statistics = Statistics::new(&[&part]);
                recall(&[&part], &[None], &statistics, &parse("common \"common word3\" number17"), 10)?;
                merge(
                    &[(&part, &RowSet::full(part.rows()))],
                    PartWriter::create(&OsDisk, &dir.path().join("b.text"), PartKind::Text)?,
                )
            });
        if let Err(error) = searched {
            assert_eq!(error.code, Code::CorruptData);
            assert!(error.message.contains("a.text") && error.message.contains("checksum"), "{error}");
            failed += 1;
        }
    }
    assert!(failed + 1 >= good.len() / BLOCK, "a merge reads all but padding: {failed}");
}

#[test]
fn tokens_of_any_length_are_findable() {
    let long = "x".repeat(70_000);
    let other = format!("{long}y");
    let part = build(&[row(&long), row(&other), row(&format!("a/{long}"))]);
    assert_eq!(found(&part, &long), BTreeSet::from([0, 2]));
    assert_eq!(found(&part, &other), BTreeSet::from([1]));
}

/// The block bounds of a part are made with its own average length. Here a row that looks poor beside
/// the short rows of its part is the best one by the average of the snapshot.
#[test]
fn pruning_allows_for_a_part_of_unusual_length() {
    let mut rows = vec![row("ant dog"); 300];
    rows[5] = row("ant ant dog dog bee bee");
    rows[200] = row(&format!("ant ant ant dog dog dog {}", "bee ".repeat(17)));
    let (short, long) = (build(&rows), build(&[row(&"cat ".repeat(60_000))]));
    let parts = [&short, &long];
    let statistics = Statistics::new(&parts);
    for question in ["ant", "ant dog", "ant cat"] {
        let query = parse(question);
        let found = recall(&parts, &[None, None], &statistics, &query, 1).unwrap();
        assert_eq!(found, exhaustive(&parts, &[None, None], &statistics, &query, 1), "{question}");
    }
    assert_eq!(rows_of(&parts, "ant")[0], (0, 200));
}

/// Rows of a small vocabulary in very uneven lengths, so that words repeat and segments' averages differ.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let word = prop::sample::select(vec!["ant", "bee", "cat", "dog", "elk", "fox", "the", "gnu_cow", "蟻蜂"]);
    let text = prop_oneof![
        4 => prop::collection::vec(word.clone(), 0..12),
        1 => prop::collection::vec(word.clone(), 60..200),
        1 => word.prop_map(|word| vec![word; 80]),
    ];
    let row = (text.clone(), text).prop_map(|(title, text)| Row {
        title: title.into_iter().take(3).collect::<Vec<_>>().join(" "),
        text: text.join(" "),
        ..Row::default()
    });
    // repeated, so that posting lists have several blocks
    (prop::collection::vec(row, 1..40), 1usize..12)
        .prop_map(|(rows, times)| rows.iter().cycle().take(rows.len() * times).cloned().collect())
}

fn question() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "ant",
        "bee",
        "cat cat",
        "dogs",
        "elk",
        "fox",
        "the",
        "gnu cow",
        "gnu_cow",
        "蜂",
        "蟻蜂",
        "\"ant bee\"",
        "\"the fox\"",
        "yak",
    ]);
    prop::collection::vec(word, 1..6).prop_map(|words| words.join(" "))
}

fn subset(rows: u32, seed: u64, keep: u64) -> RowSet {
    let mut set = RowSet::empty(rows);
    for row in 0..rows {
        if (u64::from(row) + 1).wrapping_mul(seed | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60 < keep {
            set.insert(row);
        }
    }
    set
}

/// The definition of recall: score everything, sort.
fn exhaustive(
    parts: &[&TextPart],
    allowed: &[Option<&RowSet>],
    statistics: &Statistics,
    query: &TextQuery,
    k: usize,
) -> Vec<Scored> {
    let terms = weigh(query, statistics).unwrap();
    let mut all = Vec::new();
    for (part, (text, allowed)) in parts.iter().zip(allowed).enumerate() {
        let Some(mut scorer) = RowScorer::open(text, &terms, &query.phrases).unwrap() else { continue };
        for row in (0..text.rows()).filter(|&row| allowed.is_none_or(|set| set.contains(row))) {
            all.extend(scorer.score(row).map(|raw| Scored { part, row, raw }));
        }
    }
    all.sort();
    all.truncate(k);
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn scores_do_not_depend_on_segments_and_recall_is_exact(
        rows in rows(), question in question(), cuts in prop::collection::vec(0usize..500, 0..4),
        seed: u64, keep in 0u64..16, k in 1usize..30,
    ) {
        let query = parse(&question);
        let whole = build(&rows);
        let statistics = Statistics::new(&[&whole]);
        let all: Vec<u32> = (0..whole.rows()).collect();
        let expected = score_rows(&whole, &statistics, &query, &all).unwrap();
        let limit = query.max_score(&statistics).unwrap();
        prop_assert!(expected.iter().all(|&score| score >= 0.0 && score <= limit * 1.00001));

        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (rows.len() + 1)).chain([0, rows.len()]).collect();
        cuts.sort();
        let parts: Vec<TextPart> = cuts.windows(2).map(|cut| build(&rows[cut[0]..cut[1]])).collect();
        let parts: Vec<&TextPart> = parts.iter().collect();
        let spread = Statistics::new(&parts);
        let mut scores = Vec::new();
        for part in &parts {
            let of_part: Vec<u32> = (0..part.rows()).collect();
            scores.extend(score_rows(part, &spread, &query, &of_part).unwrap());
        }
        for (score, expected) in scores.iter().zip(&expected) {
            prop_assert!((score - expected).abs() <= 1e-5, "{score} {expected}");
        }

        let sets: Vec<RowSet> = parts.iter().map(|part| subset(part.rows(), seed, keep)).collect();
        let filters: Vec<Option<&RowSet>> = sets.iter().map(Some).collect();
        for allowed in [vec![None; parts.len()], filters] {
            let found = recall(&parts, &allowed, &spread, &query, k).unwrap();
            prop_assert_eq!(found, exhaustive(&parts, &allowed, &spread, &query, k));
        }
    }

    #[test]
    fn a_merge_is_a_rebuild(
        rows in rows(), question in question(), cut in 0usize..500, seed: u64, keep in prop_oneof![Just(0u64), Just(16), 1u64..16],
    ) {
        let cut = cut % (rows.len() + 1);
        let (left, right) = (build(&rows[..cut]), build(&rows[cut..]));
        let (of_left, of_right) = (subset(left.rows(), seed, 12), subset(right.rows(), seed, keep));
        let merged = merged(&[(&left, &of_left), (&right, &of_right)]);
        let alive: Vec<Row> = of_left
            .iter()
            .map(|row| row as usize)
            .chain(of_right.iter().map(|row| row as usize + cut))
            .map(|row| rows[row].clone())
            .collect();
        let rebuilt = build(&alive);
        prop_assert_eq!((merged.rows(), merged.tokens()), (rebuilt.rows(), rebuilt.tokens()));
        let query = parse(&question);
        let [of_merged, of_rebuilt] = [&merged, &rebuilt].map(|part| {
            recall(&[part], &[None], &Statistics::new(&[part]), &query, 20).unwrap()
        });
        prop_assert_eq!(of_merged, of_rebuilt);
    }

    #[test]
    fn any_text_is_indexed_and_searched(texts in prop::collection::vec("\\PC{0,60}|[\\x00-\\x{ffff}]{0,40}", 1..6), analyzer in 0usize..5) {
        let analyzer = [Analyzer::Default, Analyzer::Plain, Analyzer::Greek, Analyzer::Turkish, Analyzer::Arabic][analyzer];
        let definition = TextDefinition { analyzer, ..TextDefinition::default() };
        let rows: Vec<Row> = texts.iter().map(|text| row(text)).collect();
        let dir = tempfile::tempdir().unwrap();
        let part = build_at(&dir.path().join("a.text"), &rows, &definition);
        let statistics = Statistics::new(&[&part]);
        for (at, text) in texts.iter().enumerate() {
            let unquoted = text.replace(['"', '“', '”', '„', '«', '»'], " ");
            let query = TextQuery::parse(analyzer, &unquoted);
            let score = score_rows(&part, &statistics, &query, &[at as u32]).unwrap()[0];
            prop_assert_eq!(score > 0.0, !query.is_empty(), "a text finds itself: {:?}", text);
            recall(&[&part], &[None], &statistics, &TextQuery::parse(analyzer, text), 3).unwrap();
        }
    }
}
