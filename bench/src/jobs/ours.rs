//! Our own queues, driven over HTTP as a service would.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use base::{Clock as _, SystemClock};
use tokio::task::LocalSet;

use super::client::{Access, Link, Worker};
use super::{Fair, Latency, Scenario};
use crate::report::percentile;

/// Jobs of one bulk, and bulks that are under way at a time.
const BULK: usize = 1_000;
const BULKS: usize = 4;
/// Tenants that jobs are for, in turn.
pub(super) const TENANTS: usize = 16;
/// Workers of the latency and fairness runs.
const WORKERS: usize = 10;
/// How long a worker may take to end its job after a run.
const GRACE: Duration = Duration::from_millis(200);
/// Longest wait for jobs that were added to begin.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a scenario gave.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    PerSecond(f64),
    Latency(Latency),
}

/// Drives one queue.
pub(super) struct Driver {
    pub(super) access: Access,
    pub(super) queue: String,
}

/// When a run ends, on the client's clock.
#[derive(Clone)]
struct Span {
    clock: Rc<SystemClock>,
    end: Duration,
}

impl Span {
    fn new(span: Duration) -> Span {
        let clock = SystemClock::new();
        let end = clock.monotonic() + span;
        Span { clock: Rc::new(clock), end }
    }

    fn is_over(&self) -> bool {
        self.clock.monotonic() >= self.end
    }
}

/// A job of about 110 bytes, as the peers get it.
fn job(index: usize) -> String {
    let tenant = index % TENANTS;
    format!(
        r#"{{"tenant":"tenant-{tenant}","payload":{{"tenant":"tenant-{tenant}","kind":"mail","to":"ada@acme.example","subject":"Your report is ready","number":{index}}}}}"#
    )
}

