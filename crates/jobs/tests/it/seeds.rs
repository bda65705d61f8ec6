//! The simulation, many seeds a run. A failure prints its seed; `SWITCHYARD_SIM_SEED=<seed>` repeats that one alone,
//! `SWITCHYARD_SIM_SEEDS=<count>` runs so many.

use std::sync::atomic::{AtomicU64, Ordering};

use faults::Disk;

use crate::simulation::{Site, Tally, Template, run};

const SEED: &str = "SWITCHYARD_SIM_SEED";
const SEEDS: &str = "SWITCHYARD_SIM_SEEDS";

/// Runs of one test run on an embedded store, and on PostgreSQL, where each costs twenty times as much.
const EMBEDDED: u64 = 1_000;
const SERVER: u64 = 20;
/// Threads; each has a disk of its own.
const THREADS: u64 = 3;
/// Failures shown.
const SHOWN_MAX: usize = 5;

/// The seeds of this run: one that was asked for, or so many from `first` on.
fn seeds(first: u64, count: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match (number(SEED), number(SEEDS)) {
        (Some(seed), _) => vec![seed],
        (None, Some(count)) => (first..first + count).collect(),
        (None, None) => (first..first + count).collect(),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("make a runtime")
}

/// Runs every seed on embedded stores; answers what happened, and what broke.
fn embedded(seeds: &[u64]) -> (Tally, Vec<String>) {
    let template = runtime().block_on(Template::make()).expect("make a template");
    let next = AtomicU64::new(0);
    let work = || {
        let disk = Disk::install().expect("install a disk");
        disk.keep_syncs();
        let (mut tally, mut broken) = (Tally::default(), Vec::new());
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            match runtime().block_on(run(&Site::Embedded(&disk, &template), *seed)) {
                Ok(happened) => tally.add(happened),
                Err(why) => broken.push(format!("{SEED}={seed}: {why}")),
            }
        }
        (tally, broken)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let (mut tally, mut broken) = (Tally::default(), Vec::new());
        for thread in threads {
            let (happened, why) = thread.join().expect("a thread of the simulation");
            tally.add(happened);
            broken.extend(why);
        }
        (tally, broken)
    })
}

fn show(broken: &[String]) {
    let shown = broken.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join("\n");
    assert!(broken.is_empty(), "{} seeds broke a rule:\n{shown}", broken.len());
}

#[test]
fn f1_f2_f3_f4_f5_f8_f10_f32_a_thousand_worlds_keep_their_ledger() {
    let seeds = seeds(1, EMBEDDED);
    let (tally, broken) = embedded(&seeds);
    println!("{} seeds: {tally:?}", seeds.len());
    show(&broken);
    if seeds.len() >= 100 {
        let each =
            [tally.claims, tally.lost_messages, tally.crashes, tally.dead, tally.cancelled, tally.completed];
        assert!(
            each.iter().all(|count| *count > seeds.len() as u64 / 2),
            "the simulation tries too little: {tally:?}"
        );
    }
}

#[tokio::test]
async fn f23_f28_f29_two_engines_on_one_postgresql_keep_their_ledger() {
    let mut broken = Vec::new();
    let mut tally = Tally::default();
    for seed in seeds(1_000_001, SERVER) {
        let database = testkit::postgres();
        match run(&Site::Server(database.url()), seed).await {
            Ok(happened) => tally.add(happened),
            Err(why) => broken.push(format!("{SEED}={seed}: {why}")),
        }
    }
    println!("{tally:?}");
    show(&broken);
}
