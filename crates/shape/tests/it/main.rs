//! Shapes are checked whole.
