//! A provider's key: read when it is needed, so that a new one needs no restart, and shown nowhere.

use std::path::Path;

use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};

/// Where a key is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySource {
    /// An environment variable; empty: none.
    pub env: String,
    /// A file; empty: none. Comes before the variable.
    pub file: String,
}

/// Which header carries the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// A header that holds nothing else.
    Header(&'static str),
}

/// A provider's key. Has no `Debug`, and no way out but the header.
pub(super) struct Key {
    secret: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl KeySource {
    /// Whether the key is there; the error says what is missing.
    pub fn check(&self) -> Result<(), String> {
        self.read(Auth::Bearer).map(drop)
    }

    pub(super) fn read(&self, auth: Auth) -> Result<Key, String> {
        let (text, place) = match (&*self.file, &*self.env) {
            ("", "") => return Ok(Key { secret: String::new(), header: None }),
            ("", variable) => {
                let text = std::env::var(variable).map_err(|_| {
                    format!("the environment variable {variable}, which holds the provider's key, is not set")
                })?;
                (text, format!("the environment variable {variable}"))
            }
            (file, _) => {
                let text = std::fs::read_to_string(Path::new(file)).map_err(|error| {
                    format!(
                        "the file {file}, which holds the provider's key, can't be read: {}",
                        error.kind()
                    )
                })?;
                (text, format!("the file {file}"))
            }
        };
        let secret = text.trim().to_owned();
        if secret.is_empty() {
            return Err(format!("{place}, which holds the provider's key, is empty"));
        }
        let (name, value) = match auth {
            Auth::Bearer => (AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {secret}"))),
            Auth::Header(name) => (HeaderName::from_static(name), HeaderValue::from_str(&secret)),
        };
        let mut value =
            value.map_err(|_| format!("the key in {place} has characters that no key can have"))?;
        value.set_sensitive(true);
        Ok(Key { secret, header: Some((name, value)) })
    }
}

impl Key {
    pub fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        self.header.clone()
    }

    /// `text` without the key, should a provider repeat it, as it is or in pieces of eight characters and more.
    pub fn redact(&self, text: &str) -> String {
        const PIECE: usize = 8;
        let mut text = text.to_owned();
        if self.secret.is_empty() {
            return text;
        }
        if self.secret.len() < PIECE || !self.secret.is_ascii() {
            return text.replace(&self.secret, "[key]");
        }
        let mut start = 0;
        while start + PIECE <= self.secret.len() {
            let Some(at) = text.find(&self.secret[start..start + PIECE]) else {
                start += 1;
                continue;
            };
            let same = text[at..].bytes().zip(self.secret[start..].bytes()).take_while(|(a, b)| a == b);
            let length = same.count();
            text.replace_range(at..at + length, "[key]");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &str) -> (tempfile::NamedTempFile, KeySource) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, content).unwrap();
        let source = KeySource { file: file.path().to_str().unwrap().into(), ..KeySource::default() };
        (file, source)
    }

    #[test]
    fn a_key_comes_from_a_file_or_a_variable_and_a_new_one_needs_no_restart() {
        let (path, source) = file(" sk-first \n");
        let header = |auth| source.read(auth).unwrap().header().unwrap();
        assert_eq!(header(Auth::Bearer), (AUTHORIZATION, HeaderValue::from_static("Bearer sk-first")));
        std::fs::write(&path, "sk-second").unwrap();
        let (name, value) = header(Auth::Header("api-key"));
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("api-key", "sk-second"));
        assert!(value.is_sensitive());
        let variable = KeySource { env: "CARGO_PKG_NAME".into(), ..KeySource::default() };
        variable.check().unwrap();
        assert!(KeySource::default().read(Auth::Bearer).unwrap().header().is_none());
    }

    #[test]
    fn what_is_wrong_with_a_key_is_said_without_it() {
        let named =
            |env: &str, file: &str| KeySource { env: env.into(), file: file.into() }.check().unwrap_err();
        assert!(named("GLEANER_NO_SUCH_KEY", "").contains("GLEANER_NO_SUCH_KEY"));
        assert!(named("", "/nonexistent/key").contains("/nonexistent/key"));
        assert!(file("  ").1.check().unwrap_err().contains("empty"));
        let bad = file("two\nlines").1.check().unwrap_err();
        assert!(bad.contains("characters") && !bad.contains("lines"), "{bad}");
    }

    #[test]
    fn a_repeated_key_is_taken_out_whole_or_in_part() {
        let (_file, source) = file("sk-abcdefghijklmnopqrstuvwxyz0123456789");
        let key = source.read(Auth::Bearer).unwrap();
        assert_eq!(key.redact("no sk-abcdefghijklmnopqrstuvwxyz0123456789, sorry"), "no [key], sorry");
        assert_eq!(
            key.redact("it begins sk-abcdefgh… and ends in stuvwxyz0123456789!"),
            "it begins [key]… and ends in [key]!"
        );
        assert_eq!(key.redact("ask abcd"), "ask abcd");
    }
}
