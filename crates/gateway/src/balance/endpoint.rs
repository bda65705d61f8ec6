//! One address that serves a service, and how it does.

use super::queue::WaitQueue;
use base::ReplicaId;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Requests that one endpoint has at once; beyond, they wait. A thousand connections are what common servers take.
pub const ENDPOINT_IN_FLIGHT_MAX: u32 = 1_024;

/// Broken connections in a row that take an endpoint out of the choice. One that refuses connections is out at once.
const FAILURES_IN_A_ROW: u32 = 3;
/// The first time for which it is out; doubled each time it fails again.
const EJECT_MS: u64 = 1_000;
/// Doublings: from one second to a minute.
const EJECT_DOUBLINGS_MAX: u32 = 6;

/// An endpoint with its live state.
#[derive(Debug)]
pub struct Endpoint {
    /// A number that no other endpoint of this process ever had; pools go by it.
    pub number: u64,
    /// Where it listens.
    pub addr: SocketAddr,
    /// The replica behind it.
    pub replica: Option<ReplicaId>,
    /// Whether it may get requests, as who runs it says.
    pub(super) ready: AtomicBool,
    /// Whether it gets nothing new.
    pub(super) draining: AtomicBool,
    /// Whether it answers checks of ours.
    pub(super) answers: AtomicBool,
    in_flight: AtomicU32,
    sockets: AtomicU32,
    failures: AtomicU32,
    ejections: AtomicU32,
    ejected_until_ms: AtomicU64,
    /// Who waits for a place at its service: told by each request that ends, which so need not hold it.
    queue: Arc<WaitQueue>,
}

impl Endpoint {
    pub(super) fn new(number: u64, record: &ports::Endpoint, queue: Arc<WaitQueue>) -> Self {
        Self {
            number,
            addr: record.addr,
            replica: record.replica,
            ready: AtomicBool::new(record.ready),
            draining: AtomicBool::new(record.draining),
            answers: AtomicBool::new(true),
            in_flight: AtomicU32::new(0),
            sockets: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_until_ms: AtomicU64::new(0),
            queue,
        }
    }

    /// Whether it may be chosen at all.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && !self.draining.load(Ordering::Relaxed)
    }

    /// Whether there is no reason to rather choose another.
    #[must_use]
    pub fn is_sound(&self, now_ms: u64) -> bool {
        self.answers.load(Ordering::Relaxed) && self.ejected_until_ms.load(Ordering::Relaxed) <= now_ms
    }

    /// How busy it is: requests in flight, and a little for each socket that stays open.
    #[must_use]
    pub fn load(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed) + self.sockets.load(Ordering::Relaxed) / 16
    }

    /// Whether it has as much as it may have.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) >= ENDPOINT_IN_FLIGHT_MAX
    }

    /// It answered.
    pub fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.ejections.load(Ordering::Relaxed) != 0 {
            self.ejections.store(0, Ordering::Relaxed);
            self.ejected_until_ms.store(0, Ordering::Relaxed);
        }
    }

    /// It broke a connection, or refused one.
    pub fn failed(&self, refused: bool, now_ms: u64) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if refused || failures >= FAILURES_IN_A_ROW {
            let times = self.ejections.load(Ordering::Relaxed).min(EJECT_DOUBLINGS_MAX);
            // Failures of requests that were already on their way do not count as another time.
            if self.ejected_until_ms.load(Ordering::Relaxed) <= now_ms {
                self.ejections.store(times + 1, Ordering::Relaxed);
                self.ejected_until_ms.store(now_ms + (EJECT_MS << times).min(60_000), Ordering::Relaxed);
            }
        }
    }
}

/// One request on its way to an endpoint; counted until it is dropped.
#[derive(Debug)]
pub struct InFlight {
    /// Which.
    pub endpoint: Arc<Endpoint>,
    socket: bool,
}

impl InFlight {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { endpoint, socket: false }
    }

    /// It became a socket or a stream of events, which stays open and mostly waits: its place is given to others.
    pub fn becomes_socket(&mut self) {
        if !self.socket {
            self.socket = true;
            self.endpoint.sockets.fetch_add(1, Ordering::Relaxed);
            self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
            self.endpoint.queue.wake_next();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.socket {
            self.endpoint.sockets.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
            self.endpoint.queue.wake_next();
        }
    }
}
