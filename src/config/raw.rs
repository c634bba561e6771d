//! Settings as they are written: in a TOML file, in the environment or as flags.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::{ConfigError, Result};
use crate::dispatch::Network;

/// Every setting, none of them checked. One name in three spellings: `max_body_mib` in the file is
/// `--max-body-mib` as a flag and `GLEANER_MAX_BODY_MIB` in the environment.
#[derive(Args, Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Settings (see gleaner.example.toml)")]
pub struct RawConfig {
    /// Where collections are kept
    #[arg(long, env = "GLEANER_DATA_DIR", global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Threads of each CPU pool; 0: one a core
    #[arg(long, env = "GLEANER_THREADS", global = true, value_name = "N", hide_short_help = true)]
    pub threads: Option<usize>,
    /// Where local models are
    #[arg(long, env = "GLEANER_MODELS_DIR", global = true, value_name = "DIR", hide_short_help = true)]
    pub models_dir: Option<PathBuf>,
    /// The most MiB of vectors kept so as not to embed the same text again; 0: none
    #[arg(
        long,
        env = "GLEANER_EMBEDDING_CACHE_MIB",
        global = true,
        value_name = "N",
        hide_short_help = true
    )]
    pub embedding_cache_mib: Option<usize>,
    /// How near embedding and rerank providers may be: each includes those before it
    #[arg(
        long,
        env = "GLEANER_PROVIDER_NETWORK",
        global = true,
        value_name = "NETWORK",
        hide_short_help = true
    )]
    pub provider_network: Option<Network>,
    /// The environment variables that definitions may name for providers' keys
    #[arg(
        long,
        env = "GLEANER_PROVIDER_KEY_ENV",
        global = true,
        value_name = "NAME,…",
        value_delimiter = ',',
        hide_short_help = true
    )]
    pub provider_key_env: Option<Vec<String>>,
    /// Folder of files with providers' keys, which `api_key_file` of a definition names
    #[arg(
        long,
        env = "GLEANER_PROVIDER_KEYS_DIR",
        global = true,
        value_name = "DIR",
        hide_short_help = true
    )]
    pub provider_keys_dir: Option<PathBuf>,
    /// What is logged: off, error, warn, info, debug, trace, or tracing directives
    #[arg(long, env = "GLEANER_LOG_LEVEL", global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// How log lines look
    #[arg(long, env = "GLEANER_LOG_FORMAT", global = true, value_name = "FORMAT", hide_short_help = true)]
    pub log_format: Option<LogFormat>,
    /// Address and port the server listens on
    #[arg(long, env = "GLEANER_LISTEN", global = true, value_name = "ADDRESS:PORT", hide_short_help = true)]
    pub listen: Option<String>,
    /// File that holds the bearer key clients must send (GLEANER_API_KEY holds the key itself)
    #[arg(long, env = "GLEANER_API_KEY_FILE", global = true, value_name = "FILE", hide_short_help = true)]
    pub api_key_file: Option<PathBuf>,
    /// Lets the server listen beyond this machine without a key
    #[arg(
        long,
        env = "GLEANER_INSECURE",
        global = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "BOOL",
        hide_short_help = true
    )]
    pub insecure: Option<bool>,
    /// The longest request body, in MiB, after decompression
    #[arg(long, env = "GLEANER_MAX_BODY_MIB", global = true, value_name = "N", hide_short_help = true)]
    pub max_body_mib: Option<usize>,
    /// Searches answered at once; more are told to come back (429)
    #[arg(long, env = "GLEANER_MAX_SEARCHES", global = true, value_name = "N", hide_short_help = true)]
    pub max_searches: Option<usize>,
    /// Writes received at once; more are told to come back (429)
    #[arg(long, env = "GLEANER_MAX_WRITES", global = true, value_name = "N", hide_short_help = true)]
    pub max_writes: Option<usize>,
    /// The most MiB of accepted documents that wait in a collection; more are told to come back (429)
    #[arg(long, env = "GLEANER_MAX_WAITING_MIB", global = true, value_name = "N", hide_short_help = true)]
    pub max_waiting_mib: Option<usize>,
    /// Seconds a request may take
    #[arg(long, env = "GLEANER_REQUEST_TIMEOUT_S", global = true, value_name = "S", hide_short_help = true)]
    pub request_timeout_s: Option<u64>,
    /// Seconds that requests under way get to end after SIGTERM or Ctrl-C
    #[arg(long, env = "GLEANER_SHUTDOWN_GRACE_S", global = true, value_name = "S", hide_short_help = true)]
    pub shutdown_grace_s: Option<u64>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl RawConfig {
    /// Reads a TOML file; a key that is not a setting is an error.
    pub fn from_file(path: &Path) -> Result<RawConfig> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConfigError(format!("the settings file {} can't be read: {error}", path.display()))
        })?;
        toml::from_str(&text).map_err(|error| {
            ConfigError(format!(
                "the settings file {} is wrong:\n{}",
                path.display(),
                error.to_string().trim_end()
            ))
        })
    }

    /// These settings, and `lower`'s where they say nothing.
    pub fn or(self, lower: RawConfig) -> RawConfig {
        RawConfig {
            data_dir: self.data_dir.or(lower.data_dir),
            threads: self.threads.or(lower.threads),
            models_dir: self.models_dir.or(lower.models_dir),
            embedding_cache_mib: self.embedding_cache_mib.or(lower.embedding_cache_mib),
            provider_network: self.provider_network.or(lower.provider_network),
            provider_key_env: self.provider_key_env.or(lower.provider_key_env),
            provider_keys_dir: self.provider_keys_dir.or(lower.provider_keys_dir),
            log_level: self.log_level.or(lower.log_level),
            log_format: self.log_format.or(lower.log_format),
            listen: self.listen.or(lower.listen),
            api_key_file: self.api_key_file.or(lower.api_key_file),
            insecure: self.insecure.or(lower.insecure),
            max_body_mib: self.max_body_mib.or(lower.max_body_mib),
            max_searches: self.max_searches.or(lower.max_searches),
            max_writes: self.max_writes.or(lower.max_writes),
            max_waiting_mib: self.max_waiting_mib.or(lower.max_waiting_mib),
            request_timeout_s: self.request_timeout_s.or(lower.request_timeout_s),
            shutdown_grace_s: self.shutdown_grace_s.or(lower.shutdown_grace_s),
        }
    }
}
