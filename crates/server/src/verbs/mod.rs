//! The verbs that run the platform itself.

mod detached;
mod down;
mod follow;
mod maintain;
mod running;
mod serve;
mod up;
mod upgrade;

use module::{Session, Verb};

/// All of them.
pub(crate) fn all() -> Vec<Verb> {
    vec![
        up::VERB,
        down::VERB,
        upgrade::VERB,
        crate::status::VERB,
        serve::VERB,
        maintain::MIGRATE,
        maintain::RESTORE,
        crate::surface::VERB,
    ]
}

/// Tells whoever starts the installation how to become its first owner, while there is none.
fn show_setup_link(session: &Session, link: Option<&str>) {
    if let Some(link) = link {
        session.line(format!("  First owner: {link} (works once, for 24 hours or until the next start)"));
    }
}
