//! What the threads of the gateway share, and what each has for itself.

use super::assertion::Assertions;
use super::bearer::Verdicts;
use super::buffer::{Buffers, Outputs};
use super::deadline::Deadlines;
use super::job::Job;
use super::member::Member;
use super::pool::Pools;
use super::record::Records;
use super::remember::Common;
use crate::balance::Services;
use crate::config::Config;
use crate::limits::{Limits, Subject};
use crate::metrics::Metrics;
use crate::snapshot::World;
use base::{Random, SeededRandom, SharedClock, SharedRandom, Timestamp};
use parking_lot::Mutex;
use ports::{KeyUse, LogSink, RouteMeters, TokenCheck};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What all threads share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: SharedClock,
    pub(crate) random: SharedRandom,
    pub(crate) world: Arc<World>,
    pub(crate) services: Arc<Services>,
    pub(crate) limits: Limits,
    pub(crate) assertions: Assertions,
    pub(crate) metrics: Metrics,
    pub(crate) log: Arc<dyn LogSink>,
    pub(crate) key_use: Option<Arc<dyn KeyUse>>,
    /// Judges tokens; `None` where nobody signs any.
    pub(crate) tokens: Option<Arc<dyn TokenCheck>>,
    /// Counts requests of routes with a meter.
    pub(crate) meters: Option<Arc<dyn RouteMeters>>,
    pub(crate) connections: Connections,
    /// What answers at hosts of Switchyard's own.
    pub(crate) member: Option<Member>,
}

/// How many connections there are.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    all: AtomicUsize,
    of_address: Mutex<HashMap<u64, u32>>,
}

/// One counted connection.
pub(crate) struct Counted {
    shared: Arc<Shared>,
    address: Option<u64>,
}

impl Shared {
    /// Numbers that move when something may have been called back that let somebody in.
    pub(crate) fn state(&self) -> (u64, u64) {
        (self.world.version(), self.tokens.as_ref().map_or(0, |tokens| tokens.generation()))
    }

    pub(crate) fn is_trusted(&self, address: IpAddr) -> bool {
        self.config.trusted_proxies.iter().any(|range| range.contains(address))
    }

    /// Counts a connection; `None` when there are too many, of the address or in all.
    pub(crate) fn count(self: &Arc<Self>, peer: IpAddr) -> Option<Counted> {
        if self.connections.all.fetch_add(1, Ordering::Relaxed) >= self.config.connections_max {
            self.connections.all.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let mut counted = Counted { shared: self.clone(), address: None };
        if !self.is_trusted(peer) {
            let address = Subject::address(peer);
            let mut of_address = self.connections.of_address.lock();
            let count = of_address.entry(address).or_insert(0);
            if *count >= self.config.connections_of_address_max {
                drop(of_address);
                return None;
            }
            *count += 1;
            counted.address = Some(address);
        }
        Some(counted)
    }
}

impl Connections {
    pub(crate) fn all(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let connections = &self.shared.connections;
        connections.all.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.address else { return };
        let mut of_address = connections.of_address.lock();
        if let Some(count) = of_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                of_address.remove(&address);
            }
        }
    }
}

/// What one thread has for itself. Nothing in it is ever touched by another.
pub(crate) struct Thread {
    pub(crate) shared: Arc<Shared>,
    pub(crate) deadlines: Rc<Deadlines>,
    pub(crate) buffers: Buffers,
    /// Memory for heads on their way to upstreams.
    pub(crate) heads: Outputs,
    /// Memory for answers on their way to clients, and for bodies on theirs to upstreams.
    pub(crate) answers: Outputs,
    pub(crate) pools: Pools,
    pub(crate) records: Records,
    pub(crate) common: Common,
    /// What tokens were found to be.
    pub(crate) verdicts: Verdicts,
    /// For ids and choices, never for secrets.
    pub(crate) random: SeededRandom,
    #[expect(clippy::vec_box, reason = "a job is half a KB and moves with its request")]
    jobs: RefCell<Vec<Box<Job>>>,
    date: RefCell<Date>,
    /// The time of day less that of the monotonic clock, in microseconds, as of the last tick: so that a request asks the
    /// machine once.
    ahead_micros: Cell<i64>,
    refused_connections: Cell<u64>,
}

