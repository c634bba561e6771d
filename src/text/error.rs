//! tantivy's errors as ours: they name the part, and damage found below tantivy stays what it is.

use std::error::Error as StdError;
use std::io;
use std::path::Path;

use tantivy::TantivyError;
use tantivy::directory::error::{OpenDirectoryError, OpenReadError};

use crate::Error;
use crate::store::StoreError;

/// A failure while opening the file of the part at `path`. That it is gone is no damage (inside of a part it is).
pub(super) fn opening(path: &Path) -> impl Fn(TantivyError) -> Error + use<'_> {
    move |error| match &error {
        TantivyError::OpenReadError(OpenReadError::FileDoesNotExist(_))
        | TantivyError::OpenDirectoryError(OpenDirectoryError::DoesNotExist(_)) => {
            StoreError::io("open", path)(io::ErrorKind::NotFound.into()).into()
        }
        _ => reading(path)(error),
    }
}

/// A failure while reading the part at `path`.
pub(super) fn reading(path: &Path) -> impl Fn(TantivyError) -> Error + use<'_> {
    move |error| {
        let io = match &error {
            TantivyError::IoError(io) => Some(io),
            TantivyError::OpenReadError(OpenReadError::IoError { io_error, .. }) => Some(io_error),
            _ => None,
        };
        match io {
            Some(io) => reading_io(path)(io),
            None => StoreError::corrupt(path, error.to_string()).into(),
        }
    }
}

/// A failure of a read of the part at `path`: what the checksums found, or bytes that make no sense.
pub(super) fn reading_io(path: &Path) -> impl Fn(&io::Error) -> Error + use<'_> {
    move |error| {
        let mut source: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(inner) = source {
            if let Some(found) = inner.downcast_ref::<StoreError>() {
                return found.clone().into();
            }
            source = match inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(custom) => Some(custom),
                None => inner.source(),
            };
        }
        StoreError::corrupt(path, error.to_string()).into()
    }
}

/// A failure while indexing in memory.
pub(super) fn indexing(error: TantivyError) -> Error {
    Error::internal(format!("indexing text failed: {error}"))
}
