//! JSON to [`Filter`]: every field and type is checked, and an error names its place.

use serde_json::{Map, Value};

use super::{Condition, Filter, MAX_CONDITIONS, MAX_DEPTH, MAX_VALUES, Side};
use crate::text::metadata::Scalar;
use crate::{Code, Error, Result};

const TYPES: &str = "eq, ne, gt, gte, lt, lte, in, nin, exists, contains, prefix, and, or, not";

impl Filter {
    /// Reads a filter from the field `filter` of a request.
    ///
    /// # Errors
    /// `invalid_filter` for an unknown field or type, a value of the wrong type, or a filter over the
    /// limits of this module; the parameter is the path to it, e.g. `filter.filters[2].value`.
    pub fn parse(value: &Value) -> Result<Filter> {
        let mut parser = Parser { conditions: 0 };
        parser.condition(value, "filter", 1).map(Filter)
    }
}

struct Parser {
    conditions: usize,
}

impl Parser {
    fn condition(&mut self, value: &Value, at: &str, depth: usize) -> Result<Condition> {
        if depth > MAX_DEPTH {
            return Err(refuse(at, format!("a filter may be nested {MAX_DEPTH} deep")));
        }
        self.conditions += 1;
        if self.conditions > MAX_CONDITIONS {
            return Err(refuse(at, format!("a filter may have {MAX_CONDITIONS} conditions")));
        }
        let object = Object::new(value, at)?;
        match object.string("type")? {
            "and" => Ok(Condition::all(self.list(&object, depth)?)),
            "or" => Ok(Condition::any(self.list(&object, depth)?)),
            "not" => {
                object.only(&["type", "filter"])?;
                let inner = self.condition(object.field("filter")?, &object.path("filter"), depth + 1)?;
                Ok(inner.negate())
            }
            "exists" => {
                object.only(&["type", "key"])?;
                Ok(Condition::Exists { key: object.key()? })
            }
            name => {
                let comparison = Comparison::named(name).ok_or_else(|| {
                    let message = format!("the filter type {} is unknown; use one of {TYPES}", brief(name));
                    refuse(object.path("type"), message)
                })?;
                object.only(&["type", "key", "value"])?;
                comparison.condition(&object)
            }
        }
    }

    fn list(&mut self, object: &Object<'_>, depth: usize) -> Result<Vec<Condition>> {
        object.only(&["type", "filters"])?;
        let at = object.path("filters");
        let Value::Array(filters) = object.field("filters")? else {
            return Err(refuse(at, "must be a list of filters"));
        };
        let parse = |(index, filter)| self.condition(filter, &format!("{at}[{index}]"), depth + 1);
        filters.iter().enumerate().map(parse).collect()
    }
}

/// A condition of a key and a value.
enum Comparison {
    Equal,
    NotEqual,
    Range(Side),
    In,
    NotIn,
    Contains,
    Prefix,
}

impl Comparison {
    fn named(name: &str) -> Option<Comparison> {
        Some(match name {
            "eq" => Comparison::Equal,
            "ne" => Comparison::NotEqual,
            "gt" => Comparison::Range(Side::Above),
            "gte" => Comparison::Range(Side::AtOrAbove),
            "lt" => Comparison::Range(Side::Below),
            "lte" => Comparison::Range(Side::AtOrBelow),
            "in" => Comparison::In,
            "nin" => Comparison::NotIn,
            "contains" => Comparison::Contains,
            "prefix" => Comparison::Prefix,
            _ => return None,
        })
    }

    fn condition(self, object: &Object<'_>) -> Result<Condition> {
        let key = object.key()?;
        let value = object.field("value")?;
        let at = object.path("value");
        Ok(match self {
            Comparison::Equal => Condition::one_of(key, vec![scalar(value, &at)?]),
            Comparison::NotEqual => Condition::one_of(key, vec![scalar(value, &at)?]).negate(),
            Comparison::In => Condition::one_of(key, scalars(value, &at)?),
            Comparison::NotIn => Condition::one_of(key, scalars(value, &at)?).negate(),
            Comparison::Contains => Condition::Contains { key, value: scalar(value, &at)? },
            Comparison::Range(side) => match Scalar::from_json(value) {
                Some(bound @ (Scalar::Number(_) | Scalar::String(_))) => {
                    Condition::Range { key, side, bound }
                }
                _ => return Err(refuse(at, "must be a number or a string (a date and time is a string)")),
            },
            Comparison::Prefix => match value {
                Value::String(prefix) => Condition::Prefix { key, prefix: prefix.clone() },
                _ => return Err(refuse(at, "must be a string")),
            },
        })
    }
}

