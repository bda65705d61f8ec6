//! Why a verb failed, in words that help.

use outbound::{ControlError, Remote};
use std::fmt;

/// Exit code of a failure.
pub const EXIT_FAILURE: u8 = 1;
/// Exit code of wrong usage or configuration.
pub const EXIT_USAGE: u8 = 2;

/// What a verb ends with when it cannot do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    /// What is wrong; may have several lines.
    pub message: String,
    /// What to do about it; `None` when the message says it all.
    pub next: Option<String>,
    /// [`EXIT_FAILURE`] or [`EXIT_USAGE`].
    pub exit: u8,
    /// The API's stable code, where it refused; for `--json` and for verbs that expect it.
    pub code: Option<String>,
}

impl CliError {
    /// A failure.
    #[must_use]
    pub fn failure(message: impl Into<String>) -> Self {
        Self { message: message.into(), next: None, exit: EXIT_FAILURE, code: None }
    }

    /// Wrong usage or configuration.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: EXIT_USAGE, ..Self::failure(message) }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Whether the API refused with this code.
    #[must_use]
    pub fn is_code(&self, code: &base::Code) -> bool {
        self.code.as_deref() == Some(code.name)
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.next {
            Some(next) => write!(f, "\n{next}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CliError {}

impl From<ControlError> for CliError {
    fn from(error: ControlError) -> Self {
        let next = match &error {
            ControlError::Refused(remote) => return refused(remote),
            ControlError::Unreachable { .. } => {
                "Start one with `switchyard up`, or name a running one with --url and --key."
            }
            ControlError::Timeout { .. } => {
                "It may have had its effect; look with `switchyard status`, then try again."
            }
            ControlError::TooLarge => "Ask for less at once.",
            ControlError::Foreign { .. } => {
                "See that the address is that of Switchyard's control listener (8081 by default)."
            }
            ControlError::Stream(_) => "Try again; `switchyard status` tells whether it still runs.",
            ControlError::Request(_) => return Self::usage(error.to_string()),
        };
        Self::failure(error.to_string()).next(next)
    }
}

fn refused(remote: &Remote) -> CliError {
    let mut message = if remote.detail.is_empty() {
        remote.title.clone()
    } else {
        format!("{}: {}", remote.title, remote.detail)
    };
    for fault in &remote.errors {
        let place = if fault.pointer.is_empty() { "value" } else { fault.pointer.as_str() };
        message.push_str(&format!("\n  {place}: {}", fault.detail));
    }
    let mut error = CliError::failure(message);
    error.code = Some(remote.code.clone());
    match remote.status {
        401 => error.next(
            "Sign in with `switchyard login`, or give a key with --key or SWITCHYARD_API_KEY; the operator's is in <data-dir>/operator.key.",
        ),
        403 => error.next("Use a key whose role and scopes allow this."),
        400 | 422 => CliError { exit: EXIT_USAGE, ..error },
        500..=599 => {
            error.next(format!("The installation's log has more under request {}.", remote.request_id))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outbound::RemoteFault;

    #[test]
    fn a_refusal_names_every_fault_and_the_exit_code_of_usage() {
        let remote = Remote {
            status: 422,
            code: "invalid".into(),
            title: "The request has invalid values".into(),
            errors: vec![RemoteFault { pointer: "/slug".into(), detail: "a DNS label is expected".into() }],
            ..Remote::default()
        };
        let error = CliError::from(ControlError::Refused(Box::new(remote)));
        assert_eq!(error.to_string(), "The request has invalid values\n  /slug: a DNS label is expected");
        assert_eq!(error.exit, EXIT_USAGE);
        assert!(error.is_code(&base::codes::INVALID));
    }

    #[test]
    fn a_fault_of_the_installation_names_the_request() {
        let remote =
            Remote { status: 500, code: "internal".into(), request_id: "req_1".into(), ..Remote::default() };
        let error = CliError::from(ControlError::Refused(Box::new(remote)));
        assert!(error.to_string().contains("req_1"));
        assert_eq!(error.exit, EXIT_FAILURE);
    }
}
