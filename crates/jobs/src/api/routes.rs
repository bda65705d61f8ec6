//! Paths, permissions and words.

use std::sync::Arc;
use std::time::Duration;

use authority::permissions::{JOBS_READ, JOBS_WRITE, QUEUES_DELETE, QUEUES_READ, QUEUES_WRITE, STATUS_READ};
use base::codes;
use web::{Routes, Spec, StreamKind, Surface};

use super::{State, enqueue, events, job, many, queues, socket, status, work};

const QUEUES: &str = "/api/v1/queues";
const QUEUE: &str = "/api/v1/queues/{q}";

/// Bytes of a request for many jobs: a thousand of 4 KiB, or sixteen of the largest.
pub(crate) const BULK_BYTES_MAX: usize = 4 << 20;
/// Time of a request that may wait for 60 s: that and what answering takes.
const WAITING_TIME_MAX: Duration = Duration::from_secs(75);
/// Time of a request about all jobs of a queue, of which there may be millions.
const MANY_TIME_MAX: Duration = Duration::from_secs(600);

const AGAIN_LEASES: &str = "what was claimed and not heard of is due again when its lease is over";
const AGAIN_ENDS: &str = "a second time the lease is over, and the answer says so";
const AGAIN_SAME: &str = "a second time it finds all as it should be";

pub(crate) fn routes(state: &Arc<State>) -> Routes {
    of_queues(state)
        .and(of_settings(state))
        .and(of_work(state))
        .and(of_leases(state))
        .and(of_lists(state))
        .and(of_many(state))
        .and(of_jobs(state))
        .and(of_attempts(state))
}

/// A route of an environment that apps' services reach as well.
fn app(spec: Spec) -> Spec {
    spec.surface(Surface::Service).in_environment()
}

fn of_queues(state: &Arc<State>) -> Routes {
    let s = || Arc::clone(state);
    Routes::new("jobs")
        .route(
            app(Spec::get(QUEUES, QUEUES_READ))
                .summary("List queues")
                .details("Those of the environment by name, with their figures."),
            s(),
            queues::list,
        )
        .route(
            Spec::get("/api/queues/status", STATUS_READ)
                .summary("Look over all queues")
                .details("Of every environment, and the installation's own, with what they add up to."),
            s(),
            status::overview,
        )
        .route(
            app(Spec::get(QUEUE, QUEUES_READ)).summary("Get a queue").codes(&[&codes::QUEUE_UNKNOWN]),
            s(),
            queues::get,
        )
}

