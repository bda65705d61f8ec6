//! Backups of a store on both databases: made, listed, proven, restored; and what must not be restored is not.

use std::fs;
use std::path::{Path, PathBuf};

use authority::{Role, SystemCtx};
use backups::{Backup, Config, Deps, RestoreError, RestoreOptions, Status, VerificationState};
use base::{BackupId, PageRequest, TenantId, codes};
use db::{Db, EventFilter, Location, Migration, MigrationSet, NewEvent, Options, Sql};
use serde_json::{Value, json};
use telemetry::Metrics;
use testkit::{Parts, Store, TestApp, apps};

/// What a tenant keeps; no backup may show it.
const CANARY: &str = "canary-51d0c2aa";

const NOTES: MigrationSet = MigrationSet {
    capability: "notes",
    migrations: &[Migration {
        number: 1,
        name: "notes",
        sql: "CREATE TABLE notes (tenant TEXT NOT NULL, id TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (tenant, id));",
    }],
    tenant_tables: &["notes"],
    system_tables: &[],
};

const INSERT: Sql = Sql::One("INSERT INTO notes (tenant, id, text) VALUES ($1, $2, $3)");
const TEXTS: Sql = Sql::One("SELECT text FROM notes WHERE tenant = $1 ORDER BY id");

fn sets() -> Vec<MigrationSet> {
    vec![NOTES, backups::MANIFEST.migrations]
}

fn folder(store: &Store) -> PathBuf {
    store.dir.join("backups")
}

async fn parts(store: Store) -> Parts {
    write_note(&store, "1").await;
    let deps = Deps {
        db: store.db.clone(),
        clock: store.shared_clock(),
        random: store.random.clone(),
        vault: store.vault.clone(),
        sets: sets(),
        metrics: Metrics::new(),
    };
    Parts::of(backups::build(Config::new(&store.dir), deps))
}

fn tenant() -> TenantId {
    TenantId::from_uuid_bytes([7; 16])
}

async fn write_note(store: &Store, id: &'static str) {
    let ctx = store.system().for_tenant(tenant());
    let written = store.db.write(&ctx, move |tx| {
        tx.execute(&INSERT, &db::params![id, CANARY])?;
        let after = Some(json!({ "text": CANARY }));
        tx.emit(NewEvent {
            kind: "note.made",
            subject: id.to_owned(),
            environment: None,
            before: None,
            after,
        })
    });
    let written: Result<_, db::Error> = written.await;
    written.expect("the store takes it");
}

async fn notes(db: &Db) -> Vec<String> {
    let ctx = SystemCtx::because("a test").for_tenant(tenant());
    let read: Result<_, db::Error> = db
        .read(&ctx, |tx| {
            tx.query(&TEXTS, &[])?.iter().map(|row| row.get::<String>(0)).collect::<Result<Vec<_>, _>>()
        })
        .await;
    read.expect("the store answers")
}

/// Kinds of the events about backups, once there are so many.
async fn recorded(app: &TestApp, count: usize) -> Vec<String> {
    let filter = EventFilter { kind: Some("backup.*".to_owned()), ..EventFilter::default() };
    let events = app.store.db.events();
    let mut position = 0;
    loop {
        let page = events
            .list(&app.store.system(), &PageRequest::default(), &filter)
            .await
            .expect("the store answers");
        if page.data.len() >= count {
            return page.data.into_iter().rev().map(|event| event.kind).collect();
        }
        events.wait_beyond(position).await;
        position += 1;
    }
}

/// Asks until `done`; the worker makes progress meanwhile.
async fn until(app: &TestApp, id: &str, done: impl Fn(&Backup) -> bool) -> Backup {
    loop {
        let body = app.operator().get(&format!("/api/v1/backups/{id}")).await.ok(200);
        let backup: Backup = serde_json::from_value(body).expect("it is a backup");
        if done(&backup) {
            return backup;
        }
        // The worker's task is on this thread, what blocks of it on another.
        tokio::task::yield_now().await;
    }
}

async fn made(app: &TestApp) -> Backup {
    let body = app.operator().post("/api/v1/backups", json!({ "scope": "store" })).await.ok(202);
    let id = body["id"].as_str().expect("it has an id").to_owned();
    until(app, &id, |backup| !matches!(backup.status, Status::Queued | Status::Running)).await
}

fn file(store: &Store, id: &BackupId) -> PathBuf {
    folder(store).join(format!("{id}.backup"))
}

