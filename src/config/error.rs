//! What can be wrong with the configuration, told with its place.

use std::path::PathBuf;

use super::layers::Origin;
use crate::failure::Failure;

/// `place` is a file with its line, or the name of an environment variable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: the configuration file cannot be read", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("{}: the configuration file is over {limit} bytes long", file.display())]
    TooLong { file: PathBuf, limit: u64 },
    #[error("{}: the configuration file is not UTF-8 text", file.display())]
    NotText { file: PathBuf },
    #[error("{place}: this is not TOML: {reason}")]
    Syntax { place: Origin, reason: String },
    #[error("{place}: {key} is not a setting; wanted: {wanted}")]
    UnknownKey { place: Origin, key: String, wanted: String },
    #[error("{place}: {key} is {found}; wanted: {wanted}")]
    BadValue { place: Origin, key: String, found: String, wanted: String },
    #[error("{place}: [{section}] lacks {key}; wanted: {wanted}")]
    Missing { place: Origin, section: &'static str, key: &'static str, wanted: &'static str },
}

impl From<ConfigError> for Failure {
    fn from(e: ConfigError) -> Failure {
        let failure = Failure::failed(e.to_string());
        match &e {
            ConfigError::Read { source, .. } => failure.help(format!("{source}; name another file with --config")),
            ConfigError::TooLong { .. } | ConfigError::NotText { .. } => failure.help("name another file with --config"),
            ConfigError::Syntax { .. } => failure.help("text needs quotation marks; a section is written [gateway]"),
            ConfigError::UnknownKey { .. } | ConfigError::BadValue { .. } | ConfigError::Missing { .. } => {
                failure.help("correct it, or leave it out to have the default; docs/configuration.md lists every setting")
            }
        }
    }
}
