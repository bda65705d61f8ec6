//! What a capability hands to the server and to the command line.
//!
//! Each capability crate offers the same few things, so that who knows one knows all: a [`Manifest`] (what it
//! brings along, as constants that generated documents and checks read), `build(config, deps) -> `[`Module`] (what is to
//! run), and `verbs() -> Vec<`[`Verb`]`>` (its part of the command line). The server's list of capabilities is
//! the only place that names them.
//!
//! Life of a verb: the command line parses its arguments and makes a [`Session`]; the verb calls the control API
//! by [`ControlClient`], gets typed values or a [`CliError`] that says what to do next, and prints a table for people or
//! JSON for programs by [`Output`]. Nothing here prints by macros: a closed pipe ends output quietly.
//!
//! Invariants
//! - A module starts nothing by itself; the server gives its tasks to the supervisor.
//! - A verb reaches an installation by HTTP only.
//! - Text that came from outside is shown with its control characters escaped, so that it cannot drive a terminal.
//!
//! Deliberately absent: registration by magic, and any knowledge of a particular capability.

mod arguments;
mod client;
mod credentials;
mod error;
mod manifest;
mod missing;
mod output;
mod progress;
mod session;
mod table;
mod terminal;
mod unit;

pub use arguments::{option, text};
pub use client::{ControlClient, encode};
pub use credentials::{Credentials, SavedSession};
pub use error::{CliError, EXIT_FAILURE, EXIT_USAGE};
pub use manifest::{EventDoc, Manifest, MetricDoc, MetricKind};
pub use output::{CapturedOutput, Lines, Output, OutputOptions};
pub use progress::Progress;
pub use session::{Session, Verb, VerbFuture};
pub use table::{Table, when};
pub use unit::{Health, HealthCheck, HealthState, Module, Task};
