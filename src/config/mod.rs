//! Settings, in two stages: [`RawConfig`] is what the file, the environment and the flags say;
//! [`Config`] is what they mean, checked once. Flags win over the environment, the environment over
//! the file, the file over the defaults.

mod raw;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use raw::{LogFormat, RawConfig};

use crate::dispatch::ProviderAccess;

/// The environment variable that holds the bearer key. There is no flag for it: flags are visible to every
/// process of the machine.
pub const API_KEY_ENV: &str = "GLEANER_API_KEY";

/// Why the settings can't be used: what is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// `Result` with a [`ConfigError`].
pub type Result<T, E = ConfigError> = std::result::Result<T, E>;

/// Settings that were checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where collections are kept.
    pub data_dir: PathBuf,
    /// Threads of each CPU pool, at least 1.
    pub threads: usize,
    /// Where local models are.
    pub models_dir: PathBuf,
    /// The most bytes of accepted documents that may wait in a collection.
    pub max_waiting_bytes: u64,
    /// The most bytes of the embedding cache; 0: there is none.
    pub embedding_cache_bytes: u64,
    /// What is logged and how.
    pub log: LogConfig,
    /// What definitions may make gleaner reach.
    pub provider_access: ProviderAccess,
    /// The HTTP server.
    pub server: ServerConfig,
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// A level or tracing directives; absent: each command's own default (`info` for a server, `warn`
    /// for the others).
    pub level: Option<String>,
    /// How lines look; absent: JSON for a server, text for the others.
    pub format: Option<LogFormat>,
}

/// The HTTP server.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// The bearer key clients must send.
    pub api_key: Option<ApiKey>,
    /// Whether it may listen beyond this machine without a key.
    pub insecure: bool,
    /// The longest request body, in bytes.
    pub max_body_bytes: usize,
    /// Searches answered at once.
    pub max_searches: usize,
    /// Writes received at once.
    pub max_writes: usize,
    /// The longest a request may take.
    pub request_timeout: Duration,
    /// What requests under way get to end at shutdown.
    pub shutdown_grace: Duration,
}

