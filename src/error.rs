//! The one error users see, and the table of its codes.
//!
//! Parts of gleaner have their own typed errors (`store::StoreError`, `embed::EmbedError`, …); each
//! converts into [`Error`] where it meets a user. [`Code`] is the complete list of what can go wrong
//! from a client's point of view: its name, the error type of the OpenAI shape and the HTTP status.

use std::fmt;
use std::time::Duration;

/// `Result` with the user-facing [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, $kind:literal, $status:literal;)*) => {
        /// Machine-readable reason of an [`Error`]; stable across releases.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The name used in responses, e.g. `collection_not_found`.
            pub fn name(self) -> &'static str { match self { $(Code::$variant => $name,)* } }

            /// The `type` of the OpenAI error shape, e.g. `invalid_request_error`.
            pub fn kind(self) -> &'static str { match self { $(Code::$variant => $kind,)* } }

            /// The HTTP status.
            pub fn status(self) -> u16 { match self { $(Code::$variant => $status,)* } }

            /// The code of that name, if it is one.
            pub fn from_name(name: &str) -> Option<Code> {
                match name { $($name => Some(Code::$variant),)* _ => None }
            }
        }
    };
}

codes! {
    /// The body is not JSON (or a line of it is not).
    InvalidJson, "invalid_json", "invalid_request_error", 400;
    /// A field has a wrong type or value, is missing, or is not known.
    InvalidRequest, "invalid_request", "invalid_request_error", 400;
    /// A filter has a wrong shape, type or depth.
    InvalidFilter, "invalid_filter", "invalid_request_error", 400;
    /// A vector has a wrong length, or a value that is not finite.
    InvalidVector, "invalid_vector", "invalid_request_error", 400;
    /// A collection definition contradicts itself or names something that is not there.
    InvalidDefinition, "invalid_definition", "invalid_request_error", 400;
    /// The cursor was not made by this server or belongs to another request.
    InvalidCursor, "invalid_cursor", "invalid_request_error", 400;
    /// The collection cannot serve that search mode.
    ModeUnavailable, "mode_unavailable", "invalid_request_error", 400;
    /// The bearer key is missing or wrong.
    Unauthorized, "unauthorized", "authentication_error", 401;
    /// No such collection.
    CollectionNotFound, "collection_not_found", "not_found_error", 404;
    /// No such document.
    DocumentNotFound, "document_not_found", "not_found_error", 404;
    /// No such job.
    JobNotFound, "job_not_found", "not_found_error", 404;
    /// No such path.
    RouteNotFound, "route_not_found", "not_found_error", 404;
    /// The path exists, with other methods.
    MethodNotAllowed, "method_not_allowed", "invalid_request_error", 405;
    /// The collection exists with another definition.
    CollectionExists, "collection_exists", "conflict_error", 409;
    /// The job has ended and can no longer be cancelled.
    JobEnded, "job_ended", "conflict_error", 409;
    /// The job has not ended, or nothing of it failed, or that was retried already.
    NothingToRetry, "nothing_to_retry", "conflict_error", 409;
    /// The window a cursor points into is gone: run the search again.
    CursorExpired, "cursor_expired", "invalid_request_error", 410;
    /// The body is longer than the limit.
    BodyTooLarge, "body_too_large", "invalid_request_error", 413;
    /// The content type is not one this path reads.
    UnsupportedMediaType, "unsupported_media_type", "invalid_request_error", 415;
    /// Too much is under way: try again after `Retry-After`.
    Overloaded, "overloaded", "rate_limit_error", 429;
    /// A file of the data directory is damaged.
    CorruptData, "corrupt_data", "server_error", 500;
    /// The data directory was written by a newer gleaner.
    NewerFormat, "newer_format", "server_error", 500;
    /// Something broke inside gleaner.
    Internal, "internal", "server_error", 500;
    /// An embedding or rerank provider failed (424, not 502: gleaner itself is well, and has retried).
    ProviderFailed, "provider_failed", "provider_error", 424;
    /// gleaner is shutting down or not yet ready.
    Unavailable, "unavailable", "server_error", 503;
    /// The data directory is held by another gleaner.
    Locked, "locked", "server_error", 503;
    /// The request took longer than its limit.
    Timeout, "timeout", "server_error", 504;
    /// Reading or writing the disk failed (full, read-only, …).
    StorageFailed, "storage_failed", "server_error", 507;
}

/// What a user is told: what happened, to what, and what to do.
#[derive(Clone, Debug)]
pub struct Error {
    /// Why, for programs.
    pub code: Code,
    /// Why, for people.
    pub message: String,
    /// The field, path or file it is about, e.g. `documents[3].text`.
    pub param: Option<String>,
    /// When to try again, where that is known.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// An error of `code`; `message` says what happened and what to do.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None, retry_after: None }
    }

    /// Names the field, path or file the error is about.
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Says when to try again.
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// `invalid_request` about the field `param`.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, message).with_param(param)
    }

    /// `internal`: a defect of gleaner, not of the request.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(param) = &self.param {
            write!(f, " ({param})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<crate::embed::EmbedError> for Error {
    fn from(error: crate::embed::EmbedError) -> Self {
        let code = match error {
            crate::embed::EmbedError::Cancelled => Code::Unavailable,
            _ => Code::ProviderFailed,
        };
        Error::new(code, error.to_string())
    }
}

impl From<crate::store::StoreError> for Error {
    fn from(error: crate::store::StoreError) -> Self {
        use crate::store::StoreError as E;
        let code = match &error {
            E::Io { .. } => Code::StorageFailed,
            E::Corrupt { .. } => Code::CorruptData,
            E::NewerFormat { .. } => Code::NewerFormat,
            E::Locked { .. } => Code::Locked,
        };
        let param = error.path().display().to_string();
        Error::new(code, error.to_string()).with_param(param)
    }
}
