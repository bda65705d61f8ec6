//! Life and death of everything that runs: the only place that spawns tasks and threads, binds sockets, and hears
//! signals.
//!
//! # The life of a task
//!
//! 1. The server makes one [`Supervisor`] in its runtime and binds every socket ([`bind_tcp`], [`bind_reuseport`])
//!    before it does anything else, so that a busy port costs nothing but an error.
//! 2. Whoever has something to run gives it a [`TaskKind`]. The kind declares when the task is stopped and what it
//!    means when it fails: [`Supervisor::spawn`] runs a future once, and its failure ends the process;
//!    [`Supervisor::restartable`] starts it again after a growing pause; [`Supervisor::thread`] and
//!    [`Supervisor::runtime_thread`] do the same on a thread of its own. Connections go into [`Tasks`].
//! 3. A panic is caught, logged, and counts as a failure of that task alone.
//! 4. Who leaves to a successor hands its listening sockets on ([`HeldSockets`], [`InheritedSockets`]).
//! 5. At the end ([`Supervisor::stop`]) kinds stop in the order of [`TaskKind`]: listeners, reconcilers, workers,
//!    flushers. Each kind is asked ([`Stop::stopped`]), then told ([`Stop::cut`]), then dropped; each step has a
//!    deadline within the grace period. What had to be dropped is named in [`Cut`], with what it said that it waits for
//!    ([`Stop::awaiting`]).
//!
//! # Invariants
//!
//! - Nothing outlives [`Supervisor::stop`] but threads that ignore their [`Stop`], and those are named.
//! - A failed task is never silently gone: it runs again, or [`Supervisor::failed`] resolves.
//!
//! # Deliberately absent
//!
//! Global state, task priorities, and cancellation in the middle of a transaction: a task is dropped only at an
//! await point after its hard deadline, and the store's closures have none.

mod bind;
mod handed;
mod listeners;
mod readiness;
mod run;
mod signals;
mod stop;
mod supervisor;
mod tasks;

pub use bind::{BindError, LISTEN_BACKLOG, bind_beside, bind_reuseport, bind_tcp};
pub use handed::{HeldSockets, InheritedSockets};
pub use listeners::{LISTENERS_FILE, Listeners};
pub use readiness::Readiness;
pub use run::{Exit, LEAVE_GRACE_MAX};
pub use signals::{Signal, Signals};
pub use stop::{Awaited, Phase, Stop, StopHandle};
pub use supervisor::{
    CUT_TIME_MAX, Cut, RESTART_PAUSE_MAX, RESTART_PAUSE_MIN, Supervisor, TaskError, TaskFailure, TaskKind,
};
pub use tasks::{LocalTask, Tasks, blocking, spawn_local, thread};
