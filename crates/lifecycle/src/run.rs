//! From "everything is started" to the exit code.

use std::time::Duration;

use crate::{Cut, Readiness, Signal, Signals, Supervisor, TaskFailure};

/// The longest grace of a process that leaves to a successor: whoever connects meanwhile waits for that one.
pub const LEAVE_GRACE_MAX: Duration = Duration::from_secs(10);

/// Why the process ends other than well. Both mean exit code 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Exit {
    /// A task failed that the process cannot go on without. What else was cut while stopping was logged.
    #[error(transparent)]
    Failed(TaskFailure),
    /// The grace period or a second signal ended what was still running.
    #[error(transparent)]
    Cut(Cut),
}

impl Supervisor {
    /// Waits for a signal or a failure, then stops everything within `grace`; a second signal ends the waiting.
    /// `reload` is called on SIGHUP. On [`Signal::Leave`] tasks are told that a successor comes ([`Stop::is_leaving`]), and
    /// have [`LEAVE_GRACE_MAX`] at most.
    ///
    /// # Errors
    /// [`Exit`] when the end was not orderly.
    pub async fn run(
        &self,
        signals: &mut Signals,
        readiness: &Readiness,
        grace: Duration,
        mut reload: impl FnMut(),
    ) -> Result<(), Exit> {
        let failure = loop {
            tokio::select! {
                failure = self.failed() => break Some(failure),
                signal = signals.next() => match signal {
                    Signal::Reload => reload(),
                    Signal::Stop | Signal::SecondSignal => break None,
                    Signal::Leave => {
                        self.leave();
                        break None;
                    }
                },
            }
        };
        readiness.stopping();
        tracing::info!("stopping");
        let stopped = self.stop_by(signals, grace).await;
        match (failure, stopped) {
            (Some(failure), _) => Err(Exit::Failed(failure)),
            (None, Err(cut)) => Err(Exit::Cut(cut)),
            (None, Ok(())) => Ok(()),
        }
    }

    /// Stops everything within `grace`, or within [`LEAVE_GRACE_MAX`] when a successor comes; a signal that asks for the end
    /// once more cuts it. Where a successor was to come, the first such signal says that none does: what was not left to it by
    /// then is stopped too.
    ///
    /// # Errors
    /// [`Cut`] names what did not end by itself.
    pub async fn stop_by(&self, signals: &mut Signals, grace: Duration) -> Result<(), Cut> {
        let grace = if self.is_leaving() { grace.min(LEAVE_GRACE_MAX) } else { grace };
        let patience_is_over = async {
            loop {
                match signals.next().await {
                    Signal::Stop if self.is_leaving() => {
                        tracing::info!("told to stop for good while leaving to a successor");
                        self.stay();
                    }
                    // The first one, where stopping began by a failure.
                    Signal::Stop | Signal::SecondSignal => return,
                    Signal::Reload | Signal::Leave => {}
                }
            }
        };
        self.stop_unless(grace, patience_is_over).await
    }
}
