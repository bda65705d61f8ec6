//! F8, F10, F11, F12 as clients of the API meet them: a store on a disk that is full, broken, slow or read-only is told
//! with a code of its own, reads go on, and it heals without a restart where it can.

use crate::support::{Answer, Api, Kept, server};
use authority::{SystemCtx, permissions};
use base::{SystemClock, SystemRandom};
use db::{Db, Location, Migration, MigrationSet, Options, Sql};
use faults::{Class, Disk};
use http::header;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use telemetry::Metrics;
use vault::{MasterKey, Vault};
use web::{Call, Problem, Reply, Routes, Spec};

const NOTES: &str = "/api/v1/notes";
const MASTER_KEY: &str = "9f1c4be07a63d258e4b60f3791ad2c85602ebd47f8139ca5704de21b86f35ac9";
/// Closures that may wait for the writer.
const QUEUE: usize = 8;

static SET: MigrationSet = MigrationSet {
    capability: "web",
    migrations: &[Migration { number: 1, name: "notes", sql: "CREATE TABLE web_notes (note TEXT NOT NULL)" }],
    tenant_tables: &[],
    system_tables: &[("web_notes", "a test's")],
};
const PUT: Sql = Sql::One("INSERT INTO web_notes (note) VALUES ($1)");
const COUNT: Sql = Sql::One("SELECT count(*) FROM web_notes");

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Note {
    note: String,
}

async fn put(db: Arc<Db>, call: Call<Note>) -> Result<Reply<()>, Problem> {
    let Note { note } = call.body;
    db.write_system(&SystemCtx::because("a test"), move |tx| tx.execute(&PUT, &db::params![note.as_str()]))
        .await?;
    Ok(Reply::no_content())
}

async fn count(db: Arc<Db>, _: Call) -> Result<Reply<i64>, Problem> {
    let ctx = SystemCtx::because("a test");
    let count: Result<i64, db::Error> = db.read_system(&ctx, |tx| tx.query_one(&COUNT, &[])?.get(0)).await;
    Ok(Reply::ok(count?))
}

struct Failing {
    api: Api,
    disk: Disk,
    _dir: tempfile::TempDir,
}

impl Failing {
    async fn new() -> Self {
        let (dir, disk) = (tempfile::tempdir().expect("a folder"), Disk::install().expect("install a disk"));
        let random = SystemRandom::shared();
        let key = MasterKey::parse(MASTER_KEY, "a test").expect("a strong key");
        let location = Location::Sqlite { dir: dir.path().to_path_buf() };
        let vault = Vault::new(key, random.clone());
        let options = Options::new(location, SystemClock::shared(), random, vault, vec![SET]);
        let options = Options { vfs: Some(disk.vfs()), queue_max: QUEUE, ..options };
        let db = Arc::new(Db::open(options).await.expect("open the store"));
        let routes = Routes::new("notes")
            .route(Spec::post(NOTES, permissions::TENANTS_WRITE).repeatable("a test"), db.clone(), put)
            .route(Spec::get(NOTES, permissions::TENANTS_READ), db, count);
        let mut api = Api::new();
        api.server = server(routes, Arc::new(Kept::default()), &Metrics::new()).expect("the routes agree");
        Self { api, disk, _dir: dir }
    }

    async fn put(&self, note: &str) -> Answer {
        self.api.post(NOTES, serde_json::json!({ "note": note }).to_string()).await
    }

    async fn count(&self) -> i64 {
        let answer = self.api.get(NOTES, "operator").await;
        assert_eq!(answer.status, 200, "reads go on: {answer:?}");
        answer.json().as_i64().expect("a number")
    }

    /// A change is refused with this, and its client is told when to come back where that helps.
    async fn refuses(&self, note: &str, status: u16, code: &str) {
        let answer = self.put(note).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code));
        assert!(!String::from_utf8_lossy(&answer.body).contains("web_notes"), "internal text: {answer:?}");
    }
}

#[tokio::test]
async fn f8_a_full_disk_is_507_and_heals() {
    let failing = Failing::new().await;
    assert_eq!(failing.put("before").await.status, 204);
    failing.disk.set_full(Class::Wal, true);
    failing.refuses(&"x".repeat(500_000), 507, "store_full").await;
    assert_eq!(failing.count().await, 1);
    failing.disk.set_full(Class::Wal, false);
    assert_eq!(failing.put("after").await.status, 204);
    assert_eq!(failing.count().await, 2);
}

#[tokio::test]
async fn f10_a_broken_disk_is_503_until_a_restart() {
    let failing = Failing::new().await;
    assert_eq!(failing.put("before").await.status, 204);
    failing.disk.fail_sync_once(Class::Wal);
    for note in ["unknown", "late", "later"] {
        failing.refuses(note, 503, "unavailable").await;
    }
    assert_eq!(failing.count().await, 1);
}

#[tokio::test]
async fn f11_a_slow_disk_fills_a_bounded_queue_with_503_beyond() {
    let failing = Failing::new().await;
    failing.disk.set_sync_time(Duration::from_millis(500));
    let answers = futures_util::future::join_all((0..100).map(|n| {
        let note = n.to_string();
        let failing = &failing;
        async move { failing.put(&note).await }
    }))
    .await;
    let (done, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 204);
    assert!(done.len() >= QUEUE && !refused.is_empty(), "{} done, {} refused", done.len(), refused.len());
    for answer in refused {
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "unavailable"));
        assert!(answer.headers.contains_key(header::RETRY_AFTER), "{answer:?}");
    }
    assert_eq!(
        failing.count().await,
        i64::try_from(done.len()).expect("few"),
        "acknowledged is there, refused is not"
    );
}

#[tokio::test]
async fn f12_a_read_only_disk_is_503_with_reads_and_heals() {
    let failing = Failing::new().await;
    assert_eq!(failing.put("before").await.status, 204);
    failing.disk.set_read_only(true);
    failing.refuses("refused", 503, "unavailable").await;
    assert_eq!(failing.count().await, 1);
    failing.disk.set_read_only(false);
    assert_eq!(failing.put("after").await.status, 204);
    assert_eq!(failing.count().await, 2);
}