fn bulk(from: usize, count: usize, make: impl Fn(usize) -> String) -> String {
    let jobs: Vec<String> = (from..from + count).map(make).collect();
    format!(r#"{{"jobs":[{}]}}"#, jobs.join(","))
}

impl Driver {
    /// Runs one scenario on a thread of its own runtime.
    pub(super) fn run(&self, scenario: &Scenario, span: Duration) -> Result<Outcome, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("start a runtime: {error}"))?;
        runtime.block_on(LocalSet::new().run_until(self.scenario(scenario, span)))
    }

    async fn scenario(&self, scenario: &Scenario, span: Duration) -> Result<Outcome, String> {
        match scenario {
            Scenario::Enqueue { connections } => self.enqueue(*connections, span).await,
            Scenario::Bulk => self.bulk(span).await,
            Scenario::Process { workers, batch, jobs } => {
                self.load(*jobs, job).await?;
                self.drain(*workers, *batch, span).await
            }
            Scenario::Backlog { workers, batch } => self.drain(*workers, *batch, span).await,
            Scenario::Latency { rate, fair } => self.latency(*rate, *fair, span).await,
        }
    }

    fn path(&self, verb: &str) -> String {
        format!("/api/v1/queues/{}/{verb}", self.queue)
    }

    /// Runs `lanes` times the same beside each other, each on a connection of its own, and adds up what they count.
    async fn lanes<F: Future<Output = Result<usize, String>> + 'static>(
        &self,
        lanes: usize,
        lane: impl Fn(usize, Link) -> F,
    ) -> Result<(usize, f64), String> {
        let mut links = Vec::new();
        for _ in 0..lanes {
            links.push(Link::open(&self.access).await?);
        }
        let clock = SystemClock::new();
        let began = clock.monotonic();
        let running: Vec<_> = links
            .into_iter()
            .enumerate()
            .map(|(index, link)| tokio::task::spawn_local(lane(index, link)))
            .collect();
        let mut count = 0;
        for lane in running {
            count += lane.await.map_err(|error| format!("a client fails: {error}"))??;
        }
        Ok((count, (clock.monotonic() - began).as_secs_f64()))
    }

    async fn enqueue(&self, connections: usize, span: Duration) -> Result<Outcome, String> {
        let (over, path) = (Span::new(span), Rc::new(self.path("jobs")));
        let lane = |index: usize, mut link: Link| {
            let (over, path) = (over.clone(), Rc::clone(&path));
            async move {
                let mut count = 0;
                while !over.is_over() {
                    link.post(&path, &job(index + count)).await?;
                    count += 1;
                }
                Ok(count)
            }
        };
        let (count, seconds) = self.lanes(connections, lane).await?;
        Ok(Outcome::PerSecond(count as f64 / seconds))
    }

    async fn bulk(&self, span: Duration) -> Result<Outcome, String> {
        let (over, path) = (Span::new(span), Rc::new(self.path("jobs")));
        let body = Rc::new(bulk(0, BULK, job));
        let lane = |_, mut link: Link| {
            let (over, path, body) = (over.clone(), Rc::clone(&path), Rc::clone(&body));
            async move {
                let mut count = 0;
                while !over.is_over() {
                    link.post(&path, &body).await?;
                    count += BULK;
                }
                Ok(count)
            }
        };
        let (count, seconds) = self.lanes(BULKS, lane).await?;
        Ok(Outcome::PerSecond(count as f64 / seconds))
    }

    /// Adds many jobs.
    pub(super) async fn load(
        &self,
        jobs: usize,
        make: impl Fn(usize) -> String + Copy + 'static,
    ) -> Result<(), String> {
        let (next, path) = (Rc::new(Cell::new(0)), Rc::new(self.path("jobs")));
        let lane = |_, mut link: Link| {
            let (next, path) = (Rc::clone(&next), Rc::clone(&path));
            async move {
                while next.get() < jobs {
                    let from = next.get();
                    let count = BULK.min(jobs - from);
                    next.set(from + count);
                    link.post(&path, &bulk(from, count, make)).await?;
                }
                Ok(0)
            }
        };
        self.lanes(BULKS, lane).await.map(drop)
    }

    /// As [`Driver::load`], on a runtime of its own: jobs of one tenant.
    pub(super) fn load_of(&self, jobs: usize) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("start a runtime: {error}"))?;
        let loud = |index| {
            format!(
                r#"{{"tenant":"loud","payload":{{"tenant":"loud","kind":"mail","to":"ada@acme.example","subject":"Your report is ready","number":{index}}}}}"#
            )
        };
        runtime.block_on(LocalSet::new().run_until(self.load(jobs, loud)))
    }

    /// Workers that run no-op jobs until none is left or the time is over.
    async fn drain(&self, workers: usize, batch: usize, span: Duration) -> Result<Outcome, String> {
        let mut all = Vec::new();
        for _ in 0..workers {
            all.push(Worker::open(&self.access, &self.queue, batch).await?);
        }
        let over = Span::new(span);
        let began = over.clock.monotonic();
        let last = Rc::new(Cell::new(began));
        let running: Vec<_> = all
            .into_iter()
            .map(|mut worker| {
                let (over, last) = (over.clone(), Rc::clone(&last));
                tokio::task::spawn_local(async move {
                    let mut count = 0;
                    let mut got = worker.claim("0s").await?;
                    while got.jobs > 0 {
                        count += got.jobs;
                        got = worker.complete_and_claim().await?;
                        last.set(over.clock.monotonic());
                        if over.is_over() {
                            worker.finish().await?;
                            break;
                        }
                    }
                    Ok::<usize, String>(count)
                })
            })
            .collect();
        let mut count = 0;
        for worker in running {
            count += worker.await.map_err(|error| format!("a worker fails: {error}"))??;
        }
        Ok(Outcome::PerSecond(count as f64 / (last.get() - began).as_secs_f64()))
    }

    /// Jobs at a steady rate, and how long after it was sent each began.
    async fn latency(&self, rate: f64, fair: Option<Fair>, span: Duration) -> Result<Outcome, String> {
        let clock = Rc::new(SystemClock::new());
        let began: Rc<RefCell<Vec<f64>>> = Rc::default();
        let (mut workers, stops) = (Vec::new(), Rc::new(Cell::new(false)));
        for _ in 0..WORKERS {
            let worker = Worker::open(&self.access, &self.queue, 1).await?;
            let (clock, began, stops) = (Rc::clone(&clock), Rc::clone(&began), Rc::clone(&stops));
            let job_time = fair.map_or(Duration::ZERO, |fair| fair.job_time);
            workers.push(tokio::task::spawn_local(wait_and_work(worker, clock, began, job_time, stops)));
        }
        // Connections and caches are warm before it counts.
        self.paced(&clock, rate, Duration::from_secs(1)).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        began.borrow_mut().clear();
        let count = self.paced(&clock, rate, span).await?;
        let end = clock.monotonic() + PATIENCE;
        while began.borrow().len() < count && clock.monotonic() < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if let Some(index) = workers.iter().position(tokio::task::JoinHandle::is_finished) {
                let ended = workers.swap_remove(index).await.map_err(|error| error.to_string())?;
                return Err(format!("a worker ended: {ended:?}"));
            }
        }
        let mut seen = began.take();
        // Who holds a job ends it: what nobody works on would be part of the next run. The others wait for a job in vain.
        stops.set(true);
        for worker in workers {
            let stop = worker.abort_handle();
            if tokio::time::timeout(GRACE, worker).await.is_err() {
                stop.abort();
            }
        }
        if seen.len() < count {
            return Err(format!("{} of {count} jobs never began", count - seen.len()));
        }
        seen.sort_by(f64::total_cmp);
        Ok(Outcome::Latency(Latency::of(&seen)))
    }

    /// Adds jobs of the tenant `quiet` when they are due, on as many connections as need be.
    async fn paced(&self, clock: &Rc<SystemClock>, rate: f64, span: Duration) -> Result<usize, String> {
        let count = (rate * span.as_secs_f64()) as usize;
        let idle: Rc<RefCell<Vec<Link>>> = Rc::default();
        let start = clock.monotonic();
        let failure: Rc<RefCell<Option<String>>> = Rc::default();
        for index in 0..count {
            let due = start + Duration::from_secs_f64(index as f64 / rate);
            let left = due.saturating_sub(clock.monotonic());
            if !left.is_zero() {
                tokio::time::sleep(left).await;
            }
            // Counted from when it is sent: timers are a millisecond late here and early in Node.js, and no queue's work.
            let sent = clock.monotonic().as_micros();
            let body = format!(r#"{{"tenant":"quiet","payload":{{"due_us":{sent}}}}}"#);
            let (idle, failure, path) = (Rc::clone(&idle), Rc::clone(&failure), self.path("jobs"));
            let taken = idle.borrow_mut().pop();
            let mut link = match taken {
                Some(link) => link,
                None => Link::open(&self.access).await?,
            };
            tokio::task::spawn_local(async move {
                match link.post(&path, &body).await {
                    Ok(_) => idle.borrow_mut().push(link),
                    Err(error) => *failure.borrow_mut() = Some(error),
                }
            });
        }
        failure.take().map_or(Ok(count), Err)
    }
}

/// A worker as a library would write it: takes the next job with the completion of the last, waits when there is none, and
/// ends the last one before it stops.
async fn wait_and_work(
    mut worker: Worker,
    clock: Rc<SystemClock>,
    began: Rc<RefCell<Vec<f64>>>,
    job_time: Duration,
    stops: Rc<Cell<bool>>,
) -> Result<(), String> {
    let mut got = worker.claim("20s").await?;
    loop {
        let now_us = clock.monotonic().as_micros() as f64;
        began.borrow_mut().extend(got.due_us.iter().map(|due| (now_us - *due as f64) / 1e3));
        if got.jobs > 0 && !job_time.is_zero() {
            tokio::time::sleep(job_time).await;
        }
        if stops.get() {
            return worker.finish().await;
        }
        got = worker.complete_and_claim().await?;
        if got.jobs == 0 {
            got = worker.claim("20s").await?;
        }
    }
}

impl Latency {
    /// Of sorted values in milliseconds.
    pub(super) fn of(sorted: &[f64]) -> Latency {
        Latency { percentiles_ms: super::SHARES.map(|share| percentile(sorted, share)) }
    }
}
