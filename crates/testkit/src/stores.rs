//! One function of tests on both stores.

use std::future::Future;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use authority::{SystemCtx, TenantCtx};
use base::{ManualClock, Secret, SeededRandom, SharedClock, SharedRandom, TenantId, Timestamp};
use db::{Db, Kind, Location, MigrationSet, Options};
use lifecycle::{Stop, StopHandle};
use tempfile::TempDir;
use vault::{MasterKey, Vault};

use crate::postgres::Database;

/// 2026-01-01T00:00:00Z.
const START_MICROS: i64 = 1_767_225_600_000_000;
/// What the randomness of tests is seeded with; printed by nothing, as it never changes.
pub const SEED: u64 = 0x5717_c4ed;
/// A master key for tests; anybody may know it.
const MASTER_KEY: &str = "9f1c4be07a63d258e4b60f3791ad2c85602ebd47f8139ca5704de21b86f35ac9";
/// How long the store's own tasks may take to end after a test.
const END_MAX: Duration = Duration::from_secs(10);

/// When the clocks of tests begin: 2026-01-01T00:00:00Z.
#[must_use]
pub fn start() -> Timestamp {
    Timestamp::from_micros(START_MICROS)
}

/// An open store with the surroundings of a test. Cloning shares all of it.
#[derive(Debug, Clone)]
pub struct Store {
    /// The store; its sequencer runs.
    pub db: Db,
    /// The store's clock, which stands still at [`start`] until the test moves it.
    pub clock: ManualClock,
    /// The store's randomness, seeded with [`SEED`].
    pub random: SharedRandom,
    /// Open, with a master key that is the same in all tests.
    pub vault: Vault,
    /// A folder of this test: the data folder of an embedded store.
    pub dir: PathBuf,
    /// Where the store is, to open it once more.
    pub location: Location,
}

impl Store {
    /// The clock as the crates under test take it.
    #[must_use]
    pub fn shared_clock(&self) -> SharedClock {
        self.clock.shared()
    }

    /// Which database this is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.db.kind()
    }

    /// A context over all tenants.
    #[must_use]
    pub fn system(&self) -> SystemCtx {
        SystemCtx::because("a test")
    }

    /// A context of a new tenant, for stores without the capability `tenants`.
    #[must_use]
    pub fn tenant(&self) -> TenantCtx {
        self.system().for_tenant(TenantId::new(&self.clock, &*self.random))
    }
}

/// What belongs to an open store of one test and ends with it.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    end: StopHandle,
    tasks: tokio::task::JoinSet<()>,
    // Dropped after the store, in this order.
    _database: Option<Database>,
    _folder: TempDir,
}

impl Fixture {
    /// Opens a fresh store of this kind with the migrations of `sets`.
    pub(crate) async fn open(kind: Kind, sets: &[MigrationSet]) -> Fixture {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        let dir = folder.path().to_path_buf();
        let (database, location) = match kind {
            Kind::Sqlite => (None, Location::Sqlite { dir: dir.clone() }),
            Kind::Postgres => {
                let database = crate::postgres();
                let url = Secret::new(database.url());
                (Some(database), Location::Postgres { url })
            }
        };
        let clock = ManualClock::new(start());
        let random = SeededRandom::shared(SEED);
        let master = MasterKey::parse(MASTER_KEY, "testkit").unwrap_or_else(|error| panic!("{error}"));
        let vault = Vault::new(master, random.clone());
        let options =
            Options::new(location.clone(), clock.shared(), random.clone(), vault.clone(), sets.to_vec());
        let db = Db::open(options).await.unwrap_or_else(|error| panic!("open the store: {error:?}"));
        let (end, stop) = Stop::pair();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(db.run_sequencer(stop));
        let store = Store { db, clock, random, vault, dir, location };
        Fixture { store, end, tasks, _database: database, _folder: folder }
    }

    /// Ends the store's own tasks.
    pub(crate) async fn close(mut self) {
        self.end.stop();
        let ended = tokio::time::timeout(END_MAX, async { while self.tasks.join_next().await.is_some() {} });
        assert!(ended.await.is_ok(), "the store's tasks do not stop");
    }
}

/// Runs a test on SQLite, then on PostgreSQL, each time with a fresh store that has the migrations of `sets`.
///
/// # Panics
/// When the test does, or when there is no PostgreSQL.
pub async fn stores<F, T>(sets: &[MigrationSet], test: F)
where
    F: Fn(Store) -> T,
    T: Future<Output = ()>,
{
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let _told = Told(kind);
        let fixture = Fixture::open(kind, sets).await;
        test(fixture.store.clone()).await;
        fixture.close().await;
    }
}

/// Says on which store a test fails, when it does.
pub(crate) struct Told(pub(crate) Kind);

impl Drop for Told {
    fn drop(&mut self) {
        let thread = std::thread::current();
        if std::thread::panicking() {
            // The harness names a test's thread after it.
            let test = thread.name().unwrap_or("a test");
            let _ = writeln!(std::io::stderr(), "{test} fails on {:?}", self.0);
        }
    }
}
