//! Where passwords are hashed: away from the threads that serve, and never more than two at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::{Secret, SharedRandom};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;
use crate::model::password::{self, SALT_BYTES};

/// Passwords that are hashed at once: 38 MiB and two cores at most, however many ask.
const AT_ONCE: usize = 2;
/// Passwords that may wait for their turn: about two seconds of it. Whoever comes then is told to come back.
const WAITING_MAX: u64 = 64;

/// Hashes passwords.
pub(crate) struct Hasher {
    turns: Arc<Semaphore>,
    waiting: AtomicU64,
    done: AtomicU64,
    random: SharedRandom,
}

/// Counts one who waits, however the waiting ends.
struct Waiting<'a>(&'a AtomicU64);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Hasher {
    pub(crate) fn new(random: SharedRandom) -> Hasher {
        let (waiting, done) = (AtomicU64::new(0), AtomicU64::new(0));
        Hasher { turns: Arc::new(Semaphore::new(AT_ONCE)), waiting, done, random }
    }

    /// The hash of a new password.
    pub(crate) async fn hash(&self, password: Secret<String>) -> Result<String, Error> {
        let salt = self.random.array::<SALT_BYTES>();
        self.run(move || password::hash(password.expose(), &salt)).await?.ok_or(Error::Busy)
    }

    /// Whether a password is that of a stored hash. The work is the same without one.
    pub(crate) async fn verify(
        &self,
        password: Secret<String>,
        stored: Option<String>,
    ) -> Result<bool, Error> {
        self.run(move || password::verify(password.expose(), stored.as_deref())).await
    }

    /// How many passwords were hashed: what the tests of equal work compare.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let permit = self.turn().await?;
        // The turn is held until the work is done, even when whoever asked has left.
        let done = lifecycle::blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        let result = done.await.ok_or(Error::Busy)?;
        self.done.fetch_add(1, Ordering::Relaxed);
        Ok(result)
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Error> {
        if let Ok(permit) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(permit);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= WAITING_MAX {
            return Err(Error::Busy);
        }
        Arc::clone(&self.turns).acquire_owned().await.map_err(|_| Error::Busy)
    }
}

#[cfg(test)]
mod tests {
    use base::SeededRandom;

    use super::*;

    #[tokio::test]
    async fn who_comes_when_too_many_wait_is_told_so_and_nothing_is_left_over() {
        let hasher = Arc::new(Hasher::new(SeededRandom::shared(1)));
        let held = Arc::clone(&hasher.turns).acquire_many_owned(2).await.unwrap();
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(hasher.turn())).collect();
        for one in &mut waiting {
            let polled =
                std::future::poll_fn(|cx| std::task::Poll::Ready(one.as_mut().poll(cx).is_pending()));
            assert!(polled.await);
        }
        assert!(matches!(hasher.turn().await, Err(Error::Busy)));
        drop((held, waiting));
        assert_eq!(hasher.waiting.load(Ordering::Relaxed), 0);
        let stored = hasher.hash(Secret::new("four words make it".to_owned())).await.unwrap();
        assert!(hasher.verify(Secret::new("four words make it".to_owned()), Some(stored)).await.unwrap());
        assert_eq!(hasher.done(), 2);
    }
}
