//! The data path: one thread a core, one task a connection, no hop between threads.
//!
//! A small request costs four system calls: the head is read, the application's head is written, its answer is read
//! and written on. All judging happens between the first two, in one synchronous pass (`admit`).

mod admit;
mod answer;
mod assertion;
mod bearer;
mod buffer;
mod client;
mod credential;
mod deadline;
mod downlink;
mod exchange;
mod forward;
mod job;
mod member;
mod page;
mod pool;
mod record;
mod remember;
mod respond;
mod run;
mod shared;
mod socket;
mod uplink;
mod watch;

pub(crate) use assertion::Assertions;
pub use member::MemberSurface;
pub(crate) use member::{Member, OWN_LABELS};
pub(crate) use run::run;
pub(crate) use shared::{Connections, Shared};
