//! Typing that is not shown.

use std::io::stdin;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// While it lives, the terminal does not show what is typed.
pub(crate) struct Hidden(Termios);

impl Hidden {
    /// Hides it; `None` where nobody types (a pipe).
    pub(crate) fn begin() -> Option<Hidden> {
        let before = tcgetattr(stdin()).ok()?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin(), OptionalActions::Flush, &hidden).ok()?;
        Some(Hidden(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that has gone shows nothing anyway.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}