fn scalar(value: &Value, at: &str) -> Result<Scalar> {
    Scalar::from_json(value).ok_or_else(|| {
        let hint = match value {
            Value::Null => " (for a missing key, use not of exists)",
            Value::Array(_) => " (for one of several values, use in)",
            _ => "",
        };
        refuse(at, format!("must be a string, a number or a bool{hint}"))
    })
}

fn scalars(value: &Value, at: &str) -> Result<Vec<Scalar>> {
    let Value::Array(values) = value else {
        return Err(refuse(at, "must be a list of strings, numbers and bools"));
    };
    if values.len() > MAX_VALUES {
        return Err(refuse(at, format!("has {} values; a list may have {MAX_VALUES}", values.len())));
    }
    values.iter().enumerate().map(|(index, value)| scalar(value, &format!("{at}[{index}]"))).collect()
}

/// A JSON object and where it stands.
struct Object<'a> {
    fields: &'a Map<String, Value>,
    at: &'a str,
}

impl<'a> Object<'a> {
    fn new(value: &'a Value, at: &'a str) -> Result<Object<'a>> {
        match value {
            Value::Object(fields) => Ok(Object { fields, at }),
            _ => {
                Err(refuse(at, "must be an object with a type, e.g. {\"type\":\"eq\",\"key\":…,\"value\":…}"))
            }
        }
    }

    fn path(&self, field: &str) -> String {
        format!("{}.{field}", self.at)
    }

    fn field(&self, name: &str) -> Result<&'a Value> {
        self.fields.get(name).ok_or_else(|| {
            let hint = if name == "type" { format!(", one of {TYPES}") } else { String::new() };
            refuse(self.path(name), format!("the filter needs a {name}{hint}"))
        })
    }

    fn string(&self, name: &str) -> Result<&'a str> {
        match self.field(name)? {
            Value::String(text) => Ok(text),
            _ => Err(refuse(self.path(name), "must be a string")),
        }
    }

    fn key(&self) -> Result<String> {
        self.string("key").map(str::to_owned)
    }

    fn only(&self, known: &[&str]) -> Result<()> {
        match self.fields.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let message =
                    format!("the field {} is unknown; this filter has {}", brief(name), known.join(", "));
                Err(refuse(self.at, message))
            }
        }
    }
}

fn refuse(at: impl Into<String>, message: impl Into<String>) -> Error {
    Error::new(Code::InvalidFilter, message).with_param(at)
}

