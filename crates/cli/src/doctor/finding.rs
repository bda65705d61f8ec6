//! What a check found.

use serde::Serialize;

/// How good or bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it should be.
    Fine,
    /// Worth knowing.
    Note,
    /// It runs, but weaker than it could.
    Warning,
    /// It does not run.
    Blocker,
}

impl State {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Blocker => "BLOCKER",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) check: &'static str,
    /// How it is.
    pub(crate) state: State,
    /// What is there.
    pub(crate) found: String,
    /// What to do about it, without its full stop.
    pub(crate) next: Option<String>,
}

impl Finding {
    pub(crate) fn fine(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Fine, found: found.into(), next: None }
    }

    pub(crate) fn note(check: &'static str, found: impl Into<String>) -> Self {
        Self { state: State::Note, ..Self::fine(check, found) }
    }

    pub(crate) fn warning(check: &'static str, found: impl Into<String>) -> Self {
        Self { state: State::Warning, ..Self::fine(check, found) }
    }

    pub(crate) fn blocker(check: &'static str, found: impl Into<String>) -> Self {
        Self { state: State::Blocker, ..Self::fine(check, found) }
    }

    pub(crate) fn next(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into()), ..self }
    }
}
