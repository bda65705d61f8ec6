//! Futures that run side by side inside one task, and end with it.

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::future::Future;
use tokio::sync::mpsc;

/// Adds futures to a running [`Crew`].
#[derive(Debug, Clone)]
pub(crate) struct Hands(mpsc::UnboundedSender<BoxFuture<'static, ()>>);

impl Hands {
    /// Runs `future` with the others. When the crew has ended, it is dropped.
    ///
    /// The channel is unbounded since its content is bounded by what the futures stand for: services, replicas
    /// and processes, each of which has a limit of its own.
    pub(crate) fn add(&self, future: impl Future<Output = ()> + Send + 'static) {
        let _ended = self.0.send(Box::pin(future));
    }
}

/// Runs futures side by side within the one task that polls [`Crew::work`]. Dropping it drops them all: nothing
/// outlives the task, so that stopping it needs no list of what to stop.
#[derive(Debug)]
pub(crate) struct Crew {
    new: mpsc::UnboundedReceiver<BoxFuture<'static, ()>>,
    hands: Hands,
    running: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl Crew {
    pub(crate) fn new() -> Self {
        let (sender, new) = mpsc::unbounded_channel();
        Self { new, hands: Hands(sender), running: FuturesUnordered::new() }
    }

    /// What adds futures.
    pub(crate) fn hands(&self) -> Hands {
        self.hands.clone()
    }

    /// Works until `done` is.
    pub(crate) async fn work<T>(&mut self, done: impl Future<Output = T>) -> T {
        tokio::pin!(done);
        loop {
            tokio::select! {
                biased;
                result = &mut done => return result,
                Some(future) = self.new.recv() => self.running.push(future),
                Some(()) = self.running.next(), if !self.running.is_empty() => {}
            }
        }
    }
}
