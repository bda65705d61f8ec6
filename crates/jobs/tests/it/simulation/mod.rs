//! A world of queues that follows from one number: clients, workers, a disk, a network and clocks that all misbehave.
//!
//! # What it is for
//! A ledger holds what clients were told: a job was taken, refused, or nobody knows. After each crash and now and then
//! between, store and ledger are compared (TORTURE, "Faults"): acknowledged means there exactly once, refused means
//! absent, unknown means there whole or not at all. Beside that no job runs more often than it may, twice at once, past
//! a limit or after its end; a lease that was lost does nothing; and in the end everything has ended.
//!
//! # What happens
//! Workers complete, fail, stall past their lease and come back, die between effect and acknowledgement, never survive a
//! poisoned job. Requests and replies get lost. The clock jumps, forwards and back. The process is killed, or the power
//! is cut after any write; the disk fills up, or a sync fails. On PostgreSQL two engines share the store, one of
//! them may be gone at any time, and the news between them are lost.
//!
//! # Repeating a run
//! All decisions follow from the seed, and a step waits for all that it asked for. The store's threads are real, so
//! where a power cut falls among requests that run together may differ by a write; nearly every failure comes back.
//!
//! Nothing in here panics: a broken rule is an error that names it, because `bench simulate` runs this as well.

mod ledger;
mod ops;
mod round;
mod world;

pub(crate) use round::{Tally, run};
pub(crate) use world::{Site, Template};

/// A broken rule, in words.
pub(crate) type Broken = String;
