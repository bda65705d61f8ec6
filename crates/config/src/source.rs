//! Where each setting came from, for `switchyard config show --sources`.

use crate::fault::Place;
use serde::Serialize;
use std::fmt;

/// The source of a setting, weakest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingSource {
    /// Nothing was said.
    Default,
    /// `server.toml`, with line and column.
    ServerFile(Place),
    /// `[server]` in the project file.
    ProjectFile,
    /// This environment variable.
    Variable(String),
    /// This flag, without its dashes.
    Flag(String),
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::ServerFile(place) => write!(f, "{place}"),
            Self::ProjectFile => f.write_str("[server] in switchyard.toml"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// One setting that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its key, such as `gateway_addr`.
    pub key: String,
    /// Its value as text; `(hidden)` for secrets, empty for what is not set.
    pub value: String,
    /// Where it came from.
    pub source: SettingSource,
    /// What it means.
    pub description: String,
}

/// All settings in force, sorted by key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Provenance(pub Vec<Setting>);
