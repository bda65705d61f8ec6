//! The supervisor under paused time: order of stopping, restarts, panics, deadlines.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base::SystemClock;
use lifecycle::{Exit, Readiness, Stop, Supervisor, TaskKind};
use parking_lot::Mutex;

const GRACE: Duration = Duration::from_secs(30);

fn supervisor() -> Supervisor {
    Supervisor::new(SystemClock::shared())
}

#[tokio::test(start_paused = true)]
async fn kinds_stop_in_order() {
    let supervisor = supervisor();
    let order: Arc<Mutex<Vec<TaskKind>>> = Arc::default();
    for kind in [TaskKind::Flusher, TaskKind::Worker, TaskKind::Listener, TaskKind::Reconciler] {
        let (order, stop) = (order.clone(), supervisor.stop_of(kind));
        supervisor.spawn(kind, format!("{kind:?}"), async move {
            stop.stopped().await;
            order.lock().push(kind);
            Ok(())
        });
    }
    assert_eq!(supervisor.stop(GRACE).await, Ok(()));
    assert_eq!(*order.lock(), TaskKind::ALL);
    assert!(supervisor.running().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_does_not_stop_is_cut_and_named() {
    let supervisor = supervisor();
    supervisor.spawn(TaskKind::Worker, "deaf", async {
        std::future::pending::<()>().await;
        Ok(())
    });
    let stop = supervisor.stop_of(TaskKind::Worker);
    supervisor.spawn(TaskKind::Worker, "slow", async move {
        stop.cut().await;
        Ok(())
    });
    let connections = supervisor.tasks(TaskKind::Listener, "connections");
    connections.spawn(std::future::pending());
    let cut = supervisor.stop(GRACE).await.expect_err("three do not stop by themselves");
    assert_eq!(cut.tasks, ["connections (1)", "deaf", "slow"]);
    assert_eq!(cut.to_string(), "cut short: connections (1), deaf, slow");
    assert!(supervisor.running().is_empty(), "all are gone: {:?}", supervisor.running());
}

#[tokio::test(start_paused = true)]
async fn f7_a_panic_in_a_restartable_task_is_only_a_pause() {
    let supervisor = supervisor();
    let runs = Arc::new(AtomicU32::new(0));
    let (done, finished) = tokio::sync::oneshot::channel::<()>();
    let done = Mutex::new(Some(done));
    let counter = runs.clone();
    supervisor.restartable(TaskKind::Reconciler, "fragile", move |_| {
        let run = counter.fetch_add(1, Ordering::SeqCst);
        let done = if run == 3 { done.lock().take() } else { None };
        async move {
            match run {
                0 => panic!("on purpose"),
                1 | 2 => Err("not yet".into()),
                _ => {
                    drop(done);
                    Ok(())
                }
            }
        }
    });
    let begun = tokio::time::Instant::from_std(std_now());
    let _ = finished.await;
    assert_eq!(runs.load(Ordering::SeqCst), 4);
    assert!(begun.elapsed() >= Duration::from_millis(100 + 200 + 400), "pauses double");
}

#[expect(clippy::disallowed_methods, reason = "the paused clock of the test runtime is what is measured")]
fn std_now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

#[tokio::test(start_paused = true)]
async fn a_failing_task_that_runs_once_fails_the_process() {
    let supervisor = supervisor();
    supervisor.spawn(TaskKind::Listener, "gateway", async { Err("no more sockets".into()) });
    let failure = supervisor.failed().await;
    assert_eq!(failure.to_string(), "task gateway failed: no more sockets");
    supervisor.spawn(TaskKind::Listener, "later", async { panic!("on purpose") });
    assert_eq!(supervisor.failed().await.task, "gateway", "the first failure stays the cause");
    let readiness = Readiness::new();
    let mut signals = lifecycle::Signals::install().expect("handlers can be set");
    let exit = supervisor.run(&mut signals, &readiness, GRACE, || {}).await;
    assert_eq!(exit, Err(Exit::Failed(failure)));
    assert!(readiness.ready().is_err());
}

#[tokio::test]
async fn threads_end_with_their_kind() {
    let supervisor = supervisor();
    supervisor
        .thread(TaskKind::Flusher, "writer", |stop: Stop| {
            while !stop.wait_timeout(Duration::from_secs(3600)) {}
            Ok(())
        })
        .expect("a thread can be started");
    supervisor
        .runtime_thread("gateway-0", |stop| async move {
            let local = std::rc::Rc::new(7);
            let task = lifecycle::spawn_local(async move { *local });
            assert_eq!(task.await, Some(7));
            stop.stopped().await;
            Ok(())
        })
        .expect("a thread can be started");
    assert_eq!(supervisor.running(), ["gateway-0", "writer"]);
    assert_eq!(supervisor.stop(GRACE).await, Ok(()));
}

#[tokio::test]
async fn a_panicking_thread_fails_the_process() {
    let supervisor = supervisor();
    supervisor.thread(TaskKind::Worker, "writer", |_| panic!("on purpose")).expect("a thread can be started");
    let failure = supervisor.failed().await;
    assert_eq!((failure.task.as_str(), failure.reason.as_str()), ("writer", "panicked: on purpose"));
}

#[tokio::test(start_paused = true)]
async fn when_patience_is_over_all_is_cut_and_what_was_awaited_is_named() {
    let supervisor = supervisor();
    let stop = supervisor.stop_of(TaskKind::Reconciler);
    supervisor.spawn(TaskKind::Reconciler, "services", async move {
        stop.stopped().await;
        drop(stop.awaiting("service api"));
        let _web = stop.awaiting("service web");
        stop.cut().await;
        Ok(())
    });
    let heard = supervisor.stop_of(TaskKind::Reconciler);
    let patience = async {
        while heard.awaited().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    let cut = supervisor.stop_unless(GRACE, patience).await.expect_err("it was cut");
    assert_eq!(cut.to_string(), "cut short: services, service web");
    assert!(supervisor.running().is_empty(), "it returned when it was told");
}
