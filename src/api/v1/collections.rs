//! Making, listing and deleting collections.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

use super::CollectionPath;
use crate::api::extract::{Json, Path, from_value};
use crate::api::openapi::{BadBody, BadPath, CollectionMissing, Exists, Refused, WriteRefused};
use crate::api::state::{ApiState, OpenEngine};
use crate::collection::definition::{Definition, PRESETS};
use crate::engine::{CollectionInfo, CollectionStats};
use crate::error::{Error, Result};

/// The grammar of collection names.
const NAME_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$";

/// The body of `POST /v1/collections`: a name, a preset to start from, and the fields of a definition.
#[derive(Deserialize)]
pub(in crate::api) struct CreateCollection {
    name: Option<Value>,
    preset: Option<Value>,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl CreateCollection {
    /// The name, and the definition: the preset's where the body says nothing else.
    fn resolve(self) -> Result<(String, Definition)> {
        let name = match self.name {
            Some(Value::String(name)) if is_name(&name) => name,
            Some(_) => return Err(Error::invalid("name", format!("a name is a string like {NAME_PATTERN}"))),
            None => return Err(Error::invalid("name", "missing field `name`")),
        };
        // a derived reader would also take an array of the parts' values
        if let Some((part, _)) = self.fields.iter().find(|(_, value)| value.is_array()) {
            return Err(Error::invalid(part, "expected a JSON object"));
        }
        let mut definition = match self.preset {
            None | Some(Value::Null) => Value::Object(Map::new()),
            Some(Value::String(preset)) => serde_json::to_value(Definition::preset(&preset)?)
                .map_err(|error| Error::internal(format!("the preset cannot be read: {error}")))?,
            Some(_) => return Err(Error::invalid("preset", "preset must be a string")),
        };
        merge(&mut definition, Value::Object(self.fields));
        let definition: Definition = from_value(definition)?;
        definition.validate()?;
        Ok((name, definition))
    }
}

fn is_name(name: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    name.len() <= 64
        && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && name.bytes().all(rest)
}

/// Puts `over` in place of `base`; objects are merged field by field, unless they are of different providers:
/// the fields of one provider mean nothing to another.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) if same_provider(base, &over) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

fn same_provider(base: &Map<String, Value>, over: &Map<String, Value>) -> bool {
    over.get("provider").is_none_or(|provider| base.get("provider") == Some(provider))
}

impl PartialSchema for CreateCollection {
    fn schema() -> RefOr<Schema> {
        let mut schema = Definition::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            let string = || ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
            let name = string().pattern(Some(NAME_PATTERN)).description(Some("Name of the collection."));
            let presets = PRESETS.iter().map(|(name, _)| Value::from(*name)).chain([Value::Null]);
            let preset = ObjectBuilder::new()
                .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
                .enum_values(Some(presets))
                .description(Some("What the definition starts from; the other fields override it."));
            let mut definition = std::mem::take(&mut object.properties);
            for part in ["embedding", "rerank"] {
                // with a preset of the same provider the fields that differ are enough
                let fields =
                    ObjectBuilder::new().description(Some("With a preset: the fields that differ from it."));
                if let Some(slot) = definition.get_mut(part) {
                    let whole = std::mem::take(slot);
                    *slot = AnyOfBuilder::new().item(whole).item(fields).into();
                }
            }
            object.properties.insert("name".into(), name.into());
            object.properties.insert("preset".into(), preset.into());
            object.properties.extend(definition);
            object.required.push("name".into());
            object.description =
                Some("A name, a preset to start from, and the fields of a definition.".into());
        }
        schema
    }
}

impl ToSchema for CreateCollection {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Definition::schemas(schemas);
    }
}

/// Every collection.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(in crate::api) struct CollectionList {
    /// By name.
    collections: Vec<CollectionInfo>,
}

/// That a collection was deleted.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(in crate::api) struct CollectionDeleted {
    /// Its name.
    name: String,
    /// Always true.
    deleted: bool,
}

/// Creates a collection.
///
/// Creating it again with the same definition is no error (200); with another it is (409).
#[utoipa::path(
    post,
    path = "/v1/collections",
    operation_id = "create_collection",
    tag = "collections",
    request_body(content = CreateCollection, examples(
        ("Built-in model" = (value = json!({"name": "notes"}))),
        ("OpenAI" = (value = json!({"name": "papers", "preset": "openai-small", "chunking": {"max_tokens": 384}}))),
        ("Own vectors" = (value = json!({"name": "vectors", "embedding": {"provider": "client", "dimensions": 3}}))),
    )),
    responses(
        (status = 201, description = "Created", body = CollectionInfo),
        (status = 200, description = "It was there, with the same definition", body = CollectionInfo),
        BadBody, Exists, WriteRefused, Refused,
    )
)]
pub(in crate::api) async fn create(
    State(state): State<ApiState>,
    OpenEngine(engine): OpenEngine,
    Json(body): Json<CreateCollection>,
) -> Result<(StatusCode, axum::Json<CollectionInfo>)> {
    let (name, definition) = body.resolve()?;
    let _permit = state.admission().write(0)?;
    let (info, created) = engine.create_collection(&name, definition).await?;
    Ok((if created { StatusCode::CREATED } else { StatusCode::OK }, axum::Json(info)))
}

