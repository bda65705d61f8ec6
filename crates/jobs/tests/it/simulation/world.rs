//! Where the simulated processes live: a store that can lose its power, and the engines on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use authority::SystemCtx;
use base::{
    ByteSize, EnvironmentId, HumanDuration, ManualClock, Secret, SeededRandom, SharedClock, SharedRandom,
    Slug, SystemRandom, TenantId, Timestamp,
};
use db::{Db, Location, Migration, MigrationSet, Options};
use faults::Disk;
use jobs::{Deps, Engine, Keep, Limits, QueueKey, QueueSettings, Retry};
use vault::{MasterKey, Vault};

use super::Broken;
use super::ops::Names;

/// 2026-01-01T00:00:00Z.
const START_MICROS: i64 = 1_767_225_600_000_000;
/// Of every simulated store; it guards nothing.
const MASTER_KEY: &str = "5b1f4be07a63d258e4b60f3791ad2c85602ebd47f8139ca5704de21b86f35ac9";
/// Longer than any run.
const KEEP: Duration = Duration::from_secs(20_000 * 86_400);
const TENANTS: usize = 3;
/// How long a process may take to end, by the real clock.
const END_MAX: Duration = Duration::from_secs(10);
/// Of every claim.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
const DATABASE_FILE: &str = "switchyard.db";

const SET: MigrationSet = MigrationSet {
    capability: "sim",
    migrations: &[Migration {
        number: 1,
        name: "facts",
        sql: "CREATE TABLE sim_facts (number BIGINT NOT NULL PRIMARY KEY)",
    }],
    tenant_tables: &[],
    system_tables: &[("sim_facts", "the simulation's own")],
};

/// A migrated, empty embedded store, so that not every run migrates.
#[derive(Debug, Clone)]
pub(crate) struct Template(Arc<Vec<u8>>);

impl Template {
    /// Makes one.
    pub(crate) async fn make() -> Result<Self, Broken> {
        let dir = folder()?;
        let location = Location::Sqlite { dir: dir.path().to_path_buf() };
        let random = SystemRandom::shared();
        drop(open_db(location, &ManualClock::new(start()).shared(), &random, None).await?);
        let bytes = std::fs::read(dir.path().join(DATABASE_FILE)).map_err(|error| error.to_string())?;
        Ok(Self(Arc::new(bytes)))
    }
}

/// What a run happens on.
#[derive(Debug)]
pub(crate) enum Site<'a> {
    /// An embedded store on a disk under test; one engine.
    Embedded(&'a Disk, &'a Template),
    /// A database on a server; two engines.
    Server(String),
}

/// A process. Everything of it holds its own `clock`, to the last open file.
struct Node {
    db: Db,
    engine: Engine,
    clock: SharedClock,
}

/// A store with its engines.
pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) names: Arc<Names>,
    pub(crate) work: QueueSettings,
    disk: Option<Disk>,
    location: Location,
    random: SharedRandom,
    nodes: Vec<Option<Node>>,
    _dir: Option<tempfile::TempDir>,
}

impl World {
    /// An empty store with two queues: `work`, with limits drawn from `dice`, and `rest` without any.
    pub(crate) async fn new(site: &Site<'_>, seed: u64, dice: &SharedRandom) -> Result<Self, Broken> {
        let clock = ManualClock::new(start());
        let random = SeededRandom::shared(seed ^ 0x5eed_0f3a);
        let (disk, location, dir, nodes) = match site {
            Site::Embedded(disk, template) => {
                let dir = folder()?;
                std::fs::write(dir.path().join(DATABASE_FILE), template.0.as_slice())
                    .map_err(|error| error.to_string())?;
                disk.reset();
                (Some((*disk).clone()), Location::Sqlite { dir: dir.path().to_path_buf() }, Some(dir), 1)
            }
            Site::Server(url) => (None, Location::Postgres { url: Secret::new(url.clone()) }, None, 2),
        };
        let environment = EnvironmentId::new(&clock, &*random);
        let tenants = (0..TENANTS).map(|_| TenantId::new(&clock, &*random)).collect();
        let queue = |name: &str| Slug::parse(name).map(|name| QueueKey::of(environment, name));
        let queues = ["work", "rest"].into_iter().map(queue).collect::<Result<Vec<_>, _>>();
        let names = Names { environment, tenants, queues: queues.map_err(|error| error.to_string())? };
        let work = settings(dice);
        let mut world = Self {
            clock,
            names: Arc::new(names),
            work,
            disk,
            location,
            random,
            nodes: (0..nodes).map(|_| None).collect(),
            _dir: dir,
        };
        for node in 0..nodes {
            world.start(node).await?;
        }
        let ctx = SystemCtx::because("the simulation");
        let rest = QueueSettings { concurrency: None, per_tenant: Limits::default(), ..world.work.clone() };
        for (key, settings) in world.names.queues.iter().zip([world.work.clone(), rest]) {
            let put = world.engine(0)?.put_queue(&ctx, key, settings).await;
            put.map_err(|error| format!("declare a queue: {error}"))?;
        }
        // The other engine hears of the queues in its own time; a fresh one reads them.
        for node in 1..nodes {
            world.stop(node).await?;
            world.start(node).await?;
        }
        Ok(world)
    }

    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn is_embedded(&self) -> bool {
        self.disk.is_some()
    }

