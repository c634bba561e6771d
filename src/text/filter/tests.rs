//! Filters on terms against the oracle, on random metadata and random filters.

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::{Filter, oracle};
use crate::document::Metadata;
use crate::rows::RowSet;
use crate::text::metadata;
use crate::text::terms::TermRows;

/// The terms of documents of one row each.
struct Terms {
    rows: u32,
    terms: BTreeMap<Vec<u8>, Vec<u32>>,
}

impl Terms {
    fn of(documents: &[Metadata]) -> Terms {
        let mut terms = BTreeMap::<_, Vec<u32>>::new();
        for (row, document) in (0..).zip(documents) {
            for term in metadata::terms(document).unwrap() {
                terms.entry(term).or_default().push(row);
            }
        }
        Terms { rows: documents.len() as u32, terms }
    }
}

impl TermRows for Terms {
    fn rows(&self) -> u32 {
        self.rows
    }

    fn add_term(&self, term: &[u8], into: &mut RowSet) -> crate::Result<()> {
        self.terms.get(term).into_iter().flatten().for_each(|&row| into.insert(row));
        Ok(())
    }

    fn add_range(
        &self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        keep: &mut dyn FnMut(&[u8]) -> bool,
        into: &mut RowSet,
    ) -> crate::Result<()> {
        for (term, rows) in self.terms.range::<[u8], _>((lower, upper)) {
            if keep(term) {
                rows.iter().for_each(|&row| into.insert(row));
            }
        }
        Ok(())
    }
}

fn found(filter: &Value, documents: &[Metadata]) -> Vec<u32> {
    Filter::parse(filter).unwrap().rows(&Terms::of(documents)).unwrap().iter().collect()
}

fn name() -> impl Strategy<Value = String> {
    select(vec!["a", "a", "b", "b", "a.b", "", "a\0", "\0", "\u{1}", "a/", "a-", "é", "a\u{1}\u{1}"])
        .prop_map(String::from)
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![name(), (name(), name()).prop_map(|(a, b)| format!("{a}.{b}"))]
}

fn text() -> impl Strategy<Value = String> {
    let known = vec![
        "",
        "a",
        "ab",
        "abc",
        "b",
        "B",
        "é",
        "e\u{301}",
        "日本語",
        "本",
        "a\0",
        "\0",
        "a\0b",
        "true",
        "1",
        "\u{10ffff}",
        "2024-05-01",
        "2024-05-01T00:00:00Z",
        "2024-05-01T02:00:00+02:00",
        "2024-02-30",
        "2024-05-01T00:00:00.000000001Z",
        "2024-04-30T23:59:59.999-00:00",
        "2024-05-01T00:00:00",
        "2024-05",
        "1969-07-20T20:17:40Z",
        "2024-05-01 extra",
    ];
    prop_oneof![4 => select(known).prop_map(String::from), 1 => "[ab]{0,3}", 1 => any::<String>()]
}

fn number() -> impl Strategy<Value = Value> {
    const EXACT: i64 = 1 << 53;
    prop_oneof![
        3 => (-2..3_i64).prop_map(Value::from),
        1 => (-4..5_i8).prop_map(|half| json!(f64::from(half) / 2.0)),
        1 => (EXACT - 3..EXACT + 4).prop_map(Value::from),
        1 => (-EXACT - 3..-EXACT + 4).prop_map(|integer| json!(integer as f64)),
        1 => (i64::MAX - 2..=i64::MAX).prop_map(Value::from),
        1 => (i64::MIN..i64::MIN + 3).prop_map(Value::from),
        1 => (u64::MAX - 2..=u64::MAX).prop_map(Value::from),
        1 => select(vec![-0.0, 5e-324, 1e300, -1e300, 9.223_372_036_854_775e18, 18_446_744_073_709_551_616.0]).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_filter("finite", |double| double.is_finite()).prop_map(Value::from),
    ]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![1 => any::<bool>().prop_map(Value::from), 3 => number(), 4 => text().prop_map(Value::from)]
}

fn documents() -> impl Strategy<Value = Vec<Metadata>> {
    let value = prop_oneof![6 => scalar(), 1 => Just(Value::Null)].prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    });
    let document =
        prop::collection::vec((name(), value), 0..5).prop_map(|fields| fields.into_iter().collect());
    prop::collection::vec(document, 1..80)
}

