//! `bench tenants`: lists, searches and look-ups among 100,000 tenants, as an operator's console asks them, on both stores.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::{Clock as _, SystemClock};
use serde_json::json;

use crate::Plan;
use crate::report::{Table, percentile, say};
use crate::switchyard::{Setup, Switchyard};

/// Those that are there while lists are measured.
const TENANTS: usize = 100_000;
/// Callers that make them.
const MAKERS: usize = 16;
/// What their names begin with: a search for one finds a twentieth of all, one for the first letter more.
const WORDS: [&str; 20] = [
    "acme", "alpine", "amber", "birch", "boulder", "cedar", "cobalt", "delta", "ember", "fjord", "garnet",
    "harbor", "indigo", "juniper", "keel", "lumen", "maple", "north", "onyx", "prairie",
];
const PLANS: [&str; 3] = ["pro", "free", "starter"];

const PROJECT: &str = "schema = 1\n[project]\nname = \"bench\"\n\
    [tenants]\nresolve = [\"subdomain\"]\nbase_domain = \"localhost\"\ndefault_plan = \"pro\"\n";

pub(crate) fn run(plan: Plan) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| format!("make a temporary folder: {error}"))?;
    let server = pgserver::Server::start(pgserver::Options::MEASURED).map_err(|error| error.to_string())?;
    let stores = [("SQLite", None), ("PostgreSQL", Some(server.admin_url()))];
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (store, database_url) in stores {
        let own = folder.path().join(store);
        std::fs::create_dir_all(&own).map_err(|error| format!("make a folder: {error}"))?;
        let measured = on(&own, store, database_url, plan)?;
        for (index, (name, sorted)) in measured.into_iter().enumerate() {
            if rows.len() <= index {
                rows.push(vec![name]);
            }
            rows[index].push(format!("{:.1} / {:.1}", percentile(&sorted, 0.5), percentile(&sorted, 0.99)));
        }
    }
    Table {
        title: format!("Lists and searches among {TENANTS} tenants"),
        head: ["asked for", "SQLite, p50 / p99 ms", "PostgreSQL, p50 / p99 ms"].map(str::to_owned).to_vec(),
        rows,
        notes: vec![format!(
            "By the control API, one caller, each call on a connection of its own, {} s each; pages of 50. Goal: p99 below \
             10 ms. A broad search finds a twentieth of all tenants or more, a narrow one ten.",
            plan.span.as_secs()
        )],
    }
    .publish()
}

/// Latencies of each kind of call, sorted.
fn on(
    folder: &Path,
    store: &str,
    database_url: Option<String>,
    plan: Plan,
) -> Result<Vec<(String, Vec<f64>)>, String> {
    let switchyard = Switchyard::start_with(folder, &Setup { project: PROJECT.to_owned(), database_url })?;
    let clock = SystemClock::new();
    let began = clock.monotonic();
    fill(&switchyard)?;
    let took = (clock.monotonic() - began).as_secs_f64();
    say(&format!("{store}: {TENANTS} tenants made in {took:.0} s, {:.0}/s", TENANTS as f64 / took));
    let mut measured = Vec::new();
    for (name, paths) in questions(&switchyard)? {
        let sorted = ask(&switchyard, &paths, plan.span)?;
        say(&format!(
            "{store}: {name}: {:.2} / {:.2} ms of {}",
            percentile(&sorted, 0.5),
            percentile(&sorted, 0.99),
            sorted.len()
        ));
        measured.push((name.to_owned(), sorted));
    }
    Ok(measured)
}

fn slug(index: usize) -> String {
    format!("{}-{index}", WORDS[index % WORDS.len()])
}

fn fill(switchyard: &Switchyard) -> Result<(), String> {
    let next = AtomicUsize::new(0);
    let make = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= TENANTS {
                return Ok::<(), String>(());
            }
            let slug = slug(index);
            let body = json!({
                "slug": slug,
                "name": format!("{} company {index}", WORDS[(index / 7) % WORDS.len()]),
                "email": format!("ops-{index}@{slug}.example"),
                "plan": PLANS[index % PLANS.len()],
            });
            switchyard.post("/api/v1/tenants", &body)?;
        }
    };
    std::thread::scope(|scope| {
        let makers: Vec<_> = (0..MAKERS).map(|_| scope.spawn(make)).collect();
        makers.into_iter().try_for_each(|maker| maker.join().map_err(|_| "a caller panics".to_owned())?)
    })
}

/// What is asked for, each in several forms so that no cache answers.
fn questions(switchyard: &Switchyard) -> Result<Vec<(&'static str, Vec<String>)>, String> {
    let first = switchyard.get("/api/v1/tenants?limit=500")?;
    let cursor = first["next_cursor"].as_str().ok_or("a first page of 500 is not all")?.to_owned();
    let each = |path: &dyn Fn(usize) -> String| (0..200).map(path).collect::<Vec<_>>();
    let at = |step: usize| step * (TENANTS / 200) + 7;
    Ok(vec![
        ("first page", vec!["/api/v1/tenants".to_owned()]),
        ("a page further on", vec![format!("/api/v1/tenants?cursor={cursor}")]),
        ("those of a plan", each(&|step| format!("/api/v1/tenants?plan={}", PLANS[step % 3]))),
        ("those of a status, none", vec!["/api/v1/tenants?status=suspended".to_owned()]),
        ("search, narrow", each(&|step| format!("/api/v1/tenants?q={}", slug(at(step) / 10)))),
        ("search, broad", each(&|step| format!("/api/v1/tenants?q={}", WORDS[step % WORDS.len()]))),
        (
            "search, broad, of a plan",
            each(&|step| format!("/api/v1/tenants?q={}&plan=free", &WORDS[step % 20][..1])),
        ),
        (
            "search, broad, of a status, none",
            each(&|step| format!("/api/v1/tenants?q={}&status=suspended", WORDS[step % WORDS.len()])),
        ),
        ("search by mail address", each(&|step| format!("/api/v1/tenants?q=ops-{}@", at(step)))),
        ("search for what is not there", each(&|step| format!("/api/v1/tenants?q=zz-{step}"))),
        ("one by its slug", each(&|step| format!("/api/v1/tenants/{}", slug(at(step))))),
    ])
}

fn ask(switchyard: &Switchyard, paths: &[String], span: Duration) -> Result<Vec<f64>, String> {
    let clock = SystemClock::new();
    let began = clock.monotonic();
    let mut latencies_ms = Vec::new();
    for path in paths.iter().cycle() {
        let before = clock.monotonic();
        if before - began > span {
            break;
        }
        switchyard.get(path)?;
        latencies_ms.push((clock.monotonic() - before).as_secs_f64() * 1e3);
    }
    latencies_ms.sort_by(f64::total_cmp);
    Ok(latencies_ms)
}
