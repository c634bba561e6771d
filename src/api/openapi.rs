//! The OpenAPI document: collected from the handlers, completed here, committed as `openapi.yaml`.

use std::collections::BTreeMap;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::Parameter;
use utoipa::openapi::schema::{AdditionalProperties, Schema};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{Components, LicenseBuilder, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use super::error::ErrorResponse;
use crate::error::Code;

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident: $($code:ident)+;)*) => {$(
        $(#[$doc])*
        pub(super) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
                error_responses(&[$(Code::$code),+])
            }
        }
    )*};
}

refusals! {
    /// What every route with a key can answer.
    Refused: Unauthorized Internal CorruptData Unavailable Timeout StorageFailed;
    /// A bad parameter.
    BadPath: InvalidRequest;
    /// A bad parameter or filter in the query.
    BadQuery: InvalidRequest InvalidFilter;
    /// A bad body.
    BadBody: InvalidJson InvalidRequest InvalidFilter InvalidVector InvalidDefinition BodyTooLarge UnsupportedMediaType;
    /// A bad search, or one that cannot be run.
    BadSearch: InvalidJson InvalidRequest InvalidFilter InvalidVector InvalidCursor ModeUnavailable CursorExpired
        BodyTooLarge UnsupportedMediaType Overloaded ProviderFailed;
    /// What every change can answer.
    WriteRefused: Overloaded ProviderFailed;
    /// Too many are connected.
    WatchRefused: Overloaded;
    /// No such collection.
    CollectionMissing: CollectionNotFound RouteNotFound;
    /// No such document.
    DocumentMissing: CollectionNotFound DocumentNotFound RouteNotFound;
    /// No such job.
    JobMissing: JobNotFound RouteNotFound;
    /// The collection is there, and different.
    Exists: CollectionExists;
    /// The job has ended.
    Ended: JobEnded;
    /// Nothing to retry.
    NotRetried: NothingToRetry;
    /// Not ready.
    NotReady: Unavailable;
}

/// One response a status, its description naming the codes.
fn error_responses(codes: &[Code]) -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
    let mut names: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for code in codes {
        names.entry(code.status()).or_default().push(format!("`{}`", code.name()));
    }
    let response = |names: Vec<String>| {
        let schema = Ref::from_schema_name(ErrorResponse::name());
        let content = ContentBuilder::new().schema(Some(schema)).build();
        ResponseBuilder::new().description(names.join(", ")).content("application/json", content).build()
    };
    names.into_iter().map(|(status, names)| (status.to_string(), response(names).into())).collect()
}

/// Adds what belongs to no handler: title, key, tags, the error shape.
pub(super) fn complete(mut api: OpenApi) -> OpenApi {
    api.info.title = "gleaner".into();
    api.info.description = Some("Retrieval for RAG: documents in, evidence out.".into());
    api.info.contact = None;
    api.info.version = env!("CARGO_PKG_VERSION").into();
    api.info.license = Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build());
    let components = api.components.get_or_insert_with(Components::new);
    let mut schemas =
        vec![(ErrorResponse::name().into_owned(), <ErrorResponse as utoipa::PartialSchema>::schema())];
    <ErrorResponse as ToSchema>::schemas(&mut schemas);
    components.schemas.extend(schemas);
    for providers in ["EmbeddingDefinition", "RerankDefinition"] {
        if let Some(RefOr::T(Schema::OneOf(providers))) = components.schemas.get_mut(providers) {
            providers.items.iter_mut().for_each(forbid_other_fields);
        }
    }
    // beside their fields stands `provider`, which a closed object would forbid
    for part in ["RemoteEmbedding", "RemoteRerank"] {
        if let Some(RefOr::T(Schema::Object(part))) = components.schemas.get_mut(part) {
            part.additional_properties = None;
        }
    }
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    api.security = Some(vec![SecurityRequirement::new("bearer", [] as [&str; 0])]);
    let tag = |name: &str, text: &str| TagBuilder::new().name(name).description(Some(text)).build();
    api.tags = Some(vec![
        tag("collections", "Named sets of documents, each with one definition"),
        tag("documents", "What is searched"),
        tag("search", "Evidence for a question"),
        tag("jobs", "Accepted documents on their way into the index"),
        tag("service", "The server itself"),
    ]);
    for item in api.paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten() {
            operation.parameters.iter_mut().flatten().for_each(json_in_query);
        }
    }
    api
}

/// Says of a variant what `deny_unknown_fields` does; the derive says it of structs only.
fn forbid_other_fields(variant: &mut RefOr<Schema>) {
    if let RefOr::T(Schema::Object(variant)) = variant {
        variant.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    }
}

/// A parameter that is an object travels as JSON text.
fn json_in_query(parameter: &mut RefOr<Parameter>) {
    if let RefOr::T(parameter) = parameter
        && parameter.name == "filter"
    {
        let content = ContentBuilder::new().schema(parameter.schema.take()).build();
        parameter.content.insert("application/json".into(), content.into());
    }
}

/// The OpenAPI document, in YAML.
pub fn openapi() -> String {
    // the document is a plain tree of strings and numbers: YAML can hold it
    super::routes().1.to_yaml().unwrap_or_default()
}

/// Shows this description of the API.
#[utoipa::path(
    get,
    path = "/openapi.yaml",
    tag = "service",
    responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/yaml"), Refused)
)]
pub(super) async fn openapi_yaml() -> Response {
    ([(header::CONTENT_TYPE, "application/yaml")], include_str!("../../openapi.yaml")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.yaml");

    /// `UPDATE_OPENAPI=1 cargo test openapi` writes the file.
    #[test]
    fn the_committed_openapi_is_the_generated_one() {
        let generated = openapi();
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(COMMITTED, &generated).unwrap();
        }
        let committed = std::fs::read_to_string(COMMITTED).unwrap();
        assert!(committed == generated, "openapi.yaml is stale: run UPDATE_OPENAPI=1 cargo test openapi");
    }

    #[test]
    fn every_route_is_described() {
        let api = super::super::routes().1;
        let operations: Vec<_> =
            api.paths.paths.values().flat_map(|item| [&item.get, &item.post, &item.delete]).collect();
        assert_eq!(
            (api.paths.paths.len(), operations.iter().filter(|operation| operation.is_some()).count()),
            (18, 22)
        );
        let mut ids = std::collections::HashSet::new();
        for operation in operations.into_iter().flatten() {
            assert!(operation.summary.is_some(), "{:?}", operation.operation_id);
            assert!(ids.insert(&operation.operation_id), "{:?} is there twice", operation.operation_id);
        }
    }

    #[test]
    fn every_error_code_is_listed() {
        let api = serde_json::to_value(super::super::routes().1).unwrap();
        let listed = api.pointer("/components/schemas/ErrorBody/properties/code/enum").unwrap();
        let names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(*listed, serde_json::json!(names));
    }
}
