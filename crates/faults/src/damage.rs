//! Damage to files at rest.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Turns one bit over: bit `bit` (from 0) of the byte at `offset`.
///
/// # Errors
/// When the file cannot be read or written there.
pub fn flip_bit(path: &Path, offset: u64, bit: u8) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, offset)
}

/// Overwrites `length` bytes at `offset` with zeros: the half of a page that did not reach the disk.
///
/// # Errors
/// When the file cannot be written there.
pub fn tear(path: &Path, offset: u64, length: usize) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(&vec![0; length], offset)
}