/// Lists the collections.
#[utoipa::path(
    get,
    path = "/v1/collections",
    operation_id = "list_collections",
    tag = "collections",
    responses((status = 200, description = "All of them, by name", body = CollectionList), Refused)
)]
pub(in crate::api) async fn list(OpenEngine(engine): OpenEngine) -> axum::Json<CollectionList> {
    axum::Json(CollectionList { collections: engine.collections() })
}

/// Shows a collection.
#[utoipa::path(
    get,
    path = "/v1/collections/{collection}",
    operation_id = "get_collection",
    tag = "collections",
    params(CollectionPath),
    responses((status = 200, description = "The collection", body = CollectionInfo), BadPath, CollectionMissing, Refused)
)]
pub(in crate::api) async fn show(
    OpenEngine(engine): OpenEngine,
    Path(path): Path<CollectionPath>,
) -> Result<axum::Json<CollectionInfo>> {
    engine.collection(&path.collection).map(axum::Json)
}

/// Deletes a collection with its documents and jobs.
#[utoipa::path(
    delete,
    path = "/v1/collections/{collection}",
    operation_id = "delete_collection",
    tag = "collections",
    params(CollectionPath),
    responses(
        (status = 200, description = "It is deleted", body = CollectionDeleted),
        BadPath, CollectionMissing, WriteRefused, Refused,
    )
)]
pub(in crate::api) async fn delete(
    State(state): State<ApiState>,
    OpenEngine(engine): OpenEngine,
    Path(path): Path<CollectionPath>,
) -> Result<axum::Json<CollectionDeleted>> {
    let _permit = state.admission().write(0)?;
    engine.delete_collection(&path.collection).await?;
    Ok(axum::Json(CollectionDeleted { name: path.collection, deleted: true }))
}

/// Shows what a collection holds and costs.
#[utoipa::path(
    get,
    path = "/v1/collections/{collection}/stats",
    operation_id = "get_collection_stats",
    tag = "collections",
    params(CollectionPath),
    responses((status = 200, description = "The numbers", body = CollectionStats), BadPath, CollectionMissing, Refused)
)]
pub(in crate::api) async fn stats(
    OpenEngine(engine): OpenEngine,
    Path(path): Path<CollectionPath>,
) -> Result<axum::Json<CollectionStats>> {
    engine.stats(&path.collection).map(axum::Json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::extract::from_json;
    use crate::collection::definition::EmbeddingDefinition;

    fn resolve(json: &str) -> Result<(String, Definition)> {
        from_json::<CreateCollection>(json.as_bytes()).and_then(CreateCollection::resolve)
    }

    #[test]
    fn given_fields_override_the_preset() {
        let (name, definition) = resolve(
            r#"{"name":"a","preset":"openai-small","embedding":{"dimensions":512},"chunking":{"overlap_tokens":8}}"#,
        )
        .unwrap();
        let mut expected = Definition::preset("openai-small").unwrap();
        expected.chunking.overlap_tokens = 8;
        if let EmbeddingDefinition::Openai(remote) = &mut expected.embedding {
            remote.dimensions = 512;
        }
        assert_eq!((name.as_str(), definition), ("a", expected));
    }

    #[test]
    fn another_provider_replaces_the_presets() {
        let json = r#"{"name":"a","preset":"openai-small","embedding":{"provider":"client","dimensions":3}}"#;
        assert_eq!(resolve(json).unwrap().1.embedding, EmbeddingDefinition::Client { dimensions: 3 });
    }

    #[test]
    fn a_name_alone_is_the_default_definition() {
        assert_eq!(resolve(r#"{"name":"A1_.-"}"#).unwrap().1, Definition::default());
    }

    #[test]
    fn errors_name_the_field() {
        for (json, param) in [
            ("{}", "name"),
            (r#"{"name":"_a"}"#, "name"),
            (r#"{"name":""}"#, "name"),
            (r#"{"name":"a/b"}"#, "name"),
            (r#"{"name":"é"}"#, "name"),
            (r#"{"name":7}"#, "name"),
            (r#"{"name":"a","preset":"no"}"#, "preset"),
            (r#"{"name":"a","preset":1}"#, "preset"),
            (r#"{"name":"a","chunks":{}}"#, "chunks"),
            (r#"{"name":"a","chunking":null}"#, "chunking"),
            (r#"{"name":"a","chunking":["text"]}"#, "chunking"),
            (r#"{"name":"a","embedding":["none"]}"#, "embedding"),
            (r#"{"name":"a","chunking":{"max_tokens":1}}"#, "chunking.max_tokens"),
            (r#"{"name":"a","vector":{"m":"x"}}"#, "vector.m"),
            (r#"{"name":"a","embedding":{"provider":"client","dimensions":0}}"#, "embedding.dimensions"),
        ] {
            let error = resolve(json).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{json}: {error}");
            assert_eq!(error.code.status(), 400);
        }
        let long = format!(r#"{{"name":"{}"}}"#, "a".repeat(65));
        assert!(resolve(&long).is_err());
    }
}
