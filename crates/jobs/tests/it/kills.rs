//! Processes that are killed, and networks that are cut.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::{Clock, ManualClock, Secret, SystemClock, SystemRandom};
use db::{Db, Location, Options};
use jobs::{Draft, Error, JobStatus, Payload};

use crate::faults::{Post, options};

const WHERE: &str = "SWITCHYARD_JOBS_TEST_PLACE";
const ROUND: &str = "SWITCHYARD_JOBS_TEST_ROUND";
/// Longer than a lease by the clocks of all.
const LATER: Duration = Duration::from_secs(3_600);

fn location(place: &str) -> Location {
    match place.strip_prefix('/') {
        Some(_) => Location::Sqlite { dir: place.into() },
        None => Location::Postgres { url: Secret::new(place.to_owned()) },
    }
}

async fn open(place: &str, clock: base::SharedClock) -> Post {
    let db = Db::open(options(location(place), clock.clone())).await.expect("open the store");
    Post::open(db, clock, SystemRandom::shared()).await
}

/// Not a test by itself: what the killed process does. It puts in three jobs a call and takes one, for ever, and says what
/// it was told.
#[tokio::test]
async fn a_process_to_be_killed() {
    let (Ok(place), Ok(round)) = (std::env::var(WHERE), std::env::var(ROUND)) else { return };
    let post = open(&place, SystemClock::shared()).await;
    for call in 0u64.. {
        let name = |part: u32| Draft::new(Payload::from_json(format!("\"{round}.{call}.{part}\"")));
        post.put((0..3).map(name).collect()).await.expect("enqueue");
        println!("\nacknowledged {round}.{call}");
        for job in post.claim(1).await.expect("claim") {
            println!("\nclaimed {} {}", job.payload.as_str().trim_matches('"'), job.attempt);
        }
    }
}

fn start(place: &str, round: usize) -> Child {
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "kills::a_process_to_be_killed", "--nocapture", "--test-threads=1"])
        .env(WHERE, place)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("start a process")
}

/// What a process said until it was killed after `lines` of it.
fn killed_after(place: &str, round: usize, lines: u64) -> Vec<String> {
    let mut child = start(place, round);
    let said = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
    let mut said = said.filter(|line| line.starts_with("acknowledged ") || line.starts_with("claimed "));
    let mut heard: Vec<String> = said.by_ref().take(lines as usize).collect();
    assert_eq!(heard.len() as u64, lines, "the process goes on until it is killed");
    child.kill().expect("kill -9");
    heard.extend(said);
    child.wait().expect("it ends");
    heard
}

#[tokio::test]
async fn f1_f2_kill_9_loses_no_job_and_counts_attempts() {
    const ROUNDS: usize = 8;
    let dir = tempfile::tempdir().expect("a folder");
    let database = testkit::postgres();
    for place in [dir.path().display().to_string(), database.url()] {
        let random = SystemRandom::shared();
        let (mut calls, mut claimed) = (HashSet::new(), HashMap::new());
        for round in 0..ROUNDS {
            for line in killed_after(&place, round, 1 + random.below(60)) {
                match line.split(' ').collect::<Vec<_>>().as_slice() {
                    ["acknowledged", call] => drop(calls.insert((*call).to_owned())),
                    ["claimed", job, attempt] => {
                        let attempt: u32 = attempt.parse().expect("a number");
                        let before = claimed.insert((*job).to_owned(), attempt);
                        assert!(before.is_none_or(|before| before < attempt), "{line}");
                    }
                    // The last line may be cut.
                    _ => {}
                }
            }
        }
        let clock = ManualClock::new(SystemClock::new().now() + LATER);
        let post = open(&place, clock.shared()).await;
        post.engine.tick().await.expect("tick");
        let mut found: HashMap<String, u32> = HashMap::new();
        // Those whose worker died with the process come back after their lease and a pause.
        for _ in 0..3 {
            loop {
                let batch = post.claim(1_000).await.expect("claim");
                if batch.is_empty() {
                    break;
                }
                for job in &batch {
                    let name = job.payload.as_str().trim_matches('"').to_owned();
                    assert_eq!(found.insert(name.clone(), job.attempt), None, "{name} is there twice");
                    assert_eq!(post.complete(job).await, Ok(JobStatus::Completed));
                }
            }
            clock.advance(LATER);
            post.engine.tick().await.expect("tick");
        }
        for call in &calls {
            let parts: Vec<_> = (0..3).filter(|part| found.contains_key(&format!("{call}.{part}"))).collect();
            assert_eq!(parts.len(), 3, "{call} was acknowledged; of it there is {parts:?}");
        }
        let mut whole: HashMap<&str, u32> = HashMap::new();
        for name in found.keys() {
            *whole.entry(name.rsplit_once('.').expect("a name").0).or_default() += 1;
        }
        assert!(whole.values().all(|parts| *parts == 3), "half of a call is there: {whole:?}");
        for (job, attempt) in claimed {
            assert!(
                found[&job] > attempt,
                "{job} was claimed {attempt} times before, and now is attempt {}",
                found[&job]
            );
        }
    }
}

