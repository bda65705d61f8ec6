//! Other transactions and other processes.
#![expect(clippy::disallowed_methods, reason = "a test spawns on its own runtime, which ends with it")]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::{EnvironmentId, ManualClock};
use db::{Db, Kind, Location, Options, Sql, SystemTx};
use jobs::{Claimed, Deps, Draft, Engine, JobStatus, Limits, QueueKey, QueueSettings, Scope};
use lifecycle::Stop;
use ports::{Enqueue, EnqueueError, NewJob, QueueRef};
use serde_json::json;
use testkit::Store;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{draft, secs, slug, yards};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_commits_or_vanishes_with_its_transaction() {
    yards(QueueSettings::default(), |yard| async move {
        let ctx = yard.store.system();
        let add = |fails: bool| {
            let (engine, queue) = (yard.engine.clone(), QueueRef::Of(yard.environment, slug("work")));
            move |tx: &mut SystemTx<'_>| {
                let id =
                    Enqueue::enqueue(&engine, tx, NewJob::new(queue.clone(), json!({"a": 1})).unique("u"))?;
                if fails { Err(EnqueueError::Invalid("on purpose".into())) } else { Ok(id) }
            }
        };
        assert!(yard.store.db.write_system(&ctx, add(true)).await.is_err());
        assert!(yard.claim(1).await.is_empty());
        let id = yard.store.db.write_system(&ctx, add(false)).await.unwrap();
        assert_eq!(yard.store.db.write_system(&ctx, add(false)).await, Err(EnqueueError::Duplicate(id)));
        let finished = async || {
            let engine = yard.engine.clone();
            yard.store.db.read_system(&ctx, move |tx| engine.is_finished(tx, id)).await.unwrap()
        };
        assert!(!finished().await);
        let job = yard.claim_one().await;
        assert_eq!((job.id, job.payload.as_str()), (id, "{\"a\":1}"));
        yard.done(&job).await.unwrap();
        assert!(finished().await);
        let engine = yard.engine.clone();
        let missing = move |tx: &mut SystemTx<'_>| {
            let known = engine.queue_exists(tx, &QueueRef::BuiltIn("cleanup"))?;
            let unknown = engine.queue_exists(tx, &QueueRef::BuiltIn("nothing"))?;
            Ok::<_, db::Error>((known, unknown))
        };
        assert_eq!(yard.store.db.read_system(&ctx, missing).await, Ok((true, false)));
    })
    .await;
}

/// A second process on the same PostgreSQL.
struct Other {
    engine: Engine,
    _tasks: tokio::task::JoinSet<()>,
}

/// An engine with a store of its own.
async fn apart(store: &Store, clock: &ManualClock, with: impl FnOnce(Options) -> Options) -> Engine {
    let random = base::SeededRandom::shared(4_711);
    let migrations = vec![jobs::MIGRATIONS];
    let options =
        Options::new(store.location.clone(), clock.shared(), random.clone(), store.vault.clone(), migrations);
    let db = Db::open(with(options)).await.unwrap();
    let deps = Deps {
        db,
        clock: clock.shared(),
        random,
        metrics: telemetry::Metrics::new(),
        tenants: None,
        built_in: Vec::new(),
    };
    Engine::open(deps).await.unwrap()
}

async fn other(store: &Store, clock: &ManualClock) -> Other {
    let engine = apart(store, clock, |options| options).await;
    let mut tasks = tokio::task::JoinSet::new();
    let runs = engine.clone();
    tasks.spawn(async move { runs.run(Stop::never()).await });
    Other { engine, _tasks: tasks }
}

