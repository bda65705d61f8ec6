//! The words of the product hold what they promise.

mod ids;
mod quantities;
mod words;
