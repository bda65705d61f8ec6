//! POSTs that come twice, on both stores.

use crate::support::{Answer, Bearers, Kept, request};
use authority::permissions;
use axum::body::Body;
use db::{Db, Migration, MigrationSet, Sql};
use http::{Method, header};
use http_body_util::BodyExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use telemetry::Metrics;
use testkit::Store;
use web::{ApiInfo, Call, Problem, Reply, Routes, Server, ServerDeps, Spec, Surface};

const SETS: &[MigrationSet] = &[MigrationSet {
    capability: "notes",
    migrations: &[Migration {
        number: 1,
        name: "notes",
        sql: "CREATE TABLE notes_notes (
            tenant TEXT NOT NULL, id TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (tenant, id)
        ) WITHOUT ROWID;",
    }],
    tenant_tables: &["notes_notes"],
    system_tables: &[],
}];

const ADD: Sql = Sql::One("INSERT INTO notes_notes (tenant, id, text) VALUES ($1, $2, $3)");
const COUNT: Sql = Sql::One("SELECT count(*) FROM notes_notes");

/// Requests at once in the parallel case (TORTURE J3).
const PARALLEL: usize = 50;

#[derive(Deserialize, JsonSchema)]
struct NewNote {
    text: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Note {
    id: String,
    /// Shown once.
    secret: String,
}

struct State {
    store: Store,
}

fn note(state: &State, text: &str) -> Note {
    let id = base::EventId::new(&state.store.clock, &*state.store.random).to_string();
    Note { secret: format!("canary {text} {id}"), id }
}

/// Within the caller's tenant.
async fn add(state: Arc<State>, call: Call<NewNote>) -> Result<Reply<Note>, Problem> {
    let tenant = call.caller.tenant_id().ok_or_else(|| Problem::internal("a tenant's caller"))?;
    let ctx = call.caller.tenant_ctx(tenant)?;
    let (text, once, db) = (call.body.text, call.idempotency, state.store.db.clone());
    let work = move |tx: &mut db::TenantTx<'_>| {
        once.once(tx, |tx| {
            let note = note(&state, &text);
            tx.execute(&ADD, &db::params![note.id.as_str(), text.as_str()])?;
            if text == "refuse" { Err(Problem::new(&base::codes::CONFLICT)) } else { Ok(note) }
        })
    };
    let made = db.write(&ctx, work).await?;
    Ok(Reply::created(&format!("/api/v1/notes/{}", made.id), made))
}

/// Across tenants, as operators do.
async fn add_any(state: Arc<State>, call: Call<NewNote>) -> Result<Reply<Note>, Problem> {
    let ctx = call.caller.system_ctx("a test")?;
    let (text, once, db) = (call.body.text, call.idempotency, state.store.db.clone());
    let work = move |tx: &mut db::SystemTx<'_>| {
        once.once(tx, |tx| {
            let note = note(&state, &text);
            tx.execute(&ADD, &db::params!["-", note.id.as_str(), text.as_str()])?;
            Ok::<_, Problem>(note)
        })
    };
    let made = db.write_system(&ctx, work).await?;
    Ok(Reply::created(&format!("/api/v1/notes/{}", made.id), made))
}

#[derive(Clone)]
struct Notes {
    server: Server,
    db: Db,
    store: Store,
}

impl Notes {
    fn new(store: Store) -> Self {
        let state = Arc::new(State { store: store.clone() });
        let routes = Routes::new("notes")
            .route(Spec::post("/api/v1/notes", permissions::KEYS_WRITE), Arc::clone(&state), add)
            .route(Spec::post("/api/v1/any-notes", permissions::TENANTS_WRITE), state, add_any);
        let server = Server::new(ServerDeps {
            routes: vec![routes],
            authenticate: Arc::new(Bearers::default()),
            environments: None,
            log: Some(Arc::new(Kept::default())),
            metrics: &Metrics::new(),
            clock: store.shared_clock(),
            random: store.random.clone(),
            surface: Surface::Operator,
            info: ApiInfo { title: "Notes", version: "0.0.0" },
        });
        Self { server: server.expect("the routes agree"), db: store.db.clone(), store }
    }

