//! Tokens by public examples, and by hostile ones.

mod hostile;
mod vectors;
