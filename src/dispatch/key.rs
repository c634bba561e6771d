//! A provider's key: read when it is needed, so that a new one needs no restart, and shown nowhere.

use std::path::PathBuf;

use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};

use super::ProviderAccess;
use crate::store::is_plain_name;

/// Where a key is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySource {
    /// An environment variable; empty: none.
    pub env: String,
    /// A file of the folder of keys; empty: none. Comes before the variable.
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
    /// Whether the key is there and may be sent; the error says what is missing.
    pub fn check(&self, access: &ProviderAccess) -> Result<(), String> {
        self.read(Auth::Bearer, access).map(drop)
    }

    /// A definition must not send just any file to just any server: keys lie in one folder, which only who runs
    /// gleaner can name.
    fn path(&self, access: &ProviderAccess) -> Result<PathBuf, String> {
        let Some(folder) = &access.keys_dir else {
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

    pub(super) fn read(&self, auth: Auth, access: &ProviderAccess) -> Result<Key, String> {
        let (text, place) = match (&*self.file, &*self.env) {
            ("", "") => return Ok(Key { secret: String::new(), header: None }),
            // nor just any variable
            ("", variable) if !access.key_env.iter().any(|listed| listed == variable) => {
                return Err(format!(
                    "the environment variable {variable} is none of those that may be sent to providers: add it to the \
                     setting provider_key_env"
                ));
            }
            ("", variable) => {
                let text = std::env::var(variable).map_err(|_| {
                    format!(
                        "the environment variable {variable}, which holds the provider's key, is not set: start \
                         gleaner with it"
                    )
                })?;
                (text, format!("the environment variable {variable}"))
            }
            (file, _) => {
                let text = std::fs::read_to_string(self.path(access)?).map_err(|error| {
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
    use std::path::Path;

    use super::*;

    fn access(folder: Option<&Path>) -> ProviderAccess {
        let key_env = vec!["CARGO_PKG_NAME".into(), "NO_SUCH_KEY".into()];
        ProviderAccess { key_env, keys_dir: folder.map(Path::to_owned), ..ProviderAccess::default() }
    }

    fn file(content: &str) -> (tempfile::TempDir, KeySource) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), content).unwrap();
        (folder, KeySource { file: "key".into(), ..KeySource::default() })
    }

    #[test]
    fn a_key_comes_from_a_file_or_a_variable_and_a_new_one_needs_no_restart() {
        let (folder, source) = file(" sk-first \n");
        let header = |auth| source.read(auth, &access(Some(folder.path()))).unwrap().header().unwrap();
        assert_eq!(header(Auth::Bearer), (AUTHORIZATION, HeaderValue::from_static("Bearer sk-first")));
        std::fs::write(folder.path().join("key"), "sk-second").unwrap();
        let (name, value) = header(Auth::Header("api-key"));
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("api-key", "sk-second"));
        assert!(value.is_sensitive());
        let variable = KeySource { env: "CARGO_PKG_NAME".into(), ..KeySource::default() };
        variable.check(&access(None)).unwrap();
        assert!(KeySource::default().read(Auth::Bearer, &access(None)).unwrap().header().is_none());
    }

    #[test]
    fn what_is_wrong_with_a_key_is_said_without_it() {
        let wrong = |env: &str, file: &str, folder: Option<&Path>| {
            KeySource { env: env.into(), file: file.into() }.check(&access(folder)).unwrap_err()
        };
        assert!(wrong("NO_SUCH_KEY", "", None).contains("NO_SUCH_KEY"));
        assert!(wrong("GLEANER_API_KEY", "", None).contains("provider_key_env"));
        assert!(wrong("CARGO_PKG_VERSION", "", None).contains("provider_key_env"));
        assert!(wrong("", "key", None).contains("provider_keys_dir"));
        let (empty, source) = file("  ");
        assert!(source.check(&access(Some(empty.path()))).unwrap_err().contains("empty"));
        assert!(wrong("", "other", Some(empty.path())).contains("other"));
        for outside in ["/etc/hostname", "../key", "a/b", ".", ".hidden", "a\\b"] {
            assert!(wrong("", outside, Some(empty.path())).contains("without a path"), "{outside}");
        }
        let (folder, source) = file("two\nlines");
        let bad = source.check(&access(Some(folder.path()))).unwrap_err();
        assert!(bad.contains("characters") && !bad.contains("lines"), "{bad}");
    }

    #[test]
    fn a_repeated_key_is_taken_out_whole_or_in_part() {
        let (folder, source) = file("sk-abcdefghijklmnopqrstuvwxyz0123456789");
        let key = source.read(Auth::Bearer, &access(Some(folder.path()))).unwrap();
        assert_eq!(key.redact("no sk-abcdefghijklmnopqrstuvwxyz0123456789, sorry"), "no [key], sorry");
        assert_eq!(
            key.redact("it begins sk-abcdefgh… and ends in stuvwxyz0123456789!"),
            "it begins [key]… and ends in [key]!"
        );
        assert_eq!(key.redact("ask abcd"), "ask abcd");
    }
}
