//! Texts of tests as the types that hold them.

use base::{Amount, Slug, Timestamp};

/// A slug.
///
/// # Panics
/// When the text is none.
#[must_use]
#[track_caller]
pub fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// An amount of a meter, such as `"0.000001"`.
///
/// # Panics
/// When the text is none.
#[must_use]
#[track_caller]
pub fn amount(text: &str) -> Amount {
    Amount::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A moment, such as `"2026-01-01T00:00:00Z"`.
///
/// # Panics
/// When the text is none.
#[must_use]
#[track_caller]
pub fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}
