//! A disk that fails on demand, for tests.
//!
//! [`Disk::install`] registers a file layer (a VFS) of SQLite that hands everything to the system's own and, when
//! told, fails as disks do: a sync that answers EIO once, no space left for one class of files, slow syncs, a file
//! system that became read-only, and a power cut that forgets what was written and not synced ([`Disk::cut_power`],
//! [`Disk::restore_power`]). [`flip_bit`] and [`tear`] damage files at rest.
//!
//! # Invariants
//! * Without a fault set, the layer changes nothing that SQLite can see.
//! * After a power cut every file is what a real disk may hold: all that was synced, and of the rest any choice of
//!   512-byte sectors (drawn from a seed; none without one). The creation of a file survives, its content need not.
//! * Each [`Disk`] is a layer of its own: tests do not disturb each other.
//!
//! # Deliberately absent
//! Faults of memory-mapped files (the layer refuses to map; the write-ahead index is shared memory, not data), reordered
//! directory operations, and use outside tests: an installed layer stays registered until the process ends.
//!
//! # Life of a power cut
//! Every write first notes what it overwrites. A sync of the file clears its notes. `cut_power` makes every later
//! operation fail, so that nothing tidies up; once the store is closed, `restore_power` plays the notes back in reverse,
//! then puts back the sectors that happened to reach the disk, and lets operations pass again.

mod damage;
mod disk;
mod vfs;

pub use damage::{flip_bit, tear};
pub use disk::{Class, Disk};
