//! The command line: one tree of verbs, collected from the capabilities, and the verbs that belong to no capability.
//!
//! Purpose: [`run`] takes the arguments of the process and whatever [`Verb`](module::Verb)s and sections of the project
//! file the capabilities contribute, finds the installation to speak to, runs one verb and gives the exit code.
//!
//! Invariants:
//! - Exit code 2 for usage and configuration, 1 for a failure, 0 else.
//! - Whatever is written goes through [`Output`](module::Output): a closed standard output is no panic, and text from
//!   outside cannot drive the terminal.
//! - The operator key of the data folder is sent to the installation of that folder or to a loopback address, never to an
//!   address that was merely named.
//! - `init` writes only files that the binary's own check accepts, and overwrites nothing unless told to.
//!
//! Deliberately absent: the verbs that run a server or open its store (`up`, `down`, `status`, `serve`, `migrate`,
//! `restore`), which are `server`'s; anything that a capability knows.
//!
//! Life of the main operation: [`run`] builds the tree, parses the arguments (or says what was probably meant),
//! finds project folder, data folder, address and key in this order of strength: flags, environment, what the
//! data folder says; makes a [`Session`](module::Session), and hands it to the verb on a runtime of its own.

mod app;
mod completion;
mod config_verb;
mod doctor;
mod init;
mod open;
mod place;
mod project;
mod settings;
mod tree;
mod usage;

pub use app::{Cli, Surroundings, execute, run};
pub use project::read_project;
pub use settings::{load_settings, settings_args};
pub use tree::command;