/// A bearer key. Never shown: not by `Debug`, not in errors.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// The key itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Checks that `text` can travel in a header; white space around it is left out.
    fn new(text: &str, source: &str) -> Result<ApiKey> {
        let key = text.trim();
        if key.is_empty() {
            return Err(ConfigError(format!(
                "{source} is set and holds no key: give it one, or take it away"
            )));
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = format!("the key in {source} must be visible ASCII characters without white space");
            return Err(ConfigError(message));
        }
        Ok(ApiKey(key.to_owned()))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

impl Config {
    /// The settings of this process: `flags` (and the environment, which clap read with them), then
    /// `file`, then the defaults; the bearer key from [`API_KEY_ENV`] or `api_key_file`.
    pub fn load(flags: RawConfig, file: Option<&Path>) -> Result<Config> {
        let file = file.map(RawConfig::from_file).transpose()?.unwrap_or_default();
        let key = match std::env::var(API_KEY_ENV) {
            Ok(key) => Some(key),
            Err(std::env::VarError::NotPresent) => None,
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(ConfigError(format!(
                    "the key in {API_KEY_ENV} must be visible ASCII characters"
                )));
            }
        };
        Config::resolve(flags.or(file), key)
    }

    /// Checks `raw` and fills in the defaults; `env_key` is the content of [`API_KEY_ENV`].
    pub fn resolve(raw: RawConfig, env_key: Option<String>) -> Result<Config> {
        let api_key = match (env_key, &raw.api_key_file) {
            (Some(key), _) => Some(ApiKey::new(&key, API_KEY_ENV)?),
            (None, Some(path)) => {
                let name = format!("the file {} (api_key_file)", path.display());
                let text = std::fs::read_to_string(path)
                    .map_err(|error| ConfigError(format!("{name} can't be read: {error}")))?;
                Some(ApiKey::new(&text, &name)?)
            }
            (None, None) => None,
        };
        let listen = raw.listen.as_deref().unwrap_or("127.0.0.1:7411");
        let server = ServerConfig {
            listen: listen.parse().map_err(|_| {
                ConfigError(format!(
                    "listen = `{listen}` is not an address and port; write it like 127.0.0.1:7411 or [::1]:7411"
                ))
            })?,
            api_key,
            insecure: raw.insecure.unwrap_or(false),
            max_body_bytes: in_range("max_body_mib", raw.max_body_mib, 64, 1, 4096)? << 20,
            max_searches: in_range("max_searches", raw.max_searches, 64, 1, 65_536)?,
            max_writes: in_range("max_writes", raw.max_writes, 16, 1, 65_536)?,
            request_timeout: seconds("request_timeout_s", raw.request_timeout_s, 60, 1)?,
            shutdown_grace: seconds("shutdown_grace_s", raw.shutdown_grace_s, 30, 0)?,
        };
        let threads = match in_range("threads", raw.threads, 0, 0, 1024)? {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let waiting_mib = in_range("max_waiting_mib", raw.max_waiting_mib, 4096, 1, 1 << 20)? as u64;
        let cache_mib = in_range("embedding_cache_mib", raw.embedding_cache_mib, 1024, 0, 1 << 20)? as u64;
        Ok(Config {
            data_dir: raw.data_dir.unwrap_or_else(|| PathBuf::from("indexes/data")),
            threads,
            models_dir: raw.models_dir.unwrap_or_else(|| PathBuf::from("models")),
            max_waiting_bytes: waiting_mib << 20,
            embedding_cache_bytes: cache_mib << 20,
            provider_access: ProviderAccess {
                network: raw.provider_network.unwrap_or_default(),
                key_env: key_variables(raw.provider_key_env)?,
                keys_dir: raw.provider_keys_dir,
            },
            log: LogConfig { level: raw.log_level, format: raw.log_format },
            server,
        })
    }
}

impl ServerConfig {
    /// Refuses to open the data to a network without a key.
    pub fn check_exposure(&self) -> Result<()> {
        if self.api_key.is_some() || self.insecure || self.listen.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        Err(ConfigError(format!(
            "listening on {} opens gleaner to other machines, and no key is set: set {API_KEY_ENV} (or \
             api_key_file) so that clients need a key, or pass --insecure if something else guards the port",
            self.listen
        )))
    }
}

/// The variables that may be sent to providers; gleaner's own, its key among them, never are.
fn key_variables(listed: Option<Vec<String>>) -> Result<Vec<String>> {
    let Some(listed) = listed else { return Ok(ProviderAccess::default().key_env) };
    match listed.iter().find(|name| name.starts_with("GLEANER_")) {
        Some(own) => Err(ConfigError(format!(
            "provider_key_env lists {own}, which is gleaner's own: give the provider's key another name"
        ))),
        None => Ok(listed.into_iter().filter(|name| !name.is_empty()).collect()),
    }
}

fn in_range(name: &str, value: Option<usize>, default: usize, min: usize, max: usize) -> Result<usize> {
    let value = value.unwrap_or(default);
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(ConfigError(format!("{name} = {value} is out of range: it must be {min} to {max}")))
}

fn seconds(name: &str, value: Option<u64>, default: u64, min: u64) -> Result<Duration> {
    let max = 86_400;
    let value = value.unwrap_or(default);
    if (min..=max).contains(&value) {
        return Ok(Duration::from_secs(value));
    }
    Err(ConfigError(format!("{name} = {value} is out of range: it must be {min} to {max} seconds")))
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command};

    use super::*;

    const EXAMPLE: &str = include_str!("../../gleaner.example.toml");

    fn raw(text: &str) -> RawConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_example_is_the_defaults_and_names_every_setting() {
        let defaults = Config::resolve(RawConfig::default(), None).unwrap();
        assert_eq!(Config::resolve(raw(EXAMPLE), None).unwrap(), defaults);
        for arg in RawConfig::augment_args(Command::new("gleaner")).get_arguments() {
            let key = arg.get_id().as_str();
            let named = EXAMPLE.lines().any(|line| {
                line.strip_prefix("# ").unwrap_or(line).split_once(" = ").is_some_and(|(name, _)| name == key)
            });
            assert!(named, "gleaner.example.toml does not show {key}");
            // one name in three spellings
            assert_eq!(arg.get_long(), Some(key.replace('_', "-").as_str()));
            assert_eq!(arg.get_env().unwrap().to_str().unwrap(), format!("GLEANER_{}", key.to_uppercase()));
        }
    }

    #[test]
    fn the_commented_settings_of_the_example_are_valid_too() {
        let uncommented: String = EXAMPLE
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        let settings = raw(&uncommented);
        assert!(settings.api_key_file.is_some() && settings.log_format == Some(LogFormat::Json));
    }

    #[test]
    fn a_higher_source_wins_setting_by_setting() {
        let flags = raw("listen = '127.0.0.1:1'");
        let file = raw("listen = '127.0.0.1:2'\nmax_searches = 7");
        let config = Config::resolve(flags.or(file), None).unwrap();
        assert_eq!(config.server.listen.port(), 1);
        assert_eq!(config.server.max_searches, 7);
        assert_eq!(config.server.max_writes, 16);
    }

    #[test]
    fn wrong_settings_are_refused_by_name() {
        for (text, name) in [
            ("listen = 'localhost'", "listen"),
            ("max_body_mib = 0", "max_body_mib"),
            ("max_searches = 0", "max_searches"),
            ("threads = 100000", "threads"),
            ("request_timeout_s = 0", "request_timeout_s"),
            ("api_key_file = '/nonexistent/key'", "/nonexistent/key"),
            ("provider_key_env = ['OPENAI_API_KEY', 'GLEANER_API_KEY']", "GLEANER_API_KEY"),
        ] {
            let error = Config::resolve(raw(text), None).unwrap_err();
            assert!(error.0.contains(name), "{text}: {error}");
        }
        assert!(toml::from_str::<RawConfig>("listn = '127.0.0.1:1'").is_err());
        assert!(toml::from_str::<RawConfig>("api_key = 'secret'").is_err());
    }

    #[test]
    fn a_network_address_needs_a_key_or_consent() {
        let check = |text: &str, key: Option<&str>| {
            Config::resolve(raw(text), key.map(str::to_owned)).unwrap().server.check_exposure()
        };
        for open in ["listen = '0.0.0.0:1'", "listen = '[::]:1'", "listen = '192.168.1.2:1'"] {
            let message = check(open, None).unwrap_err().0;
            assert!(message.contains(API_KEY_ENV) && message.contains("--insecure"), "{message}");
            check(open, Some("k")).unwrap();
            check(&format!("{open}\ninsecure = true"), None).unwrap();
        }
        for loopback in ["listen = '127.0.0.1:1'", "listen = '127.9.9.9:1'", "listen = '[::1]:1'"] {
            check(loopback, None).unwrap();
        }
        check("listen = '[::ffff:127.0.0.1]:1'", None).unwrap();
    }

    #[test]
    fn a_key_is_trimmed_checked_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "from-file\n").unwrap();
        let settings = RawConfig { api_key_file: Some(path), ..RawConfig::default() };
        let config = Config::resolve(settings.clone(), None).unwrap();
        assert_eq!(config.server.api_key.as_ref().unwrap().expose(), "from-file");
        assert!(!format!("{config:?}").contains("from-file"));
        let config = Config::resolve(settings, Some("from-env".into())).unwrap();
        assert_eq!(config.server.api_key.unwrap().expose(), "from-env");
        for bad in ["", "  ", "two words", "schlüssel"] {
            let error = Config::resolve(RawConfig::default(), Some(bad.into())).unwrap_err();
            assert!(bad.trim().is_empty() || !error.0.contains(bad), "{error}");
        }
    }
}
