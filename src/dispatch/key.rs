//! A provider's key: read when it is needed, so that a new one needs no restart, and shown nowhere.

use std::path::{Path, PathBuf};

use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};

use crate::store::is_plain_name;

/// Where a key is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySource {
    /// An environment variable; empty: none.
    pub env: String,
    /// A file of the folder of keys; empty: none. Comes before the variable.
    pub file: String,
}

/// Variables of gleaner itself, its own key among them, are no business of a provider's.
const OWN_VARIABLES: &str = "GLEANER_";

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
    /// Whether the key is there; the error says what is missing. `folder` is where files of keys are.
    pub fn check(&self, folder: Option<&Path>) -> Result<(), String> {
        self.read(Auth::Bearer, folder).map(drop)
    }

    /// A definition must not send just any file to just any server: keys lie in one folder, which only who runs
    /// gleaner can name.
    fn path(&self, folder: Option<&Path>) -> Result<PathBuf, String> {
        let Some(folder) = folder else {
            return Err(format!(
                "`{}` names a file of the folder of providers' keys, but the setting provider_keys_dir names none",
                self.file
            ));
        };
        if !is_plain_name(&self.file) {
            return Err(format!(
                "`{}` must be the name of a file in the folder of providers' keys (provider_keys_dir), without a path: \
                 letters, digits, `_`, `.` and `-`, not beginning with `.`",
                self.file
            ));
        }
        Ok(folder.join(&self.file))
    }

    pub(super) fn read(&self, auth: Auth, folder: Option<&Path>) -> Result<Key, String> {
        let (text, place) = match (&*self.file, &*self.env) {
            ("", "") => return Ok(Key { secret: String::new(), header: None }),
            ("", variable) if variable.starts_with(OWN_VARIABLES) => {
                return Err(format!(
                    "the environment variable {variable} is gleaner's own: give the provider's key another name"
                ));
            }
            ("", variable) => {
                let text = std::env::var(variable).map_err(|_| {
                    format!("the environment variable {variable}, which holds the provider's key, is not set")
                })?;
                (text, format!("the environment variable {variable}"))
            }
            (file, _) => {
                let text = std::fs::read_to_string(self.path(folder)?).map_err(|error| {
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

    fn file(content: &str) -> (tempfile::TempDir, KeySource) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), content).unwrap();
        (folder, KeySource { file: "key".into(), ..KeySource::default() })
    }

    #[test]
    fn a_key_comes_from_a_file_or_a_variable_and_a_new_one_needs_no_restart() {
        let (folder, source) = file(" sk-first \n");
        let header = |auth| source.read(auth, Some(folder.path())).unwrap().header().unwrap();
        assert_eq!(header(Auth::Bearer), (AUTHORIZATION, HeaderValue::from_static("Bearer sk-first")));
        std::fs::write(folder.path().join("key"), "sk-second").unwrap();
        let (name, value) = header(Auth::Header("api-key"));
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("api-key", "sk-second"));
        assert!(value.is_sensitive());
        let variable = KeySource { env: "CARGO_PKG_NAME".into(), ..KeySource::default() };
        variable.check(None).unwrap();
        assert!(KeySource::default().read(Auth::Bearer, None).unwrap().header().is_none());
    }

    #[test]
    fn what_is_wrong_with_a_key_is_said_without_it() {
        let wrong = |env: &str, file: &str, folder: Option<&Path>| {
            KeySource { env: env.into(), file: file.into() }.check(folder).unwrap_err()
        };
        assert!(wrong("NO_SUCH_KEY", "", None).contains("NO_SUCH_KEY"));
        assert!(wrong("GLEANER_API_KEY", "", None).contains("gleaner's own"));
        assert!(wrong("", "key", None).contains("provider_keys_dir"));
        let (empty, source) = file("  ");
        assert!(source.check(Some(empty.path())).unwrap_err().contains("empty"));
        assert!(wrong("", "other", Some(empty.path())).contains("other"));
        for outside in ["/etc/hostname", "../key", "a/b", ".", ".hidden", "a\\b"] {
            assert!(wrong("", outside, Some(empty.path())).contains("without a path"), "{outside}");
        }
        let (folder, source) = file("two\nlines");
        let bad = source.check(Some(folder.path())).unwrap_err();
        assert!(bad.contains("characters") && !bad.contains("lines"), "{bad}");
    }

    #[test]
    fn a_repeated_key_is_taken_out_whole_or_in_part() {
        let (folder, source) = file("sk-abcdefghijklmnopqrstuvwxyz0123456789");
        let key = source.read(Auth::Bearer, Some(folder.path())).unwrap();
        assert_eq!(key.redact("no sk-abcdefghijklmnopqrstuvwxyz0123456789, sorry"), "no [key], sorry");
        assert_eq!(
            key.redact("it begins sk-abcdefgh… and ends in stuvwxyz0123456789!"),
            "it begins [key]… and ends in [key]!"
        );
        assert_eq!(key.redact("ask abcd"), "ask abcd");
    }
}