/// Passes on to the server what it is told; its answers while `is_deaf` does not say otherwise.
async fn deaf(listener: TcpListener, server: String, is_deaf: Arc<AtomicBool>) {
    let mut lines = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (mut answers, mut to_server) = TcpStream::connect(&server).await.unwrap().into_split();
        let (mut asked, mut to_client) = client.into_split();
        lines.spawn(async move { drop(tokio::io::copy(&mut asked, &mut to_server).await) });
        let is_deaf = is_deaf.clone();
        lines.spawn(async move {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(read @ 1..) = answers.read(&mut buffer).await {
                if !is_deaf.load(Ordering::SeqCst) {
                    drop(to_client.write_all(&buffer[..read]).await);
                }
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_commit_was_not_answered_is_counted_once_it_is_known() {
    yards(QueueSettings::default(), |yard| async move {
        let Location::Postgres { url } = &yard.store.location else { return };
        let url = url.expose();
        let server = url.split(['@', '/']).rev().nth(1).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let through = url.replace(server, &listener.local_addr().unwrap().to_string());
        let is_deaf = Arc::new(AtomicBool::new(false));
        let mut proxy = tokio::task::JoinSet::new();
        proxy.spawn(deaf(listener, server.to_owned(), is_deaf.clone()));
        let location = Location::Postgres { url: base::Secret::new(through) };
        // One connection, on which all statements are known when its answers are lost.
        let impatient = |options| Options { location, lanes: 1, statement_max: secs(1), ..options };
        let engine = apart(&yard.store, &yard.clock, impatient).await;
        for number in 0..2 {
            engine.tick().await.unwrap();
            engine.enqueue(&yard.queue, yard.all, vec![draft(number)]).await.unwrap();
        }
        is_deaf.store(true, Ordering::SeqCst);
        let lost = engine.enqueue(&yard.queue, yard.all, vec![draft(2)]).await;
        assert!(matches!(lost, Err(jobs::Error::Store(_))), "{lost:?}");
        is_deaf.store(false, Ordering::SeqCst);
        assert_eq!(engine.status(&yard.queue, yard.all).await.unwrap().waiting, 3);
        let mut seen = Vec::new();
        for _ in 0..2 {
            seen.extend(super::numbers(&engine.claim(yard.request(10)).await.unwrap()));
        }
        assert_eq!(seen, [0, 1, 2]);
    })
    .await;
}

/// Until `limit` jobs came out; each process claims in turn.
async fn drain(engines: [&Engine; 2], queue: &QueueKey, scope: Scope, wanted: usize) -> Vec<Claimed> {
    let mut seen = Vec::new();
    while seen.len() < wanted {
        for engine in engines {
            let request = jobs::ClaimRequest {
                limit: 7,
                wait: std::time::Duration::from_millis(5),
                ..jobs::ClaimRequest::one(queue.clone(), scope)
            };
            seen.extend(engine.claim(request).await.unwrap());
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_a_queue_and_no_job_runs_twice() {
    yards(QueueSettings::default(), |yard| async move {
        if yard.store.kind() == Kind::Sqlite {
            return;
        }
        let other = other(&yard.store, &yard.clock).await;
        yard.add((0..300).map(draft).collect()).await;
        let made =
            other.engine.enqueue(&yard.queue, yard.all, (300..400).map(draft).collect()).await.unwrap();
        assert_eq!(made.len(), 100);
        let runs = yard.engine.clone();
        let run = tokio::spawn(async move { runs.run(Stop::never()).await });
        let seen = drain([&yard.engine, &other.engine], &yard.queue, yard.all, 400).await;
        let ids: HashSet<_> = seen.iter().map(|job| job.id).collect();
        assert_eq!((seen.len(), ids.len()), (400, 400));
        // A worker may say to any process what it did.
        let ack = jobs::Ack { id: seen[0].id, fence: seen[0].fence, result: None };
        for engine in [&yard.engine, &other.engine] {
            let beat = engine.heartbeat(yard.all, vec![(seen[1].id, seen[1].fence)]).await.unwrap();
            assert!(beat[0].is_ok(), "{beat:?}");
        }
        let ended = other.engine.complete(yard.all, vec![ack.clone()], None).await.unwrap().0;
        assert_eq!(ended, [Ok(JobStatus::Completed)]);
        let again = yard.engine.complete(yard.all, vec![ack], None).await.unwrap().0;
        assert!(again[0].is_err(), "{again:?}");
        run.abort();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_keep_one_limit() {
    let settings = QueueSettings {
        concurrency: Some(5),
        per_tenant: Limits { concurrency: Some(3), rate: None },
        ..QueueSettings::default()
    };
    yards(settings, |yard| async move {
        if yard.store.kind() == Kind::Sqlite {
            return;
        }
        let other = other(&yard.store, &yard.clock).await;
        let runs = yard.engine.clone();
        let run = tokio::spawn(async move { runs.run(Stop::never()).await });
        while yard.engine.processes() < 2 || other.engine.processes() < 2 {
            tokio::task::yield_now().await;
        }
        let tenants = [yard.tenant(), yard.tenant()];
        let drafts = (0..40).map(|n| Draft { tenant: Some(tenants[n % 2]), ..draft(n) });
        yard.add(drafts.collect()).await;
        let mut held = Vec::new();
        for _ in 0..5 {
            for engine in [&yard.engine, &other.engine] {
                let request = jobs::ClaimRequest {
                    limit: 7,
                    wait: std::time::Duration::from_millis(50),
                    ..jobs::ClaimRequest::one(yard.queue.clone(), yard.all)
                };
                held.extend(engine.claim(request).await.unwrap());
            }
        }
        assert_eq!(held.len(), 5);
        for tenant in tenants {
            assert!(held.iter().filter(|job| job.tenant == Some(tenant)).count() <= 3);
        }
        run.abort();
    })
    .await;
}

/// The name of the process that claims without counting what others run.
async fn alone(store: &Store) -> String {
    const NAME: Sql = Sql::One("SELECT name FROM jobs_alone WHERE number = 1");
    let read = |tx: &mut SystemTx<'_>| tx.query_opt(&NAME, &[])?.map_or(Ok(String::new()), |row| row.get(0));
    store.db.read_system::<String, db::Error, _>(&store.system(), read).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_takes_itself_for_the_only_one_keeps_the_limit_that_others_count() {
    let settings = QueueSettings { concurrency: Some(5), ..QueueSettings::default() };
    yards(settings, |yard| async move {
        if yard.store.kind() == Kind::Sqlite {
            return;
        }
        // Neither hears of the other: nobody runs their timed work but this test.
        let other = super::open(&yard.store).await;
        yard.pass(secs(4)).await;
        let name = alone(&yard.store).await;
        assert!(!name.is_empty(), "who hears of nobody claims alone");
        yard.add((0..40).map(draft).collect()).await;
        let mut held = yard.claim(3).await;
        assert_eq!((held.len(), alone(&yard.store).await), (3, name.clone()));
        assert!(other.claim(yard.request(10)).await.unwrap().is_empty(), "it has not looked yet");
        other.tick().await.unwrap();
        let theirs = other.claim(yard.request(10)).await.unwrap();
        assert_eq!(theirs.len(), 2, "whoever comes counts what the first runs");
        assert_ne!(alone(&yard.store).await, name);
        assert!(yard.claim(10).await.is_empty(), "and the first counts from then on");
        for job in held.drain(..2) {
            yard.done(&job).await.unwrap();
        }
        held.extend(yard.claim(10).await);
        assert_eq!(held.len(), 3);
        // What a process left running takes its places until it ends, also where nobody else claims any more.
        drop(other);
        yard.pass(secs(12)).await;
        assert_ne!(alone(&yard.store).await, "");
        assert!(yard.claim(10).await.is_empty());
        for job in &theirs {
            yard.done(job).await.unwrap();
        }
        yard.pass(secs(1)).await;
        held.extend(yard.claim(10).await);
        assert_eq!(held.len(), 5);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_former_process_runs_of_a_tenant_counts_though_nothing_of_the_tenant_waits() {
    let per_tenant = Limits { concurrency: Some(3), rate: None };
    yards(QueueSettings { per_tenant, ..QueueSettings::default() }, |yard| async move {
        if yard.store.kind() == Kind::Sqlite {
            return;
        }
        let tenant = yard.tenant();
        let drafts =
            |of: std::ops::Range<usize>| of.map(|n| Draft { tenant: Some(tenant), ..draft(n) }).collect();
        let other = super::open(&yard.store).await;
        other.enqueue(&yard.queue, yard.all, drafts(0..3)).await.unwrap();
        let theirs = other.claim(yard.request(10)).await.unwrap();
        assert_eq!(theirs.len(), 3);
        drop(other);
        yard.pass(secs(4)).await;
        // Tenants of whom nothing is known are forgotten now and then.
        yard.pass(secs(11)).await;
        assert_ne!(alone(&yard.store).await, "");
        yard.add(drafts(3..8)).await;
        assert!(yard.claim(10).await.is_empty(), "its three places are taken");
        yard.done(&theirs[0]).await.unwrap();
        yard.pass(secs(1)).await;
        assert_eq!(yard.claim(10).await.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_comes_later_counts_what_a_former_process_runs() {
    yards(QueueSettings::default(), |yard| async move {
        if yard.store.kind() == Kind::Sqlite {
            return;
        }
        yard.add((0..20).map(draft).collect()).await;
        let other = super::open(&yard.store).await;
        assert_eq!(other.claim(yard.request(3)).await.unwrap().len(), 3);
        drop(other);
        yard.pass(secs(4)).await;
        assert_ne!(alone(&yard.store).await, "");
        let limited = QueueSettings { concurrency: Some(5), ..QueueSettings::default() };
        yard.engine.put_queue(&yard.store.system(), &yard.queue, limited).await.unwrap();
        for wanted in [2, 0, 0] {
            assert_eq!(yard.claim(10).await.len(), wanted);
            yard.pass(secs(1)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_wait_is_told_when_another_process_cannot_be_counted() {
    const HOLD: Sql = Sql::One("SELECT pg_advisory_xact_lock_shared(6006905486180352010)");
    let settings = QueueSettings { concurrency: Some(5), ..QueueSettings::default() };
    yards(settings, |yard| async move {
        if yard.store.kind() == Kind::Sqlite {
            return;
        }
        yard.pass(secs(4)).await;
        yard.add((0..3).map(draft).collect()).await;
        let other = super::open(&yard.store).await;
        // As a process that is paused in the middle of a claim.
        let (resume, resumed) = std::sync::mpsc::channel::<()>();
        let (began, begun) = tokio::sync::oneshot::channel();
        let ends = std::sync::Mutex::new((resumed, Some(began)));
        let store = yard.store.clone();
        let paused = tokio::spawn(async move {
            let hold = move |tx: &mut SystemTx<'_>| {
                tx.query(&HOLD, &[])?;
                let (resumed, began) = &mut *ends.lock().unwrap();
                began.take().map(|began| began.send(()));
                let _ = resumed.recv();
                Ok::<_, db::Error>(())
            };
            store.db.write_hot(&store.system(), hold).await
        });
        begun.await.unwrap();
        let refused = other.claim(yard.request(3)).await;
        assert!(matches!(refused, Err(jobs::Error::Store(db::Error::Timeout))), "{refused:?}");
        resume.send(()).unwrap();
        paused.await.unwrap().unwrap();
        other.tick().await.unwrap();
        assert_eq!(other.claim(yard.request(3)).await.unwrap().len(), 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_did_unheard_is_counted_once_they_are_gone() {
    let settings = QueueSettings { concurrency: Some(50), ..QueueSettings::default() };
    yards(settings, |yard| async move {
        if yard.store.kind() == Kind::Sqlite {
            return;
        }
        yard.pass(secs(4)).await;
        yard.add((0..10).map(draft).collect()).await;
        let other = super::open(&yard.store).await;
        let theirs = other.claim(yard.request(3)).await.unwrap();
        assert_eq!(theirs.len(), 3);
        for job in &theirs {
            let ack = jobs::Ack { id: job.id, fence: job.fence, result: None };
            assert!(other.complete(yard.all, vec![ack], None).await.unwrap().0[0].is_ok());
        }
        drop(other);
        let mine = yard.claim_one().await;
        yard.done(&mine).await.unwrap();
        // A process that is at work, be it with the answer just given, puts counting off: six times at most.
        let mut waiting = 0;
        for _ in 0..7 {
            yard.pass(secs(11)).await;
            waiting = yard.status().await.waiting;
            if waiting == 6 {
                break;
            }
        }
        assert_eq!(waiting, 6);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_notices_an_expired_lease_and_a_new_queue() {
    yards(QueueSettings::default(), |yard| async move {
        if yard.store.kind() == Kind::Sqlite {
            return;
        }
        let other = other(&yard.store, &yard.clock).await;
        yard.add_one(draft(1)).await;
        let held = yard.claim_one().await;
        yard.clock.advance(secs(31));
        let request = jobs::ClaimRequest { wait: secs(10), ..yard.request(1) };
        let claimed = other.engine.claim(request).await.unwrap();
        assert_eq!((claimed[0].id, claimed[0].attempt), (held.id, 2));
        assert!(yard.done(&held).await.is_err());
        let fresh = yard.other_queue("fresh", QueueSettings::default()).await;
        let add = async || other.engine.enqueue(&fresh, yard.all, vec![draft(2)]).await;
        while add().await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_tenants_jobs_go_with_it() {
    yards(QueueSettings::default(), |yard| async move {
        let (gone, stays) = (yard.tenant(), yard.tenant());
        let of = |tenant, n| Draft { tenant: Some(tenant), ..draft(n) };
        yard.add(vec![of(gone, 1), of(gone, 2), of(stays, 3), of(gone, 4)]).await;
        let first = yard.claim_one().await;
        yard.done(&first).await.unwrap();
        let engine = yard.engine.clone();
        let remove = move |tx: &mut SystemTx<'_>| ports::TenantRows::remove(&engine, tx, gone);
        yard.store.db.write_system(&yard.store.system(), remove).await.unwrap();
        assert_eq!(super::numbers(&yard.claim(10).await), [3]);
        assert!(yard.engine.get(yard.all, first.id).await.is_err());
        let unknown = EnvironmentId::new(&yard.clock, &*yard.store.random);
        assert!(yard.engine.queue(&QueueKey::of(unknown, slug("work"))).is_err());
    })
    .await;
}
