//! What a store is opened with.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::{Secret, SharedClock, SharedRandom};
use vault::Vault;

use crate::MigrationSet;

/// Where the store is.
#[derive(Debug, Clone)]
pub enum Location {
    /// An embedded store: `<dir>/switchyard.db`, owned by this process through `<dir>/lock`.
    Sqlite {
        /// The data folder; made when missing.
        dir: PathBuf,
    },
    /// A PostgreSQL database that any number of processes share. The role needs to own its schema and to be able to
    /// create roles (or find `sy_tenant_…` and `sy_system_…` made and granted to it).
    Postgres {
        /// `postgres://user:password@host:port/database`.
        url: Secret<String>,
    },
}

/// A test's hook: it may panic or end the process when the point it waits for comes by.
#[derive(Clone)]
pub struct FaultPoint(pub Arc<dyn Fn(&'static str) + Send + Sync>);

impl fmt::Debug for FaultPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultPoint")
    }
}

/// What [`crate::Db::open`] needs. Make it with [`Options::new`], then change what differs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the store is.
    pub location: Location,
    /// Wall clock and monotonic time.
    pub clock: SharedClock,
    /// Randomness for ids.
    pub random: SharedRandom,
    /// Holder of the master key, open or sealed.
    pub vault: Vault,
    /// The migrations of every capability.
    pub sets: Vec<MigrationSet>,
    /// Version of this binary, recorded with each migration that it applies.
    pub version: &'static str,
    /// Threads that read an embedded store. Each keeps a page cache of at most 2 MiB.
    pub readers: usize,
    /// Connections to PostgreSQL, each with its thread.
    pub lanes: usize,
    /// Closures that may wait for the writer, and for each kind of reader, before [`crate::Error::Busy`].
    pub queue_max: usize,
    /// How long a statement may run. On PostgreSQL the server ends it; one that does not answer 2 s later is left.
    pub statement_max: Duration,
    /// Called at named points of work that can be interrupted: fault tests only.
    pub fault: Option<FaultPoint>,
    /// Name of a SQLite file layer to use instead of the system's: fault tests only.
    pub vfs: Option<&'static str>,
}

/// Reader threads of an embedded store: readers never wait for the writer, four cover two to four cores.
const READERS: usize = 4;
/// Connections to PostgreSQL: past the number of cores of a small server they only contend.
const LANES: usize = 8;
/// Waiting closures: at 20,000 small ones a second half a second of work, about 2 MiB.
const QUEUE_MAX: usize = 8_192;

/// A statement: closures take 50 ms as a whole, so this only ends what runs away.
const STATEMENT_MAX: Duration = Duration::from_secs(10);

impl Options {
    /// Options with the default threads and limits.
    #[must_use]
    pub fn new(
        location: Location,
        clock: SharedClock,
        random: SharedRandom,
        vault: Vault,
        sets: Vec<MigrationSet>,
    ) -> Self {
        Self {
            location,
            clock,
            random,
            vault,
            sets,
            version: env!("CARGO_PKG_VERSION"),
            readers: READERS,
            lanes: LANES,
            queue_max: QUEUE_MAX,
            statement_max: STATEMENT_MAX,
            fault: None,
            vfs: None,
        }
    }
    pub(crate) fn reached(&self, point: &'static str) {
        if let Some(fault) = &self.fault {
            (fault.0)(point);
        }
    }
}