fn of_settings(state: &Arc<State>) -> Routes {
    let s = || Arc::clone(state);
    let settings = r#"{"concurrency": 10, "per_tenant": {"concurrency": 2, "rate": "100/min"}, "retry": {"attempts": 5}}"#;
    Routes::new("jobs")
        .route(
            app(Spec::put(QUEUE, QUEUES_WRITE))
                .summary("Declare a queue")
                .details("Sets all its settings; what is left out is as by default.")
                .codes(&[&codes::MANAGED_BY_FILE, &codes::PRECONDITION_FAILED])
                .example(settings),
            s(),
            queues::put,
        )
        .route(
            app(Spec::patch(QUEUE, QUEUES_WRITE))
                .summary("Change a queue")
                .details("A merge patch of its settings; `null` takes a limit away.")
                .codes(&[&codes::QUEUE_UNKNOWN, &codes::MANAGED_BY_FILE, &codes::PRECONDITION_FAILED])
                .example(r#"{"concurrency": 20}"#),
            s(),
            queues::patch,
        )
        .route(
            Spec::delete(QUEUE, QUEUES_DELETE)
                .in_environment()
                .summary("Remove a queue")
                .details("With its finished jobs; with those that have not ended only by `force`.")
                .codes(&[
                    &codes::QUEUE_UNKNOWN,
                    &codes::QUEUE_IN_USE,
                    &codes::MANAGED_BY_FILE,
                    &codes::PRECONDITION_FAILED,
                ]),
            s(),
            queues::remove,
        )
        .route(
            app(Spec::post("/api/v1/queues/{q}/pause", QUEUES_WRITE))
                .summary("Pause a queue")
                .details("No job of it begins any more; what runs goes on, what is sent is kept.")
                .repeatable(AGAIN_SAME)
                .success(200)
                .codes(&[&codes::QUEUE_UNKNOWN]),
            s(),
            queues::pause,
        )
        .route(
            app(Spec::post("/api/v1/queues/{q}/resume", QUEUES_WRITE))
                .summary("Resume a queue")
                .repeatable(AGAIN_SAME)
                .success(200)
                .codes(&[&codes::QUEUE_UNKNOWN]),
            s(),
            queues::resume,
        )
}

fn of_work(state: &Arc<State>) -> Routes {
    let s = || Arc::clone(state);
    Routes::new("jobs")
        .hot(
            app(Spec::post("/api/v1/queues/{q}/jobs", JOBS_WRITE))
                .summary("Make jobs")
                .details(
                    "One, or up to 1,000 in `jobs`: all are made, or none. They are on disk when this answers. A tenant's \
                     key makes jobs of its tenant.",
                )
                .codes(&[
                    &codes::QUEUE_UNKNOWN,
                    &codes::QUEUE_FULL,
                    &codes::JOB_DUPLICATE,
                    &codes::OVERLOADED,
                ])
                .body_max(BULK_BYTES_MAX)
                .example(r#"{"payload": {"run": 42}, "priority": 3, "delay": "5s", "unique": "run-42"}"#),
            s(),
            enqueue::enqueue,
        )
        .hot(
            app(Spec::post("/api/v1/queues/{q}/claim", JOBS_WRITE))
                .summary("Claim jobs")
                .details(
                    "Up to `limit`, fairly between tenants. Waits up to `wait` while there is none. Each is held for `lease`: \
                     complete it, fail it or send heartbeats before that is over, with the `lease` of the answer.",
                )
                .repeatable(AGAIN_LEASES)
                .success(200)
                .time_max(WAITING_TIME_MAX)
                .codes(&[&codes::QUEUE_UNKNOWN, &codes::OVERLOADED])
                .example(r#"{"limit": 10, "lease": "30s", "wait": "20s", "worker": "worker-1"}"#),
            s(),
            work::claim,
        )
        .hot(
            app(Spec::post("/api/v1/queues/{q}/complete", JOBS_WRITE))
                .summary("Complete jobs and claim more")
                .details(
                    "Each job is answered for itself: a lease that is lost takes nothing from the others. With `claim` the next \
                     jobs come in the same transaction.",
                )
                .repeatable(AGAIN_ENDS)
                .success(200)
                .time_max(WAITING_TIME_MAX)
                .body_max(BULK_BYTES_MAX)
                .codes(&[&codes::QUEUE_UNKNOWN, &codes::OVERLOADED])
                .example(
                    r#"{"jobs": [{"id": "job_01hzy7w8n4f2gs9rka6m0qdtxe", "lease": "1", "result": {"ok": true}}], "claim": {"limit": 10, "wait": "20s"}}"#,
                ),
            s(),
            work::complete_many,
        )
}

fn of_leases(state: &Arc<State>) -> Routes {
    let s = || Arc::clone(state);
    Routes::new("jobs")
        .hot(
            app(Spec::post("/api/v1/queues/{q}/heartbeat", JOBS_WRITE))
                .summary("Hold jobs longer")
                .repeatable("it extends what is held, however often")
                .success(200)
                .codes(&[&codes::QUEUE_UNKNOWN, &codes::OVERLOADED])
                .example(r#"{"jobs": [{"id": "job_01hzy7w8n4f2gs9rka6m0qdtxe", "lease": "1"}]}"#),
            s(),
            work::heartbeat_many,
        )
        .hot(
            app(Spec::post("/api/v1/queues/{q}/release", JOBS_WRITE))
                .summary("Give jobs back")
                .details("Unworked: the attempt does not count.")
                .repeatable(AGAIN_ENDS)
                .success(200)
                .codes(&[&codes::QUEUE_UNKNOWN, &codes::OVERLOADED])
                .example(r#"{"jobs": [{"id": "job_01hzy7w8n4f2gs9rka6m0qdtxe", "lease": "1"}]}"#),
            s(),
            work::release_many,
        )
        .route(
            app(Spec::get("/api/v1/queues/{q}/events", JOBS_READ))
                .summary("Follow a queue")
                .details(
                    "Server-sent events: `id` is the event's number, `event` its kind. `Last-Event-ID` goes on after an event as \
                     long as it is remembered; `gap` tells that some were lost.",
                )
                .stream(StreamKind::Sse)
                .codes(&[&codes::QUEUE_UNKNOWN]),
            s(),
            events::stream_events,
        )
        .socket(
            app(Spec::get("/api/v1/queues/{q}/socket", JOBS_WRITE))
                .summary("Work on a WebSocket")
                .details(
                    "JSON messages with a `type`. The worker says `ready` with `slots` (and `lease`, `worker`), then `complete`, \
                     `fail`, `heartbeat`, `progress` and `release`; it gets `job`, `cancel`, and the answers `jobs`, `leases` and \
                     `error`.",
                )
                .codes(&[&codes::QUEUE_UNKNOWN]),
            s(),
            socket::open,
        )
}

fn of_lists(state: &Arc<State>) -> Routes {
    let s = || Arc::clone(state);
    Routes::new("jobs")
        .route(
            app(Spec::get("/api/v1/queues/{q}/jobs", JOBS_READ))
                .summary("List jobs")
                .details(
                    "Newest first, with payloads and results. A search by tag, error or time may answer with few jobs or none and a \
                     `next_cursor` all the same: it goes on there.",
                )
                .codes(&[&codes::QUEUE_UNKNOWN]),
            s(),
            many::list,
        )
        .route(
            app(Spec::get("/api/v1/queues/{q}/dead", JOBS_READ))
                .summary("List dead jobs")
                .details("Those whose attempts are used up, with the cause; the history is with each job.")
                .codes(&[&codes::QUEUE_UNKNOWN]),
            s(),
            many::dead,
        )
        .route(
            app(Spec::post("/api/v1/queues/{q}/dead", JOBS_WRITE))
                .summary("Retry dead jobs")
                .details("Makes those that meet the filter due again, oldest first, with all their attempts.")
                .repeatable("what is due again is not dead")
                .success(200)
                .time_max(MANY_TIME_MAX)
                .codes(&[&codes::QUEUE_UNKNOWN])
                .example(r#"{"filter": {"error": "timed out"}, "limit": 100}"#),
            s(),
            many::retry_dead,
        )
        .route(
            app(Spec::post("/api/v1/queues/{q}/drain", JOBS_WRITE))
                .summary("Drain a queue")
                .details("Removes all that waits or is delayed, without a trace. What runs goes on.")
                .repeatable(AGAIN_SAME)
                .success(200)
                .time_max(MANY_TIME_MAX)
                .codes(&[&codes::QUEUE_UNKNOWN]),
            s(),
            many::drain,
        )
}

fn of_many(state: &Arc<State>) -> Routes {
    let s = || Arc::clone(state);
    let filter = r#"{"tag": "import", "from": "2026-11-01T00:00:00Z"}"#;
    Routes::new("jobs")
        .route(
            app(Spec::post("/api/v1/queues/{q}/purge", JOBS_WRITE))
                .summary("Forget finished jobs")
                .details("Those that meet the filter; all when nothing is said.")
                .repeatable(AGAIN_SAME)
                .success(200)
                .time_max(MANY_TIME_MAX)
                .codes(&[&codes::QUEUE_UNKNOWN])
                .example(r#"{"status": "dead", "to": "2026-11-01T00:00:00Z"}"#),
            s(),
            many::purge,
        )
        .route(
            app(Spec::post("/api/v1/queues/{q}/move", JOBS_WRITE))
                .summary("Move jobs to another queue")
                .details("Those that wait or are delayed and meet the filter, in their order.")
                .repeatable("what has moved is not found again")
                .success(200)
                .time_max(MANY_TIME_MAX)
                .codes(&[&codes::QUEUE_UNKNOWN])
                .example(r#"{"to": "slow", "filter": {"tag": "import"}}"#),
            s(),
            many::move_to,
        )
        .route(
            app(Spec::post("/api/v1/queues/{q}/replay", JOBS_WRITE))
                .summary("Replay finished jobs")
                .details(
                    "Makes new jobs of those that meet the filter, such as all that ended in a window of time. With an \
                     `Idempotency-Key` they are made at most once; a repeat answers `count` 0.",
                )
                .success(200)
                .time_max(MANY_TIME_MAX)
                .codes(&[&codes::QUEUE_UNKNOWN, &codes::QUEUE_FULL])
                .example(filter),
            s(),
            many::replay,
        )
}

fn of_jobs(state: &Arc<State>) -> Routes {
    let s = || Arc::clone(state);
    Routes::new("jobs")
        .route(
            app(Spec::get("/api/v1/jobs/{j}", JOBS_READ))
                .summary("Get a job")
                .details("With its payload, result, progress, children and failed attempts."),
            s(),
            job::get,
        )
        .route(
            app(Spec::get("/api/v1/jobs/{j}/wait", JOBS_READ))
                .summary("Wait for a job's end")
                .details("Answers when it has ended, or as it is when `timeout` is over.")
                .time_max(WAITING_TIME_MAX),
            s(),
            job::wait,
        )
        .route(
            app(Spec::post("/api/v1/jobs/{j}/retry", JOBS_WRITE))
                .summary("Retry a job")
                .details("A dead or cancelled one is due again with all its attempts, a delayed one at once. A parent waits for its children \
                     that have not ended; children that are retried are waited for while their parent has not begun.")
                .repeatable("what is due again is not retried")
                .success(200)
                .codes(&[&codes::CONFLICT, &codes::JOB_DUPLICATE]),
            s(),
            job::retry,
        )
        .route(
            app(Spec::post("/api/v1/jobs/{j}/cancel", JOBS_WRITE))
                .summary("Cancel a job")
                .details("One that waits ends at once; the worker of one that runs is told with its next heartbeat.")
                .repeatable(AGAIN_SAME)
                .success(200)
                .codes(&[&codes::CONFLICT]),
            s(),
            job::cancel,
        )
}

fn of_attempts(state: &Arc<State>) -> Routes {
    let s = || Arc::clone(state);
    Routes::new("jobs")
        .hot(
            app(Spec::post("/api/v1/jobs/{j}/complete", JOBS_WRITE))
                .summary("Complete a job")
                .repeatable(AGAIN_ENDS)
                .success(200)
                .codes(&[&codes::LEASE_LOST, &codes::OVERLOADED])
                .example(r#"{"lease": "1", "result": {"ok": true}}"#),
            s(),
            work::complete,
        )
        .hot(
            app(Spec::post("/api/v1/jobs/{j}/fail", JOBS_WRITE))
                .summary("Fail an attempt")
                .details("The job is tried again after its pause, or is dead: by `retry: false`, or after its last attempt.")
                .repeatable(AGAIN_ENDS)
                .success(200)
                .codes(&[&codes::LEASE_LOST, &codes::OVERLOADED])
                .example(r#"{"lease": "1", "error": "the other side timed out", "retry_in": "30s"}"#),
            s(),
            work::fail,
        )
        .hot(
            app(Spec::post("/api/v1/jobs/{j}/heartbeat", JOBS_WRITE))
                .summary("Hold a job longer")
                .repeatable("it extends what is held, however often")
                .success(200)
                .codes(&[&codes::LEASE_LOST, &codes::OVERLOADED])
                .example(r#"{"lease": "1"}"#),
            s(),
            work::heartbeat,
        )
        .hot(
            app(Spec::post("/api/v1/jobs/{j}/progress", JOBS_WRITE))
                .summary("Tell how far a job is")
                .details("Holds it longer as well.")
                .repeatable("the newest word counts")
                .success(200)
                .codes(&[&codes::LEASE_LOST, &codes::OVERLOADED])
                .example(r#"{"lease": "1", "percent": 50, "note": "half of the pages"}"#),
            s(),
            work::progress,
        )
        .hot(
            app(Spec::post("/api/v1/jobs/{j}/release", JOBS_WRITE))
                .summary("Give a job back")
                .details("Unworked: the attempt does not count.")
                .repeatable(AGAIN_ENDS)
                .success(200)
                .codes(&[&codes::LEASE_LOST, &codes::OVERLOADED])
                .example(r#"{"lease": "1"}"#),
            s(),
            work::release,
        )
}