/// Passes bytes between a client and the server until the hole is opened; then swallows them, without a word.
async fn swallow(listener: tokio::net::TcpListener, server: String, hole: Arc<AtomicBool>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let server = tokio::net::TcpStream::connect(&server).await.expect("reach the server");
        let (client_in, client_out) = client.into_split();
        let (server_in, server_out) = server.into_split();
        for (mut from, mut to) in [(client_in, server_out), (server_in, client_out)] {
            let hole = hole.clone();
            connections.spawn(async move {
                let mut buffer = vec![0; 16 * 1024];
                while let Ok(read @ 1..) = tokio::io::AsyncReadExt::read(&mut from, &mut buffer).await {
                    if !hole.load(Ordering::Relaxed) {
                        drop(tokio::io::AsyncWriteExt::write_all(&mut to, &buffer[..read]).await);
                    }
                }
            });
        }
    }
}

#[tokio::test]
async fn f28_a_process_cut_off_from_the_store_gives_nothing_out_and_is_overruled() {
    let database = testkit::postgres();
    // `…@host:port/…`
    let url = database.url();
    let server = url.rsplit_once('@').and_then(|(_, rest)| rest.split_once('/')).expect("a URL").0.to_owned();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let through = url.replace(&server, &listener.local_addr().expect("an address").to_string());
    let hole = Arc::new(AtomicBool::new(false));
    let mut proxy = tokio::task::JoinSet::new();
    proxy.spawn(swallow(listener, server, hole.clone()));

    let clock = ManualClock::new(testkit::start());
    let place = |url: &str| Location::Postgres { url: Secret::new(url.to_owned()) };
    let hasty = |url: &str| Options {
        statement_max: Duration::from_millis(300),
        lanes: 2,
        ..options(place(url), clock.shared())
    };
    let post = async |url: &str| {
        let db = Db::open(hasty(url)).await.expect("open the store");
        Post::open(db, clock.shared(), SystemRandom::shared()).await
    };
    let (cut_off, other) = (post(&through).await, post(&url).await);
    let draft = || Draft::new(Payload::null());
    cut_off.put((0..4).map(|_| draft()).collect()).await.expect("enqueue");
    let held = cut_off.claim(2).await.expect("claim");
    assert_eq!(held.len(), 2);
    hole.store(true, Ordering::Relaxed);
    // Nothing is answered that the store did not say.
    let is_store = |outcome: &Error| matches!(outcome, Error::Store(error) if error.is_transient());
    assert!(cut_off.claim(1).await.is_err_and(|error| is_store(&error)));
    assert!(cut_off.complete(&held[0]).await.is_err_and(|error| is_store(&error)));
    assert!(cut_off.put(vec![draft()]).await.is_err_and(|error| is_store(&error)));
    // The others go on, and take over what it held.
    clock.advance(Duration::from_secs(31));
    let (stop, stopped) = lifecycle::Stop::pair();
    let mut running = tokio::task::JoinSet::new();
    let engine = other.engine.clone();
    running.spawn(async move { engine.run(stopped).await });
    let mut taken = Vec::new();
    let taking_over = tokio::time::timeout(Duration::from_secs(10), async {
        while taken.len() < 4 {
            taken.extend(other.claim(10).await.expect("claim"));
        }
    });
    taking_over.await.expect("all four are taken over");
    assert!(other.claim(10).await.expect("claim").is_empty(), "what was refused is not there");
    stop.stop();
    while running.join_next().await.is_some() {}
    hole.store(false, Ordering::Relaxed);
    let back = tokio::time::timeout(Duration::from_secs(5), async {
        while cut_off.engine.tick().await.is_err() || cut_off.put(vec![draft()]).await.is_err() {}
    });
    back.await.expect("it is back in 5 s");
    for job in &held {
        assert_eq!(cut_off.complete(job).await, Err(Error::LeaseLost(job.id)));
    }
    for job in &taken {
        assert_eq!(other.complete(job).await, Ok(JobStatus::Completed));
    }
}