#[tokio::test]
async fn a_backup_is_made_listed_and_proven() {
    apps(&sets(), parts, |app| async move {
        let backup = made(&app).await;
        assert_eq!(backup.status, Status::Complete, "{:?}", backup.error);
        assert_eq!(backup.verification.state, VerificationState::Unproven);
        assert!(backup.tables.iter().any(|table| table.table == "notes" && table.rows == 1));
        let list = app.operator().get("/api/v1/backups").await.ok(200);
        assert_eq!(
            (&list["data"][0]["id"], list["data"].as_array().map(Vec::len)),
            (&json!(backup.id), Some(1))
        );
        app.operator().post(&format!("/api/v1/backups/{}/verify", backup.id), Value::Null).await.ok(202);
        let id = backup.id.to_string();
        let proven = until(&app, &id, |backup| backup.verification.state != VerificationState::Running).await;
        assert_eq!(proven.verification.state, VerificationState::Verified, "{:?}", proven.verification);
        let left = fs::read_dir(folder(&app.store)).expect("it is there").count();
        assert_eq!(left, 2, "the backup and its verification, no scratch");
        app.operator().delete(&format!("/api/v1/backups/{id}")).await.ok(204);
        app.operator().get(&format!("/api/v1/backups/{id}")).await.problem(&codes::NOT_FOUND);
        assert_eq!(fs::read_dir(folder(&app.store)).expect("it is there").count(), 0);
        let wanted = ["backup.completed", "backup.removed", "backup.requested", "backup.verified"];
        let mut found = recorded(&app, wanted.len()).await;
        // A file tells of its backup a moment before the event about it is written, so the next call may be earlier.
        found.sort();
        assert_eq!(found, wanted);
    })
    .await;
}

#[tokio::test]
async fn f40_what_is_restored_is_what_was_there() {
    apps(&sets(), parts, |app| async move {
        let backup = made(&app).await;
        write_note(&app.store, "2").await;
        let elsewhere = tempfile::tempdir().expect("a temporary folder");
        let options = options_for(&app.store, elsewhere.path());
        let path = file(&app.store, &backup.id);
        let report = backups::restore(&path, RestoreOptions { store: options.clone(), force: false }).await;
        let report = report.expect("the store is empty");
        assert_eq!((report.id, Some(report.rows), report.replaced), (backup.id, backup.rows, None));
        let restored = Db::open(options.clone()).await.expect("it opens");
        assert_eq!(restored.sealed(), None);
        assert_eq!(notes(&restored).await, [CANARY], "the note after the backup is not there");
        drop(restored);
        // Once more, over what is there now.
        let refused = backups::restore(&path, RestoreOptions { store: options.clone(), force: false }).await;
        assert!(matches!(refused, Err(RestoreError::NotEmpty)));
        let again = backups::restore(&path, RestoreOptions { store: options, force: true }).await;
        let aside = again.expect("the store is moved aside").replaced.expect("there was one");
        assert!(aside.join("switchyard.db").exists());
    })
    .await;
}

#[tokio::test]
async fn b2_a_damaged_backup_is_refused_before_any_write() {
    apps(&sets(), parts, |app| async move {
        let backup = made(&app).await;
        let whole = fs::read(file(&app.store, &backup.id)).expect("it is there");
        let elsewhere = tempfile::tempdir().expect("a temporary folder");
        let damaged = elsewhere.path().join("damaged");
        let target = elsewhere.path().join("data");
        for step in 0..20 {
            let mut bytes = whole.clone();
            let at = whole.len() * step / 20;
            if step % 2 == 0 {
                bytes.truncate(at)
            } else {
                bytes[at] ^= 1
            }
            fs::write(&damaged, bytes).expect("the folder is ours");
            let options = RestoreOptions { store: options_for(&app.store, &target), force: true };
            let refused = backups::restore(&damaged, options).await;
            assert!(matches!(refused, Err(RestoreError::File(_))), "step {step}: {refused:?}");
            assert!(!target.exists(), "step {step}: nothing was written");
        }
        // In its own folder it is listed for what it is, and verification says so too.
        fs::write(file(&app.store, &backup.id), &whole[..whole.len() / 2]).expect("the folder is ours");
        let listed = app.operator().get("/api/v1/backups").await.ok(200);
        assert_eq!(listed["data"][0]["status"], "unreadable");
        app.operator().post(&format!("/api/v1/backups/{}/verify", backup.id), Value::Null).await.ok(202);
        let id = backup.id.to_string();
        let failed = until(&app, &id, |backup| backup.verification.state != VerificationState::Running).await;
        assert_eq!(failed.status, Status::Unreadable);
        app.expect_record("backup could not be restored");
    })
    .await;
}

