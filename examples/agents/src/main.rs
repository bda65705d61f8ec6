//! Agents: a small multi-tenant app. Tenants make agents, give them tasks and read the results.
//!
//! Two processes, two services of `switchyard.toml`:
//! - `agents web` serves the page and the JSON API. Switchyard's gateway tells it in `X-Tenant-Id` who asks.
//! - `agents worker` takes jobs of the queue `tasks` and does the work.
//!
//! The web service writes a task and adds a job for it in its tenant's name. They share one folder, in which every
//! change is the renaming of one file: any number of both may run side by side, be killed and be replaced.

mod log;
mod page;
mod queue;
mod store;
mod web;
mod work;
mod worker;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        Some("web") => web::run(),
        Some("worker") => worker::run(),
        _ => Err("usage: agents web | agents worker".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::line("error", &format!("cannot go on: {error}"), &[]);
            ExitCode::FAILURE
        }
    }
}

/// Set when the process is asked to stop; `wake` runs once at that moment.
fn on_stop(wake: impl FnOnce() + Send + 'static) -> std::io::Result<Arc<AtomicBool>> {
    let stopping = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let flag = Arc::clone(&stopping);
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            flag.store(true, Ordering::SeqCst);
            wake();
        }
    });
    Ok(stopping)
}
