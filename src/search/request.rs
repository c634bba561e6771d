//! A search as a client sends it.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ObjectBuilder, OneOfBuilder, Ref, Schema, SchemaType, Type,
};
use utoipa::{PartialSchema, ToSchema};

use crate::collection::definition::FusionDefinition;

/// The body of `POST /v1/collections/{collection}/search`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SearchRequest {
    /// The question or keywords. Words in double quotes must occur as that phrase (in
    /// more than 24 words: where at least a quarter of them are quoted).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The query as a vector: used by the dense leg in place of an embedding of `query`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vector: Option<Vec<f32>>,
    /// Which legs recall candidates; absent: every leg the collection and the request can serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Hits a page, 1 to 1000 (10).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000, default = 10)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before. The other fields must be as they were for the first page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// How many candidates each leg recalls, and so the most hits over all pages, 1 to 10000
    /// (absent: 200, or `limit` if that is more).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10000)]
    pub window: Option<u32>,
    /// Only chunks of documents whose metadata pass (see `docs/filters.md`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<FilterSchema>)]
    pub filter: Option<Value>,
    /// In place of the collection's fusion.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub fusion: Option<FusionDefinition>,
    /// `document`: at most one hit (the best chunk) a document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_by: Option<GroupBy>,
    /// Adds neighbouring chunks of each hit.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub expand: Option<Expand>,
    /// Leaves out hits with a lower score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_threshold: Option<f32>,
    /// `false` leaves out the collection's reranker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerank: Option<bool>,
    /// Compares the query with every row instead of walking the graph.
    pub exact: bool,
    /// Candidates a walk of a graph keeps, in place of the collection's `recall_target` or `ef_search`, 1 to 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10000)]
    pub ef: Option<u32>,
    /// Adds rank, raw and normalised score of each leg to each hit.
    pub explain: bool,
    /// Answers an error where a leg or the reranker fails, instead of a degraded result.
    pub strict: bool,
}

/// Reads an object or null; a derived reader would also take an array of the fields' values.
fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    struct Object<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = Option<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_map(self)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }

    deserializer.deserialize_option(Object(PhantomData))
}

/// Which legs recall candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Both legs, fused.
    Hybrid,
    /// Vectors only.
    Dense,
    /// Words only.
    Lexical,
}

/// What hits are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    /// At most one hit a document.
    Document,
}

/// How many neighbouring chunks a hit brings along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expand {
    /// Chunks before it, 0 to 20.
    #[schema(maximum = 20)]
    pub before: u32,
    /// Chunks after it, 0 to 20.
    #[schema(maximum = 20)]
    pub after: u32,
}

/// The shape of a filter, for the API's description: each variant's fields are all required and the only ones.
pub struct FilterSchema;

impl PartialSchema for FilterSchema {
    fn schema() -> RefOr<Schema> {
        let of = |types: &[Type]| {
            let types: SchemaType = types.iter().cloned().collect();
            RefOr::from(ObjectBuilder::new().schema_type(types))
        };
        let list = |items: RefOr<Schema>| RefOr::from(ArrayBuilder::new().items(items));
        let key = || ("key", of(&[Type::String]));
        let scalar = || of(&[Type::String, Type::Number, Type::Boolean]);
        let filter = || RefOr::Ref(Ref::from_schema_name(FilterSchema::name()));
        let variants = [
            variant(&["eq", "ne", "contains"], [key(), ("value", scalar())]),
            variant(&["gt", "gte", "lt", "lte"], [key(), ("value", of(&[Type::String, Type::Number]))]),
            variant(&["in", "nin"], [key(), ("value", list(scalar()))]),
            variant(&["prefix"], [key(), ("value", of(&[Type::String]))]),
            variant(&["exists"], [key()]),
            variant(&["and", "or"], [("filters", list(filter()))]),
            variant(&["not"], [("filter", filter())]),
        ];
        let any = OneOfBuilder::new().description(Some("A condition on a document's metadata."));
        variants.into_iter().fold(any, OneOfBuilder::item).into()
    }
}

fn variant<const N: usize>(types: &[&str], fields: [(&str, RefOr<Schema>); N]) -> ObjectBuilder {
    let name = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(types.iter().copied()));
    let object = ObjectBuilder::new()
        .property("type", name)
        .required("type")
        .additional_properties(Some(AdditionalProperties::FreeForm(false)));
    fields.into_iter().fold(object, |object, (name, schema)| object.property(name, schema).required(name))
}

impl ToSchema for FilterSchema {
    fn name() -> Cow<'static, str> {
        "Filter".into()
    }
}
