//! Verbs.

use module::Verb;

/// The verbs of this capability.
pub fn verbs() -> Vec<Verb> {
    Vec::new()
}
