//! Connections to upstreams that wait for their next request. Each thread has its own, so that none is ever handed
//! across threads.

use crate::hash::Fold;
use std::cell::RefCell;
use std::collections::HashMap;
use std::task::{Context, Waker};
use tokio::net::TcpStream;

/// Idle connections to one endpoint that a thread keeps.
const IDLE_OF_ENDPOINT_MAX: usize = 1_024;

/// How long one is kept where the upstream does not say: what common servers keep at least, less a little.
pub(crate) const IDLE_MS: u64 = 55_000;

#[derive(Debug)]
struct Idle {
    stream: TcpStream,
    until_ms: u64,
}

/// The idle connections of a thread.
#[derive(Debug, Default)]
pub(crate) struct Pools(RefCell<HashMap<u64, Vec<Idle>, Fold>>);

impl Pools {
    /// The connection to an endpoint that was used last, if it still stands. One that has something to read while
    /// nobody asked has been closed, or is out of step. That is known without a system call, from what the reactor
    /// heard.
    pub(crate) fn take(&self, endpoint: u64, now_ms: u64) -> Option<TcpStream> {
        let mut pools = self.0.borrow_mut();
        let idle = pools.get_mut(&endpoint)?;
        let mut cx = Context::from_waker(Waker::noop());
        while let Some(candidate) = idle.pop() {
            if candidate.until_ms > now_ms && candidate.stream.poll_read_ready(&mut cx).is_pending() {
                return Some(candidate.stream);
            }
        }
        None
    }

    /// Keeps a connection for so long.
    pub(crate) fn give(&self, endpoint: u64, stream: TcpStream, now_ms: u64, for_ms: u64) {
        let mut pools = self.0.borrow_mut();
        let idle = pools.entry(endpoint).or_default();
        if idle.len() < IDLE_OF_ENDPOINT_MAX && for_ms > 0 {
            idle.push(Idle { stream, until_ms: now_ms + for_ms });
        }
    }

    /// Closes all idle connections to an endpoint, after one of them proved to be closed from the other side.
    pub(crate) fn forget(&self, endpoint: u64) {
        self.0.borrow_mut().remove(&endpoint);
    }

    /// Closes those whose time is over, and those that were closed from the other side.
    pub(crate) fn sweep(&self, now_ms: u64) {
        let mut cx = Context::from_waker(Waker::noop());
        self.0.borrow_mut().retain(|_, idle| {
            idle.retain(|one| one.until_ms > now_ms && one.stream.poll_read_ready(&mut cx).is_pending());
            if idle.capacity() > 4 * idle.len().max(8) {
                idle.shrink_to_fit();
            }
            !idle.is_empty()
        });
    }
}
