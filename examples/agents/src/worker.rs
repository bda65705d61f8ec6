//! `agents worker`: takes tasks one after the other.
//!
//! Asked to stop, it gives an unfinished task back, so that a new deployment never waits for a long one. Killed
//! instead, it leaves a file that nobody touches any more, and another worker takes the task over.

use std::error::Error;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::store::{Claim, Store};
use crate::{log, on_stop};

/// Pause between two looks into the folder of waiting tasks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often a running task shows that its worker lives.
const KEEP_EVERY: Duration = Duration::from_secs(5);

pub fn run() -> Result<(), Box<dyn Error>> {
    let store = Store::open()?;
    let main = std::thread::current();
    let stopping = on_stop(move || main.unpark())?;
    log::line("info", "worker is ready", &[]);
    while !stopping.load(Ordering::SeqCst) {
        match store.claim()? {
            Some(claim) => work(&store, claim, || !stopping.load(Ordering::SeqCst))?,
            None => std::thread::park_timeout(LOOK_EVERY),
        }
    }
    log::line("info", "worker stops", &[]);
    Ok(())
}

fn work(store: &Store, claim: Claim, go_on: impl Fn() -> bool) -> std::io::Result<()> {
    let began = Instant::now();
    let (tenant, id) = (claim.tenant.as_str().to_owned(), claim.task.id.clone());
    let mut kept = began;
    let outcome = claim.task.kind.run(&claim.task.input, || {
        if kept.elapsed() >= KEEP_EVERY {
            kept = Instant::now();
            // Failing to touch the file risks doing the task twice, which is harmless.
            let _touched = store.keep(&claim);
        }
        go_on()
    });
    let Some(outcome) = outcome else {
        store.give_back(claim)?;
        log::line("info", "task is given back", &[("tenant", json!(tenant)), ("task", json!(id))]);
        return Ok(());
    };
    let task = store.finish(claim, outcome)?;
    let level = if task.error.is_some() { "warn" } else { "info" };
    log::line(
        level,
        "task is finished",
        &[
            ("tenant", json!(tenant)),
            ("task", json!(id)),
            ("kind", json!(task.kind)),
            ("status", json!(task.status)),
            ("attempts", json!(task.attempts)),
            ("duration_ms", json!(began.elapsed().as_millis())),
        ],
    );
    Ok(())
}
