//! The verbs that run the platform itself.

mod down;
mod follow;
mod maintain;
mod running;
mod serve;
mod up;

use module::Verb;

/// All of them.
pub(crate) fn all() -> Vec<Verb> {
    vec![
        up::VERB,
        down::VERB,
        crate::status::VERB,
        serve::VERB,
        maintain::MIGRATE,
        maintain::RESTORE,
        crate::surface::VERB,
    ]
}
