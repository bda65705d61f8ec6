//! What can go wrong: with sealing and opening ([`Error`]), and with finding the master key ([`KeyError`]).

use std::path::PathBuf;

/// Why something could not be sealed or opened. Never says which byte was wrong: an attacker who edits the store
/// learns nothing from it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The vault has no master key; holds what an operator reads.
    #[error("the vault is sealed: {0}")]
    Sealed(String),
    /// The envelope is of an unknown format, cut short, altered, or was made for another place.
    #[error("the envelope is damaged or belongs elsewhere")]
    Damaged,
    /// The envelope names another key, or the stored check value was made by another master key.
    #[error("the envelope was sealed under another key")]
    WrongKey,
    /// The plaintext is above [`crate::PLAINTEXT_BYTES_MAX`].
    #[error("{bytes} bytes are too many for one envelope")]
    TooLarge {
        /// Size of the plaintext that was refused.
        bytes: usize,
    },
}

/// Why there is no master key. Each names what an operator can do next.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is data, but neither the file nor the variable.
    #[error(
        "no master key: put the installation's key back at {path}, or set SWITCHYARD_MASTER_KEY; a new one is never made over existing data"
    )]
    Missing {
        /// Where the key was looked for.
        path: PathBuf,
    },
    /// The key is no 64 hex characters.
    #[error("the master key in {place} is not 64 hexadecimal characters")]
    Malformed {
        /// The file's path or the variable's name.
        place: String,
    },
    /// The key can be guessed.
    #[error("the master key in {place} is weak ({why}): make one with `openssl rand -hex 32`")]
    Weak {
        /// The file's path or the variable's name.
        place: String,
        /// Which rule it broke.
        why: &'static str,
    },
    /// Others than the owner may read the file, or it belongs to somebody else.
    #[error("{path} is not private ({why}): run `chmod 600` and `chown` on it")]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// What is wrong with its owner or mode.
        why: String,
    },
    /// The file system refused.
    #[error("{action} {path}")]
    Io {
        /// What was tried, in present tense.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}