    async fn post(&self, (path, bearer): (&str, &str), key: &str, text: &str) -> Answer {
        let mut request =
            request(Method::POST, path, bearer).header(header::CONTENT_TYPE, "application/json");
        if !key.is_empty() {
            request = request.header("idempotency-key", key);
        }
        let request =
            request.body(Body::from(serde_json::json!({"text": text}).to_string())).expect("a request");
        let (head, body) = self.server.handle(request, None).await.into_parts();
        let body = body.collect().await.expect("a body without errors").to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    async fn count(&self) -> i64 {
        let ctx = self.store.system();
        let count = |tx: &mut db::SystemTx<'_>| tx.query_one(&COUNT, &[])?.get::<i64>(0);
        self.db.read_system(&ctx, count).await.expect("a count")
    }
}

const OWN: (&str, &str) = ("/api/v1/notes", "owner-1");
const OTHER: (&str, &str) = ("/api/v1/notes", "owner-2");
const ANY: (&str, &str) = ("/api/v1/any-notes", "operator");

#[tokio::test]
async fn j3_a_repeat_gets_the_first_reply() {
    testkit::stores(SETS, |store| async move {
        let notes = Notes::new(store);
        for (count, target) in [(1, OWN), (2, ANY)] {
            let first = notes.post(target, "k1", "a").await;
            assert_eq!(first.status, 201, "{first:?}");
            assert!(!first.headers.contains_key("idempotency-replayed"));
            let again = notes.post(target, "k1", "a").await;
            assert_eq!((again.status, &again.body), (first.status, &first.body));
            assert_eq!(again.headers[header::LOCATION], first.headers[header::LOCATION]);
            assert_eq!(again.headers["idempotency-replayed"], "true");
            let other = notes.post(target, "k1", "b").await;
            assert_eq!((other.status.as_u16(), other.code().as_str()), (422, "idempotency_conflict"));
            assert_eq!(notes.count().await, count);
        }
        // Without a key, each is a note of its own.
        notes.post(OWN, "", "a").await;
        notes.post(OWN, "", "a").await;
        assert_eq!(notes.count().await, 4);
    })
    .await;
}

#[tokio::test]
async fn j3_other_tenants_and_routes_are_independent() {
    testkit::stores(SETS, |store| async move {
        let notes = Notes::new(store);
        let mut ids = Vec::new();
        for target in [OWN, OTHER, ANY] {
            let answer = notes.post(target, "same", "a").await;
            assert_eq!(answer.status, 201, "{answer:?}");
            ids.push(answer.json()["id"].to_string());
        }
        ids.dedup();
        assert_eq!(ids.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn j3_of_fifty_at_once_one_runs() {
    testkit::stores(SETS, |store| async move {
        let notes = Notes::new(store);
        for (count, target) in [(1, OWN), (2, ANY)] {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..PARALLEL {
                let notes = notes.clone();
                tasks.spawn(async move { notes.post(target, "k", "a").await });
            }
            let answers = tasks.join_all().await;
            for answer in &answers {
                assert_eq!((answer.status.as_u16(), &answer.body), (201, &answers[0].body), "{answer:?}");
            }
            assert_eq!(notes.count().await, count);
        }
    })
    .await;
}

#[tokio::test]
async fn a_refused_operation_leaves_nothing_and_may_be_tried_again() {
    testkit::stores(SETS, |store| async move {
        let notes = Notes::new(store);
        assert_eq!(notes.post(OWN, "k", "refuse").await.code(), "conflict");
        assert_eq!(notes.count().await, 0);
        assert_eq!(notes.post(OWN, "k", "a").await.status, 201);
    })
    .await;
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    testkit::stores(SETS, |store| async move {
        let notes = Notes::new(store);
        let first = notes.post(OWN, "k", "a").await;
        notes.store.clock.advance(web::REPLY_KEPT - Duration::from_secs(1));
        assert_eq!(notes.post(OWN, "k", "a").await.body, first.body);
        notes.store.clock.advance(Duration::from_secs(2));
        let fresh = notes.post(OWN, "k", "b").await;
        assert_eq!(fresh.status, 201);
        assert_ne!(fresh.body, first.body);
    })
    .await;
}

#[tokio::test]
async fn neither_the_key_nor_the_reply_is_stored_in_clear_text() {
    const ROWS: Sql = Sql::One("SELECT key_hash, fingerprint, reply FROM sy_idempotency");
    testkit::stores(SETS, |store| async move {
        let notes = Notes::new(store);
        notes.post(OWN, "canary-of-a-key", "a").await;
        let rows = |tx: &mut db::SystemTx<'_>| {
            let rows = tx.query(&ROWS, &[])?;
            let columns = rows.iter().flat_map(|row| (0..3).map(|column| row.get::<Vec<u8>>(column)));
            columns.collect::<Result<Vec<_>, db::Error>>()
        };
        let stored = notes.db.read_system(&notes.store.system(), rows).await.expect("rows");
        assert_eq!(stored.len(), 3);
        assert!(stored.iter().all(|bytes| !bytes.windows(6).any(|part| part == b"canary")));
    })
    .await;
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    testkit::stores(SETS, |store| async move {
        let notes = Notes::new(store);
        for bad in ["a b", &"k".repeat(256)] {
            let answer = notes.post(OWN, bad, "a").await;
            assert_eq!(
                (answer.status.as_u16(), answer.pointers()),
                (400, vec!["/header/idempotency-key".into()])
            );
        }
    })
    .await;
}