    pub(crate) fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    pub(crate) fn node(&self, node: usize) -> Result<(Db, Engine), Broken> {
        let node = self.nodes[node].as_ref().ok_or("a process that does not run is asked")?;
        Ok((node.db.clone(), node.engine.clone()))
    }

    pub(crate) fn engine(&self, node: usize) -> Result<Engine, Broken> {
        self.node(node).map(|(_, engine)| engine)
    }

    /// Starts a process.
    pub(crate) async fn start(&mut self, node: usize) -> Result<(), Broken> {
        let vfs = self.disk.as_ref().map(Disk::vfs);
        let clock = self.clock.shared();
        let db = open_db(self.location.clone(), &clock, &self.random, vfs).await?;
        let deps = Deps {
            db: db.clone(),
            clock: clock.clone(),
            random: self.random.clone(),
            metrics: telemetry::Metrics::new(),
            tenants: None,
            built_in: Vec::new(),
        };
        let engine = Engine::open(deps).await.map_err(|error| format!("open the engine: {error}"))?;
        self.nodes[node] = Some(Node { db, engine, clock });
        Ok(())
    }

    /// Ends a process, however it is: nothing is given back, nobody is told. Returns when the last of its files is closed:
    /// what is left to the disk after that is all there is.
    pub(crate) async fn stop(&mut self, node: usize) -> Result<(), Broken> {
        let Some(Node { db, engine, clock }) = self.nodes[node].take() else { return Ok(()) };
        drop(engine);
        drop(db);
        let ended = tokio::time::timeout(END_MAX, async {
            // A thread of the store may be the last to hold it, and closes it in its own time.
            while Arc::strong_count(&clock) > 1 {
                tokio::task::yield_now().await;
            }
        });
        ended.await.map_err(|_| "a process does not end".to_owned())
    }
}

fn settings(dice: &SharedRandom) -> QueueSettings {
    let limit = |of: u64, from: u32| match dice.below(of) {
        0 => Some(from + u32::try_from(dice.below(5)).unwrap_or(0)),
        _ => None,
    };
    QueueSettings {
        concurrency: limit(2, 3),
        per_tenant: Limits { concurrency: limit(2, 2), rate: None },
        per_key: Limits { concurrency: Some(1), rate: None },
        retry: Retry { max: HumanDuration(Duration::from_secs(60)), ..Retry::default() },
        lease: HumanDuration(LEASE),
        keep: Keep {
            completed: HumanDuration(KEEP),
            dead: HumanDuration(KEEP),
            cancelled: HumanDuration(KEEP),
        },
        max_bytes: ByteSize(64 << 20),
        ..QueueSettings::default()
    }
}

async fn open_db(
    location: Location,
    clock: &SharedClock,
    random: &SharedRandom,
    vfs: Option<&'static str>,
) -> Result<Db, Broken> {
    let master = MasterKey::parse(MASTER_KEY, "the simulation").map_err(|error| error.to_string())?;
    let vault = Vault::new(master, random.clone());
    let sets = vec![jobs::MIGRATIONS, SET];
    let options = Options::new(location, clock.clone(), random.clone(), vault, sets);
    let options = Options { readers: 1, lanes: 3, vfs, ..options };
    Db::open(options).await.map_err(|error| format!("open the store: {error:?}"))
}

fn start() -> Timestamp {
    Timestamp::from_micros(START_MICROS)
}

/// In memory where there is such a place: what is synced counts, not where it lies.
fn folder() -> Result<tempfile::TempDir, Broken> {
    let memory: PathBuf = "/dev/shm".into();
    let made = if Path::new(&memory).is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.map_err(|error| format!("make a folder: {error}"))
}
