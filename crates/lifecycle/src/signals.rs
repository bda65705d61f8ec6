//! What the outside asks of the process.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The first SIGTERM or SIGINT: stop in order.
    Stop,
    /// Another one while stopping: leave now, and say what was cut.
    SecondSignal,
    /// SIGHUP: read again what can be read again.
    Reload,
    /// SIGUSR2: leave to a successor, which takes over what runs.
    Leave,
}

/// The process's signal handlers. Install once, before anything that must be stopped in order.
#[derive(Debug)]
pub struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hang_up: Stream,
    leave: Stream,
    asked: bool,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT, SIGHUP and SIGUSR2.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub fn install() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            leave: signal(SignalKind::user_defined2())?,
            asked: false,
        })
    }

    /// The next signal. Safe to drop half-way: none is lost.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => self.stop(),
            _ = self.interrupt.recv() => self.stop(),
            _ = self.hang_up.recv() => Signal::Reload,
            _ = self.leave.recv() => Signal::Leave,
        }
    }

    fn stop(&mut self) -> Signal {
        if std::mem::replace(&mut self.asked, true) { Signal::SecondSignal } else { Signal::Stop }
    }
}
