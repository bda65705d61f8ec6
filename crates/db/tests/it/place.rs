//! Stores that a test opens by itself, more than once, with options of its own.

use std::path::Path;
use std::sync::Arc;

use authority::{SystemCtx, TenantCtx};
use base::{Secret, SeededRandom, SharedRandom, SystemClock, TenantId};
use db::{Db, FaultPoint, Kind, Location, Options};
use tempfile::TempDir;
use testkit::Database;
use vault::{MasterKey, Vault};

use crate::notes::SET;

/// Somewhere a store can be.
pub(crate) struct Place {
    pub(crate) location: Location,
    pub(crate) random: SharedRandom,
    _dir: TempDir,
    pub(crate) database: Option<Database>,
}

impl Place {
    pub(crate) fn new(kind: Kind) -> Self {
        let dir = tempfile::tempdir().expect("make a folder");
        let database = (kind == Kind::Postgres).then(testkit::postgres);
        Self::with(dir, database)
    }

    pub(crate) fn with(dir: TempDir, database: Option<Database>) -> Self {
        let location = match &database {
            Some(database) => Location::Postgres { url: Secret::new(database.url()) },
            None => Location::Sqlite { dir: dir.path().to_path_buf() },
        };
        Self { location, random: SeededRandom::shared(7), _dir: dir, database }
    }

    pub(crate) fn dir(&self) -> &Path {
        self._dir.path()
    }

    pub(crate) fn options(&self) -> Options {
        options(self.location.clone())
    }

    pub(crate) async fn open(&self) -> Db {
        Db::open(self.options()).await.expect("open the store")
    }

    pub(crate) fn tenant(&self) -> TenantCtx {
        system().for_tenant(TenantId::new(&*SystemClock::shared(), &*self.random))
    }
}

pub(crate) fn options(location: Location) -> Options {
    let random = base::SystemRandom::shared();
    Options::new(location, SystemClock::shared(), random.clone(), vault(1), vec![SET])
}

/// A vault with a master key of its own for each number.
pub(crate) fn vault(number: u8) -> Vault {
    let key: [u8; 32] = SeededRandom::shared(number.into()).array();
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let master = MasterKey::parse(&key, "a test").expect("a master key");
    Vault::new(master, base::SystemRandom::shared())
}

pub(crate) fn system() -> SystemCtx {
    SystemCtx::because("a test")
}

pub(crate) fn fault(point: impl Fn(&'static str) + Send + Sync + 'static) -> Option<FaultPoint> {
    Some(FaultPoint(Arc::new(point)))
}
