//! How the project file reaches the capabilities: all in one transaction.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use base::EnvironmentId;
use db::SystemTx;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A capability's part of the project file.
pub trait SectionApply: Send + Sync + 'static {
    /// The top-level key, such as `services`.
    fn key(&self) -> &'static str;

    /// Brings what the file manages in `environment` in line with `section`; `None` means that the file has no
    /// such section. `prune` allows removing what holds data. Runs inside the one transaction of the apply and
    /// may be repeated, so it has no effect outside of it. Returns what it changed; nothing when all was so already.
    ///
    /// # Errors
    /// [`ApplyError`]; the whole apply is then undone.
    fn apply(
        &self,
        tx: &mut SystemTx,
        environment: EnvironmentId,
        section: Option<&Value>,
        prune: bool,
    ) -> Result<Vec<Change>, ApplyError>;
}

/// Reads the section under the top-level `key`; `None`, a file without it, is the default of `T`.
///
/// # Errors
/// [`ApplyError::Invalid`] with all that its shape refuses, by pointers from the top of the file.
pub fn read_section<T: DeserializeOwned + JsonSchema + Default>(
    key: &str,
    section: Option<&Value>,
) -> Result<T, ApplyError> {
    let Some(value) = section else { return Ok(T::default()) };
    shape::parse(value.clone()).map_err(|faults| {
        let prefix = shape::below("", key);
        ApplyError::Invalid(faults.into_iter().map(|fault| fault.under(&prefix)).collect())
    })
}

/// What is wrong with a name of a section's table, if anything is; the pointer is below the section.
#[must_use]
pub fn name_fault<K: FromStr<Err: Display>>(name: &str) -> Option<shape::Fault> {
    let error = name.parse::<K>().err()?;
    Some(shape::Fault::new(shape::below("", name), format!("{name:?}"), error.to_string()))
}

/// A section's table by its names. What is not named right is left out: [`name_fault`] told of it.
#[must_use]
pub fn named<K: FromStr + Ord, T>(table: BTreeMap<String, T>) -> BTreeMap<K, T> {
    table.into_iter().filter_map(|(name, one)| Some((name.parse().ok()?, one))).collect()
}

/// Who decides about a thing that the project file or the API may make, such as a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ManagedBy {
    /// The project file.
    File,
    /// Whoever uses the API.
    Api,
}

impl ManagedBy {
    /// The word in API and store.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Api => "api",
        }
    }

    /// What a stored word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::File, Self::Api].into_iter().find(|by| by.word() == word)
    }
}

/// What happened to a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is new.
    Created,
    /// It was there and differs now.
    Changed,
    /// It is gone.
    Removed,
}

/// One thing that an apply changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// To what, such as `plan free`.
    pub what: String,
}

impl Change {
    /// `what` is new.
    #[must_use]
    pub fn created(what: impl Into<String>) -> Self {
        Self { kind: ChangeKind::Created, what: what.into() }
    }

    /// `what` differs from before.
    #[must_use]
    pub fn changed(what: impl Into<String>) -> Self {
        Self { kind: ChangeKind::Changed, what: what.into() }
    }

    /// `what` is gone.
    #[must_use]
    pub fn removed(what: impl Into<String>) -> Self {
        Self { kind: ChangeKind::Removed, what: what.into() }
    }
}

/// Why the project file was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The section says something that cannot be; pointers are relative to the whole file.
    #[error("the project file has {} mistake(s)", .0.len())]
    Invalid(Vec<shape::Fault>),
    /// Things would be removed that hold data, and `prune` was not given.
    #[error("these hold data and would be removed: {}", .0.join(", "))]
    HoldsData(Vec<String>),
    /// The file claims a thing that is managed by API.
    #[error("{0} is managed by API, not by the project file")]
    ManagedByApi(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] db::Error),
}
