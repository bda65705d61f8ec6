//! Sealing: the master key, a data key per scope, and the envelope that everything confidential is kept in.
//!
//! # The life of a secret
//!
//! 1. At start [`MasterKey::load`] reads `<data-dir>/master.key` or `SWITCHYARD_MASTER_KEY`. Only the very first
//!    start of an installation may create one. Any later start without it gets [`Vault::sealed`]: the process
//!    runs, tells why, and refuses everything that would need the key. It never makes a second key over data
//!    that the first one sealed.
//! 2. The store keeps [`Vault::check_value`] beside its data; [`Vault::verify_check`] tells a wrong key from the
//!    right one before anything is written.
//! 3. Each scope (a tenant, the installation) has a random [`DataKey`], kept as a [`WrappedKey`] that only the
//!    master key opens, and only under the scope that it was made for. Erasing a tenant is erasing its wrapped key.
//! 4. [`DataKey::seal`] makes an envelope (see `envelope.rs`) that binds what the caller passes as additional
//!    data: build it with [`aad`] from scope, name and version, so that an envelope moved to another row fails.
//!
//! # Invariants
//!
//! - An envelope opens under exactly one key and one additional data: both are committed to by an HMAC that is
//!   checked before decryption (AES-GCM alone is not committing).
//! - No AES key ever seals more than 2^32 messages, across restarts too: each process seals under session keys of
//!   its own, derived with a random salt that travels in the envelope.
//! - Errors never say more than "damaged", "wrong key" or "sealed", and never hold bytes of a key or a plaintext.
//!
//! # Deliberately absent
//!
//! Rotation of the master key (it needs the store: every wrapped key is re-wrapped), hardware modules, and any
//! knowledge of what is sealed.

mod envelope;
mod error;
mod key;
mod master;
#[cfg(test)]
mod salamander;

pub use envelope::{ENVELOPE_OVERHEAD_BYTES, PLAINTEXT_BYTES_MAX, aad};
pub use error::{Error, KeyError};
pub use key::{DataKey, Vault, WrappedKey};
pub use master::{MASTER_KEY_FILE, MASTER_KEY_VARIABLE, MasterKey};