/// Jobs that a thread keeps for the next requests, as many as are in flight on one endpoint: half a MB.
const JOBS_KEPT_MAX: usize = 1_024;

impl Thread {
    pub(crate) fn new(shared: Arc<Shared>) -> Rc<Self> {
        let seed = shared.random.u64();
        let thread = Self {
            records: Records::new(&shared),
            common: Common::default(),
            verdicts: Verdicts::default(),
            shared,
            deadlines: Rc::default(),
            buffers: Buffers::default(),
            heads: Outputs::heads(),
            answers: Outputs::answers(),
            pools: Pools::default(),
            random: SeededRandom::new(seed),
            jobs: RefCell::default(),
            date: RefCell::default(),
            ahead_micros: Cell::new(0),
            refused_connections: Cell::new(0),
        };
        thread.deadlines.set_now_ms(thread.monotonic_ms());
        thread.compare_clocks();
        Rc::new(thread)
    }

    /// Milliseconds of the monotonic clock, asked now.
    pub(crate) fn monotonic_ms(&self) -> u64 {
        millis(self.shared.clock.monotonic())
    }

    /// Notes by how much the time of day is ahead. To be asked often, since people and other machines set it.
    pub(crate) fn compare_clocks(&self) {
        let (wall, monotonic) = (self.shared.clock.now(), self.shared.clock.monotonic());
        self.ahead_micros.set(wall.micros().saturating_sub(micros(monotonic)));
    }

    /// The time of day at a time of the monotonic clock.
    pub(crate) fn at(&self, monotonic: Duration) -> Timestamp {
        Timestamp::from_micros(self.ahead_micros.get().saturating_add(micros(monotonic)))
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.deadlines.now_ms()
    }

    pub(crate) fn random_u64(&self) -> u64 {
        self.random.u64()
    }

    pub(crate) fn take_job(&self) -> Box<Job> {
        self.jobs.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn give_job(&self, mut job: Box<Job>) {
        job.reset(self);
        let mut jobs = self.jobs.borrow_mut();
        if jobs.len() < JOBS_KEPT_MAX {
            jobs.push(job);
        }
    }

    /// Appends the `Date` line of a response.
    pub(crate) fn push_date(&self, out: &mut Vec<u8>, now: Timestamp) {
        let mut date = self.date.borrow_mut();
        if date.seconds != now.seconds() || date.line.is_empty() {
            date.seconds = now.seconds();
            date.line = date_line(now.seconds());
        }
        out.extend_from_slice(&date.line);
    }

    /// Notes a connection that was refused; every hundredth is logged.
    pub(crate) fn refused_connection(&self) {
        let refused = self.refused_connections.get();
        self.refused_connections.set(refused + 1);
        self.shared.metrics.connections_refused.inc();
        if refused.is_multiple_of(100) {
            let open = self.shared.connections.all();
            tracing::warn!(open, "connections are refused: too many are open");
        }
    }
}

#[derive(Debug, Default)]
struct Date {
    seconds: i64,
    line: Vec<u8>,
}

/// `Date: Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7) with its line end.
fn date_line(seconds: i64) -> Vec<u8> {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = year_of_era + era * 400 + i64::from(month < 2);
    let weekday = DAYS[usize::try_from(days.rem_euclid(7)).unwrap_or(0)];
    let month = MONTHS[usize::try_from(month).unwrap_or(0)];
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("Date: {weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT\r\n").into_bytes()
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_specification() {
        let text = |seconds| String::from_utf8(date_line(seconds)).unwrap();
        assert_eq!(text(784_111_777), "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
        assert_eq!(text(0), "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
        assert_eq!(text(951_782_400), "Date: Tue, 29 Feb 2000 00:00:00 GMT\r\n");
        assert_eq!(text(1_795_194_000), "Date: Fri, 20 Nov 2026 17:00:00 GMT\r\n");
    }
}
