//! Shapes are checked whole.

mod check;
mod json;
