//! The last position, and who waits for it to move.

use tokio::sync::watch;

pub(crate) struct Head(watch::Sender<i64>);

impl Head {
    pub(crate) fn new(position: i64) -> Self {
        Self(watch::Sender::new(position))
    }

    pub(crate) fn get(&self) -> i64 {
        *self.0.borrow()
    }

    /// Moves forward only: news may arrive out of order.
    pub(crate) fn advance(&self, position: i64) {
        self.0.send_if_modified(|now| {
            let moved = position > *now;
            *now = position.max(*now);
            moved
        });
    }

    pub(crate) async fn beyond(&self, position: i64) -> i64 {
        let mut receiver = self.0.subscribe();
        // The sender lives as long as `self`, so this ends with a value only.
        receiver.wait_for(|now| *now > position).await.map_or(position, |now| *now)
    }
}
