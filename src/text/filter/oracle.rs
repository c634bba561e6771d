//! What filters mean, written down a second time and in the plainest way: one document at a time, on
//! the JSON of both. The tests hold the terms and their evaluation against it.

use std::cmp::Ordering;

use serde_json::{Map, Value};

/// Whether the filter (JSON that parses as one) lets a document with that metadata through.
pub fn matches(filter: &Value, metadata: &Map<String, Value>) -> bool {
    let list = |name: &str| filter[name].as_array().unwrap().iter();
    let value = &filter["value"];
    match filter["type"].as_str().unwrap() {
        "and" => list("filters").all(|filter| matches(filter, metadata)),
        "or" => list("filters").any(|filter| matches(filter, metadata)),
        "not" => !matches(&filter["filter"], metadata),
        "eq" => any(filter, metadata, |found, _| equal(found, value)),
        "ne" => !any(filter, metadata, |found, _| equal(found, value)),
        "in" => list("value").any(|value| any(filter, metadata, |found, _| equal(found, value))),
        "nin" => !list("value").any(|value| any(filter, metadata, |found, _| equal(found, value))),
        "gt" => any(filter, metadata, |found, _| order(found, value).is_some_and(Ordering::is_gt)),
        "gte" => any(filter, metadata, |found, _| order(found, value).is_some_and(Ordering::is_ge)),
        "lt" => any(filter, metadata, |found, _| order(found, value).is_some_and(Ordering::is_lt)),
        "lte" => any(filter, metadata, |found, _| order(found, value).is_some_and(Ordering::is_le)),
        "prefix" => any(filter, metadata, |found, _| {
            found.as_str().is_some_and(|found| found.starts_with(value.as_str().unwrap()))
        }),
        "contains" => any(filter, metadata, |found, in_array| match (found, value) {
            (found, value) if in_array => equal(found, value),
            (Value::String(found), Value::String(value)) => found.contains(value.as_str()),
            _ => false,
        }),
        "exists" => {
            let key = filter["key"].as_str().unwrap();
            let below = format!("{key}.");
            values(metadata).iter().any(|(path, ..)| path == key || path.starts_with(&below))
        }
        other => unreachable!("filter type {other}"),
    }
}

fn any(filter: &Value, metadata: &Map<String, Value>, holds: impl Fn(&Value, bool) -> bool) -> bool {
    let key = filter["key"].as_str().unwrap();
    values(metadata).into_iter().any(|(path, value, in_array)| path == key && holds(value, in_array))
}

/// Every value: its key path, itself, and whether it is an element of an array.
fn values(metadata: &Map<String, Value>) -> Vec<(String, &Value, bool)> {
    let mut found = Vec::new();
    let mut open: Vec<(Vec<&str>, &Value, bool)> =
        metadata.iter().map(|(name, value)| (vec![name.as_str()], value, false)).collect();
    while let Some((path, value, in_array)) = open.pop() {
        match value {
            Value::Null => {}
            Value::Array(elements) => {
                open.extend(elements.iter().map(|element| (path.clone(), element, true)))
            }
            Value::Object(members) => open.extend(
                members.iter().map(|(name, member)| ([&path[..], &[name.as_str()]].concat(), member, false)),
            ),
            scalar => found.push((path.join("."), scalar, in_array)),
        }
    }
    found
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Number(_), Value::Number(_)) => order(a, b) == Some(Ordering::Equal),
        (Value::String(a), Value::String(b)) => a == b || (instant(a).is_some() && instant(a) == instant(b)),
        _ => false,
    }
}

/// How a metadata value compares with a filter's bound; `None` where they do not compare.
fn order(found: &Value, bound: &Value) -> Option<Ordering> {
    match (found, bound) {
        (Value::Number(found), Value::Number(bound)) => match (integer(found), integer(bound)) {
            (Some(found), Some(bound)) => Some(found.cmp(&bound)),
            (Some(found), None) => Some(order_mixed(found, bound.as_f64().unwrap())),
            (None, Some(bound)) => Some(order_mixed(bound, found.as_f64().unwrap()).reverse()),
            (None, None) => found.as_f64().unwrap().partial_cmp(&bound.as_f64().unwrap()),
        },
        (Value::String(found), Value::String(bound)) => match instant(bound) {
            Some(bound) => instant(found).map(|found| found.cmp(&bound)),
            None => Some(found.as_bytes().cmp(bound.as_bytes())),
        },
        _ => None,
    }
}

fn integer(number: &serde_json::Number) -> Option<i128> {
    number.as_i64().map(i128::from).or(number.as_u64().map(i128::from))
}

fn order_mixed(integer: i128, double: f64) -> Ordering {
    // A cast saturates, and every integer here is far inside i128.
    integer.cmp(&(double.floor() as i128)).then(if double.fract() == 0.0 {
        Ordering::Equal
    } else {
        Ordering::Less
    })
}

/// A date, or a date and time of the form `…T…Z` or `…T…±hh:mm`, in nanoseconds.
fn instant(text: &str) -> Option<i128> {
    let zoned =
        text.is_ascii() && text.len() >= 20 && (text.ends_with('Z') || text[text.len() - 6..].contains(':'));
    let timestamp = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        _ if zoned => text.to_owned(),
        _ => return None,
    };
    timestamp.parse().ok().map(jiff::Timestamp::as_nanosecond)
}
