//! A backup as it is shown.

use base::{BackupId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Switchyard's own store, whole.
    Store,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It waits for another one.
    Queued,
    /// It is being written.
    Running,
    /// It is whole.
    Complete,
    /// It was not made; nothing can be restored from it.
    Failed,
    /// A file is there, but it is damaged or of another master key.
    Unreadable,
}

/// Whether it was ever restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VerificationState {
    /// Nobody tried.
    Unproven,
    /// It is being restored into a scratch store.
    Running,
    /// It was restored, and all rows were there.
    Verified,
    /// It could not be restored.
    Failed,
}

/// The last attempt to restore it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    /// How it ended.
    pub state: VerificationState,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Verification {
    /// Nobody tried yet.
    #[must_use]
    pub fn unproven() -> Verification {
        Verification { state: VerificationState::Unproven, at: None, error: None }
    }
}

/// Rows of one table in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TableRows {
    /// The table.
    pub table: String,
    /// How many rows.
    pub rows: u64,
}

/// One backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Backup {
    /// Its id, and the name of its file.
    pub id: BackupId,
    /// What it holds.
    pub scope: Scope,
    /// How far it is.
    pub status: Status,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// Bytes of its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Rows of all tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Rows of each table; only where one backup is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableRows>,
    /// Version of the binary that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Why it failed or cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether it was ever restored.
    pub verification: Verification,
}

impl Backup {
    /// One of which nothing is known but its id and status.
    #[must_use]
    pub fn bare(id: BackupId, status: Status) -> Backup {
        Backup {
            id,
            scope: Scope::Store,
            status,
            created_at: made_at(&id),
            completed_at: None,
            bytes: None,
            rows: None,
            tables: Vec::new(),
            version: None,
            error: None,
            verification: Verification::unproven(),
        }
    }
}

/// The time in the id: a UUIDv7 begins with 48 bits of milliseconds (RFC 9562).
fn made_at(id: &BackupId) -> Timestamp {
    let millis = id.as_bytes()[..6].iter().fold(0_i64, |millis, byte| millis << 8 | i64::from(*byte));
    Timestamp::from_micros(millis.saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{ManualClock, SeededRandom};

    #[test]
    fn the_id_knows_the_time() {
        let now = Timestamp::from_micros(1_795_176_000_123_000);
        let id = BackupId::new(&ManualClock::new(now), &SeededRandom::new(1));
        assert_eq!(Backup::bare(id, Status::Queued).created_at, now);
    }
}
