//! `switchyard login`, `logout`, `users`, `outbox` and `impersonate`.

mod people;
mod sign_in;

use module::{Verb, option, text};

/// The verbs of this capability.
pub fn verbs() -> Vec<Verb> {
    vec![
        Verb { name: "login", command: sign_in::login, run: sign_in::run_login },
        Verb { name: "logout", command: sign_in::logout, run: sign_in::run_logout },
        Verb { name: "users", command: people::users, run: people::run_users },
        Verb { name: "outbox", command: people::outbox, run: people::run_outbox },
        Verb { name: "impersonate", command: people::impersonate, run: people::run_impersonate },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_sound() {
        for verb in verbs() {
            (verb.command)().debug_assert();
        }
    }
}
