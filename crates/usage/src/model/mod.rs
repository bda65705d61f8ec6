//! Pure rules of usage.

pub(crate) mod calendar;
pub(crate) mod event;

pub use calendar::{Calendar, Span};
pub use event::{AHEAD_MAX, BACK_MAX, BATCH_MAX, ID_CHARS_MAX};