fn filter() -> impl Strategy<Value = Value> {
    let with = |types: Vec<&'static str>, value: BoxedStrategy<Value>| {
        (select(types), key(), value)
            .prop_map(|(kind, key, value)| json!({"type": kind, "key": key, "value": value}))
    };
    let condition = prop_oneof![
        3 => with(vec!["eq", "ne", "contains"], scalar().boxed()),
        3 => with(vec!["gt", "gte", "lt", "lte"], prop_oneof![number(), text().prop_map(Value::from)].boxed()),
        2 => with(vec!["in", "nin"], prop::collection::vec(scalar(), 0..5).prop_map(Value::from).boxed()),
        1 => with(vec!["prefix", "contains"], text().prop_map(Value::from).boxed()),
        1 => key().prop_map(|key| json!({"type": "exists", "key": key})),
    ];
    condition.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            3 => (select(vec!["and", "or"]), prop::collection::vec(inner.clone(), 0..4))
                .prop_map(|(kind, filters)| json!({"type": kind, "filters": filters})),
            1 => inner.prop_map(|filter| json!({"type": "not", "filter": filter})),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn filters_equal_brute_force(documents in documents(), filters in prop::collection::vec(filter(), 20)) {
        let terms = Terms::of(&documents);
        for filter in &filters {
            let got: Vec<u32> = Filter::parse(filter).unwrap().rows(&terms).unwrap().iter().collect();
            let want: Vec<u32> =
                (0..).zip(&documents).filter(|(_, document)| oracle::matches(filter, document)).map(|(row, _)| row).collect();
            prop_assert_eq!(got, want, "{}", filter);
        }
    }
}

/// Each line: a filter, and the rows it finds among these documents.
#[test]
fn the_documented_meaning() {
    let documents: Vec<Metadata> = [
        json!({"n": 1, "s": "Ada Lovelace", "tags": ["red", "green"], "day": "2024-05-01"}),
        json!({"n": 2.5, "s": "ada", "tags": "red wine", "day": "2024-05-01T02:00:00+02:00"}),
        json!({"n": "1", "s": null, "tags": [], "day": "someday", "author": {"name": "Ada"}}),
        json!({"n": [0, 7], "author": [{"name": "Bob"}, {"name": "Ada"}], "ok": true}),
        json!({"author.name": "Eve", "n": 9_007_199_254_740_993_i64}),
    ]
    .map(|document| document.as_object().cloned().unwrap_or_else(Map::new))
    .to_vec();
    for (kind, key, value, rows) in [
        ("eq", "n", json!(1.0), vec![0]),
        ("eq", "n", json!(9_007_199_254_740_992_i64), vec![]),
        ("gt", "n", json!(9_007_199_254_740_992_i64), vec![4]),
        ("gte", "n", json!(1), vec![0, 1, 3, 4]),
        ("lt", "n", json!(1), vec![3]),
        ("ne", "n", json!(1), vec![1, 2, 3, 4]),
        ("nin", "s", json!(["ada", "x"]), vec![0, 2, 3, 4]),
        ("in", "tags", json!(["red", "red wine"]), vec![0, 1]),
        ("in", "tags", json!([]), vec![]),
        ("contains", "tags", json!("red"), vec![0, 1]),
        ("contains", "tags", json!("gree"), vec![]),
        ("contains", "n", json!(7), vec![3]),
        ("contains", "n", json!(1), vec![]),
        ("contains", "author.name", json!("A"), vec![2, 3]),
        ("prefix", "s", json!("Ada"), vec![0]),
        ("prefix", "tags", json!("re"), vec![0, 1]),
        ("eq", "author.name", json!("Eve"), vec![4]),
        ("eq", "day", json!("2024-05-01"), vec![0, 1]),
        ("lte", "day", json!("2024-05-01T00:00:00Z"), vec![0, 1]),
        ("gt", "day", json!("2024-04-30"), vec![0, 1]),
        ("gt", "day", json!("someda"), vec![2]),
        ("eq", "ok", json!(true), vec![3]),
    ] {
        let filter = json!({"type": kind, "key": key, "value": value});
        assert_eq!(found(&filter, &documents), rows, "{filter}");
    }
    for (key, rows) in [("s", vec![0, 1]), ("tags", vec![0, 1]), ("author", vec![2, 3, 4]), ("a", vec![])] {
        assert_eq!(found(&json!({"type": "exists", "key": key}), &documents), rows, "{key}");
    }
    assert_eq!(found(&json!({"type": "and", "filters": []}), &documents), [0, 1, 2, 3, 4]);
    assert_eq!(found(&json!({"type": "or", "filters": []}), &documents), [0; 0]);
}
