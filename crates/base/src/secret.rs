//! Values that must not be printed, and must not stay in memory.

use std::fmt;
use zeroize::Zeroize;

/// A secret value. `Debug` and `Display` print `[redacted]`, its memory is overwritten when it is dropped, and it is
/// neither compared nor serialised by accident: whoever wants it says [`Secret::expose`].
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes the value in.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Do not copy it into something that lives on.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T: Zeroize> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Whether two texts are the same, without telling where they differ: every byte is looked at, and the compiler is kept from
/// leaving early. That their lengths differ may be told.
#[must_use]
pub fn same(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0_u8, |all, (a, b)| std::hint::black_box(all | (a ^ b)));
    one.len() == other.len() && std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_the_same_or_not() {
        let mut other = [7; 32];
        assert!(same(&[7; 32], &other));
        for at in [0, 15, 31] {
            other = [7; 32];
            other[at] = 8;
            assert!(!same(&[7; 32], &other), "{at}");
        }
        assert!(!same(&[7; 32], &[7; 31]) && !same(b"", b"a") && same(b"", b""));
    }
}