#[tokio::test]
async fn b3_no_plaintext_and_no_key_is_in_a_backup() {
    apps(&sets(), parts, |app| async move {
        let backup = made(&app).await;
        for entry in fs::read_dir(folder(&app.store)).expect("it is there").flatten() {
            let bytes = fs::read(entry.path()).expect("it can be read");
            assert!(!holds(&bytes, CANARY.as_bytes()));
            assert!(!holds(&bytes, b"notes"));
        }
        let mode = fs::metadata(file(&app.store, &backup.id)).expect("it is there");
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o077, 0);
        // With another master key it opens nowhere.
        let elsewhere = tempfile::tempdir().expect("a temporary folder");
        let mut options = options_for(&app.store, elsewhere.path());
        let other = "70d1f4c92b8e35a6e96c0b7f1da8425337fe9018cb62d4a5581b3ec07a9df264";
        let master = vault::MasterKey::parse(other, "the test").expect("a strong key");
        options.vault = vault::Vault::new(master, base::SystemRandom::shared());
        let refused =
            backups::restore(&file(&app.store, &backup.id), RestoreOptions { store: options, force: false })
                .await;
        assert!(matches!(refused, Err(RestoreError::File(backups::FileError::OtherKey))), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn f38_a_backup_that_was_cut_is_never_listed_good() {
    apps(&sets(), parts, |app| async move {
        let good = made(&app).await;
        let whole = fs::read(file(&app.store, &good.id)).expect("it is there");
        // As a kill at any point leaves it: a part of any length.
        for step in 0..20 {
            let id = BackupId::from_uuid_bytes([step; 16]);
            let part = folder(&app.store).join(format!("{id}.part"));
            fs::write(&part, &whole[..whole.len() * usize::from(step) / 20]).expect("the folder is ours");
            let cut = app.operator().get(&format!("/api/v1/backups/{id}")).await.ok(200);
            assert_eq!(cut["status"], "failed");
            app.operator()
                .post(&format!("/api/v1/backups/{id}/verify"), Value::Null)
                .await
                .problem(&codes::CONFLICT);
        }
        let list = app.operator().get("/api/v1/backups?limit=500").await.ok(200);
        let complete =
            list["data"].as_array().expect("a list").iter().filter(|backup| backup["status"] == "complete");
        assert_eq!(complete.count(), 1, "the one from before");
        // The next one succeeds.
        let next = made(&app).await;
        assert_eq!(next.status, Status::Complete, "{:?}", next.error);
        assert!(next.id != good.id);
    })
    .await;
}

#[tokio::test]
async fn asking_twice_with_one_key_makes_one() {
    apps(&sets(), parts, |app| async move {
        let client = app.operator().with("idempotency-key", "nightly-1");
        let body = json!({ "scope": "store" });
        let first = client.post("/api/v1/backups", body.clone()).await.ok(202);
        let second = client.post("/api/v1/backups", body).await.ok(202);
        assert_eq!(first["id"], second["id"]);
        let id = first["id"].as_str().expect("it has an id").to_owned();
        until(&app, &id, |backup| backup.status == Status::Complete).await;
        let list = app.operator().get("/api/v1/backups").await.ok(200);
        assert_eq!(list["data"].as_array().map(Vec::len), Some(1));
        app.operator()
            .post("/api/v1/backups", json!({ "scope": "everything" }))
            .await
            .problem(&codes::INVALID);
    })
    .await;
}

#[tokio::test]
async fn z1_backups_are_for_operators_only() {
    apps(&sets(), parts, |app| async move {
        let backup = made(&app).await;
        let owner = app.member(tenant(), Role::Owner);
        for path in ["/api/v1/backups".to_owned(), format!("/api/v1/backups/{}", backup.id)] {
            assert_eq!(owner.get(&path).await.status.as_u16(), 403, "{path}");
            assert_eq!(app.nobody().get(&path).await.status.as_u16(), 401, "{path}");
        }
        assert_eq!(owner.post("/api/v1/backups", json!({ "scope": "store" })).await.status.as_u16(), 403);
        assert_eq!(owner.delete(&format!("/api/v1/backups/{}", backup.id)).await.status.as_u16(), 403);
    })
    .await;
}

fn options_for(store: &Store, dir: &Path) -> Options {
    let location = Location::Sqlite { dir: dir.to_owned() };
    Options::new(location, store.shared_clock(), store.random.clone(), store.vault.clone(), sets())
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