/// What a client wrote, quoted, at most 40 characters of it.
fn brief(text: &str) -> String {
    match text.char_indices().nth(40) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(value: Value) -> Filter {
        Filter::parse(&value).unwrap()
    }

    #[test]
    fn wrong_filters_say_what_is_wrong_and_where() {
        let eq = json!({"type": "eq", "key": "k", "value": 1});
        for (filter, param, says) in [
            (json!([]), "filter", "object"),
            (json!({}), "filter.type", "one of eq"),
            (json!({"type": 1}), "filter.type", "string"),
            (json!({"type": "equals"}), "filter.type", "\"equals\" is unknown; use one of eq"),
            (json!({"type": "x".repeat(1000)}), "filter.type", "xxx\"… is unknown"),
            (json!({"type": "eq", "value": 1}), "filter.key", "needs a key"),
            (json!({"type": "eq", "key": 1, "value": 1}), "filter.key", "string"),
            (json!({"type": "eq", "key": "k"}), "filter.value", "needs a value"),
            (
                json!({"type": "eq", "key": "k", "value": 1, "x": 1}),
                "filter",
                "\"x\" is unknown; this filter has type, key, value",
            ),
            (json!({"type": "eq", "key": "k", "value": null}), "filter.value", "exists"),
            (json!({"type": "ne", "key": "k", "value": [1]}), "filter.value", "use in"),
            (json!({"type": "gt", "key": "k", "value": true}), "filter.value", "number or a string"),
            (json!({"type": "lte", "key": "k", "value": null}), "filter.value", "number or a string"),
            (json!({"type": "in", "key": "k", "value": 1}), "filter.value", "list"),
            (
                json!({"type": "nin", "key": "k", "value": [1, {}]}),
                "filter.value[1]",
                "string, a number or a bool",
            ),
            (json!({"type": "prefix", "key": "k", "value": 1}), "filter.value", "string"),
            (
                json!({"type": "contains", "key": "k", "value": {}}),
                "filter.value",
                "string, a number or a bool",
            ),
            (json!({"type": "exists", "key": "k", "value": 1}), "filter", "this filter has type, key"),
            (json!({"type": "not", "filters": [eq]}), "filter", "this filter has type, filter"),
            (json!({"type": "not"}), "filter.filter", "needs a filter"),
            (json!({"type": "and", "filters": eq}), "filter.filters", "list of filters"),
            (json!({"type": "or"}), "filter.filters", "needs a filters"),
            (
                json!({"type": "and", "filters": [eq, {"type": "not", "filter": {"type": "gt", "key": "k", "value": []}}]}),
                "filter.filters[1].filter.value",
                "number or a string",
            ),
        ] {
            let error = Filter::parse(&filter).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (Code::InvalidFilter, Some(param)), "{filter}");
            assert!(error.message.contains(says), "{filter}: {}", error.message);
        }
    }

    #[test]
    fn limits_are_exact() {
        let eq = json!({"type": "eq", "key": "k", "value": 1});
        let nested =
            |levels| (1..levels).fold(eq.clone(), |inner, _| json!({"type": "not", "filter": inner}));
        assert!(Filter::parse(&nested(MAX_DEPTH)).is_ok());
        let error = Filter::parse(&nested(MAX_DEPTH + 1)).unwrap_err();
        assert!(error.message.contains("32 deep"), "{error}");

        let wide = |conditions| json!({"type": "or", "filters": vec![eq.clone(); conditions - 1]});
        assert!(Filter::parse(&wide(MAX_CONDITIONS)).is_ok());
        let error = Filter::parse(&wide(MAX_CONDITIONS + 1)).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("filter.filters[1023]"));

        let long = |values| json!({"type": "in", "key": "k", "value": vec!["x"; values]});
        assert!(Filter::parse(&long(MAX_VALUES)).is_ok());
        assert!(Filter::parse(&long(MAX_VALUES + 1)).unwrap_err().message.contains("10001 values"));
    }

    #[test]
    fn a_filter_nested_ten_thousand_deep_is_an_error() {
        // Not a fault of this module: the JSON reader stops first, and a body in memory stops here.
        let text = format!("{}{}{}", "{\"type\":\"not\",\"filter\":".repeat(10_000), "1", "}".repeat(10_000));
        assert!(serde_json::from_str::<Value>(&text).is_err());
        let mut value = json!(1);
        for _ in 0..10_000 {
            value = Value::Object(Map::from_iter([("type".into(), json!("not")), ("filter".into(), value)]));
        }
        assert!(Filter::parse(&value).unwrap_err().message.contains("32 deep"));
        // Taken apart by hand: dropping it whole would recurse.
        while let Some(inner) = value.get_mut("filter").map(Value::take) {
            value = inner;
        }
    }

    #[test]
    fn filters_that_mean_the_same_are_one_cache_key() {
        let eq = |key: &str, value: Value| json!({"type": "eq", "key": key, "value": value});
        let and = |filters: Value| json!({"type": "and", "filters": filters});
        let not = |filter: Value| json!({"type": "not", "filter": filter});
        let same = |a: Value, b: Value| assert_eq!(parse(a), parse(b));

        same(eq("k", json!(1)), eq("k", json!(1.0)));
        same(json!({"type": "ne", "key": "k", "value": 1}), not(eq("k", json!(1))));
        same(
            json!({"type": "in", "key": "k", "value": [2, "a", 1, 2.0]}),
            json!({"type": "in", "key": "k", "value": ["a", 1, 2]}),
        );
        same(json!({"type": "nin", "key": "k", "value": [1]}), json!({"type": "ne", "key": "k", "value": 1}));
        same(
            and(json!([eq("a", json!(1)), eq("b", json!(2))])),
            and(json!([eq("b", json!(2)), eq("a", json!(1))])),
        );
        same(and(json!([eq("a", json!(1)), eq("a", json!(1))])), eq("a", json!(1)));
        same(not(not(eq("a", json!(1)))), eq("a", json!(1)));

        assert_ne!(parse(eq("k", json!(1))), parse(eq("k", json!("1"))));
        assert_ne!(
            parse(eq("k", json!(9_007_199_254_740_992_i64))),
            parse(eq("k", json!(9_007_199_254_740_993_i64)))
        );
        assert_ne!(parse(and(json!([]))), parse(json!({"type": "or", "filters": []})));
    }
}
