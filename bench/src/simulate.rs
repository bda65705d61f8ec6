//! `bench simulate`: the simulation of queues, as many seeds as one has patience for.

use std::sync::atomic::{AtomicU64, Ordering};

use faults::Disk;

use crate::report::say;

#[expect(dead_code, reason = "what needs a server is run by the tests")]
#[path = "../../crates/jobs/tests/it/simulation/mod.rs"]
mod simulation;

use simulation::{Site, Tally, Template};

/// Seeds between two lines of progress.
const PROGRESS: u64 = 1_000;
/// Broken seeds after which it ends: what comes then is the same again.
const BROKEN_MAX: usize = 20;

/// Runs `count` seeds from `first` on, one thread for each processor.
pub(crate) fn run(first: u64, count: u64) -> Result<(), String> {
    let template = runtime()?.block_on(Template::make())?;
    let (next, done) = (AtomicU64::new(first), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let outcome = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| work(&template, (&next, first + count), &done))).collect();
        let (mut tally, mut broken) = (Tally::default(), Vec::new());
        for thread in threads {
            let (happened, why) = thread.join().map_err(|_| "a thread of the simulation panicked")??;
            tally.add(happened);
            broken.extend(why);
        }
        Ok::<_, String>((tally, broken))
    });
    let (tally, broken) = outcome?;
    say(&format!("{} seeds from {first} on: {tally:?}", done.load(Ordering::Relaxed)));
    match broken.len() {
        0 => Ok(()),
        count => Err(format!("{count} seeds broke a rule:\n{}", broken.join("\n"))),
    }
}

type Done = (Tally, Vec<String>);

fn work(template: &Template, (next, end): (&AtomicU64, u64), done: &AtomicU64) -> Result<Done, String> {
    let disk = Disk::install().map_err(|code| format!("install a disk: SQLite answers {code}"))?;
    disk.keep_syncs();
    let (mut tally, mut broken) = (Tally::default(), Vec::new());
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end || broken.len() >= BROKEN_MAX {
            return Ok((tally, broken));
        }
        match runtime()?.block_on(simulation::run(&Site::Embedded(&disk, template), seed)) {
            Ok(happened) => tally.add(happened),
            Err(why) => {
                let why = format!("SWITCHYARD_SIM_SEED={seed}: {why}");
                say(&why);
                broken.push(why);
            }
        }
        let finished = done.fetch_add(1, Ordering::Relaxed) + 1;
        if finished.is_multiple_of(PROGRESS) {
            say(&format!("{finished} seeds, {} broken in this thread", broken.len()));
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let made = tokio::runtime::Builder::new_current_thread().enable_all().build();
    made.map_err(|error| format!("make a runtime: {error}"))
}
