//! `agents worker`: takes jobs of the queue one after the other, and does the tasks that they name.
//!
//! Asked to stop, it gives an unfinished job back, so that a new deployment never waits for a long one. Killed
//! instead, it is not heard of any more, and Switchyard gives the job to another worker. So a task may be begun twice;
//! that does no harm, as its outcome is written whole.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::queue::{Job, Queue};
use crate::store::{Status, Store, Tenant};
use crate::{log, on_stop};

/// How often a running task shows that its worker lives: a job is lost to us when Switchyard hears nothing for 30 s.
const KEEP_EVERY: Duration = Duration::from_secs(5);
/// Pause after Switchyard could not be asked.
const REST: Duration = Duration::from_secs(1);

pub fn run() -> Result<(), Box<dyn Error>> {
    let store = Store::open()?;
    let queue =
        Queue::open().ok_or("SWITCHYARD_URL and SWITCHYARD_TOKEN are not set: run `switchyard up`")?;
    let queue = Arc::new(queue);
    let (main, waker) = (std::thread::current(), Arc::clone(&queue));
    let stopping = on_stop(move || {
        waker.stop_waiting();
        main.unpark();
    })?;
    log::line("info", "worker is ready", &[]);
    while !stopping.load(Ordering::SeqCst) {
        match take(&store, &queue, &stopping) {
            Err(error) if !stopping.load(Ordering::SeqCst) => {
                log::line("warn", &format!("no jobs: {error}"), &[]);
                std::thread::park_timeout(REST);
            }
            _ => {}
        }
    }
    log::line("info", "worker stops", &[]);
    Ok(())
}

/// Waits for a job, and works until there is none left.
fn take(store: &Store, queue: &Queue, stopping: &AtomicBool) -> io::Result<()> {
    let mut next = queue.claim()?;
    while let Some(job) = next {
        let go_on = || !stopping.load(Ordering::SeqCst);
        next = match work(store, queue, &job, go_on)? {
            Some(result) if go_on() => queue.complete_and_claim(&job, &result)?,
            Some(result) => {
                // What this claims is given back at once.
                if let Some(next) = queue.complete_and_claim(&job, &result)? {
                    queue.release(&next)?;
                }
                None
            }
            None => {
                queue.release(&job)?;
                None
            }
        };
    }
    Ok(())
}

/// Does the task of a job: its result, or `None` when it is to be given back.
fn work(store: &Store, queue: &Queue, job: &Job, go_on: impl Fn() -> bool) -> io::Result<Option<Value>> {
    let began = Instant::now();
    let tenant = Tenant::parse(&job.tenant).ok_or_else(|| io::Error::other("a tenant's id is expected"))?;
    let Some(mut task) = store.task(&tenant, &job.payload.task)? else { return Ok(Some(Value::Null)) };
    if matches!(task.status, Status::Done | Status::Failed) {
        // It was done before, and Switchyard did not hear of it.
        return Ok(Some(json!(task.result)));
    }
    task.status = Status::Running;
    task.attempts = job.attempt;
    store.put_task(&tenant, &task)?;
    let (mut kept, mut is_ours) = (began, true);
    let outcome = task.kind.run(&task.input, || {
        if kept.elapsed() >= KEEP_EVERY {
            kept = Instant::now();
            // Not being heard once does no harm: a lease is six times as long.
            is_ours = queue.keep(job).unwrap_or(true);
        }
        is_ours && go_on()
    });
    let fields = [("tenant", json!(job.tenant)), ("task", json!(task.id)), ("job", json!(job.id))];
    let Some(outcome) = outcome else {
        task.status = Status::Waiting;
        store.put_task(&tenant, &task)?;
        log::line("info", "task is given back", &fields);
        return Ok(None);
    };
    let task = store.finish(&tenant, task, outcome)?;
    let level = if task.error.is_some() { "warn" } else { "info" };
    let more = [
        ("kind", json!(task.kind)),
        ("status", json!(task.status)),
        ("attempts", json!(task.attempts)),
        ("duration_ms", json!(began.elapsed().as_millis())),
    ];
    log::line(level, "task is finished", &[&fields[..], &more].concat());
    Ok(Some(json!(task.result)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::scripted;
    use crate::work::Kind;

    #[test]
    fn tasks_of_a_queue_are_done_until_none_is_left() {
        let (store, folder) = crate::store::temporary();
        let tenant = Tenant::parse("ten_1").unwrap();
        let agent = store.add_agent(&tenant, "counter", Kind::Words).unwrap();
        let first = store.add_task(&tenant, &agent, "a b").unwrap().unwrap();
        let second = store.add_task(&tenant, &agent, "a b c").unwrap().unwrap();
        let job = |id: &str, task: &str| json!({ "id": id, "lease": "l", "tenant": "ten_1", "attempt": 2, "payload": { "task": task } });
        let (queue, calls) = scripted::queue(vec![
            (200, json!({ "data": [job("job_1", &first.id)] })),
            (200, json!({ "data": [], "claimed": [job("job_2", &second.id)] })),
            (200, json!({ "data": [], "claimed": [job("job_3", "gone")] })),
            (200, json!({ "data": [], "claimed": [job("job_4", &first.id)] })),
            (200, json!({ "data": [], "claimed": [] })),
        ]);
        take(&store, &queue, &AtomicBool::new(false)).unwrap();
        for (task, words) in [(&first, 2), (&second, 3)] {
            let task = store.task(&tenant, &task.id).unwrap().unwrap();
            assert_eq!((task.status, task.attempts), (Status::Done, 2));
            assert_eq!(task.result.unwrap()["words"], words);
        }
        let calls = calls.lock().unwrap();
        assert_eq!(calls[1].2["jobs"][0]["result"]["words"], 2);
        assert_eq!(calls[4].2["jobs"][0]["result"]["words"], 2, "a task is done once");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_worker_that_stops_gives_its_job_back() {
        let (store, folder) = crate::store::temporary();
        let tenant = Tenant::parse("ten_1").unwrap();
        let agent = store.add_agent(&tenant, "primes", Kind::Primes).unwrap();
        let task = store.add_task(&tenant, &agent, "1000000").unwrap().unwrap();
        let claims = json!({ "data": [{ "id": "job_1", "lease": "l", "tenant": "ten_1", "attempt": 1, "payload": { "task": task.id } }] });
        let (queue, calls) = scripted::queue(vec![(200, claims), (200, json!({ "data": [] }))]);
        take(&store, &queue, &AtomicBool::new(true)).unwrap();
        assert_eq!(calls.lock().unwrap()[1].0, "/api/v1/queues/tasks/release");
        assert_eq!(store.task(&tenant, &task.id).unwrap().unwrap().status, Status::Waiting);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
