//! Why a start failed, and what to do next.

use module::CliError;

/// A failure that names what was attempted; the exit code is 1.
pub(crate) fn failed(doing: &str, error: &dyn std::error::Error) -> CliError {
    let mut text = format!("{doing}: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    CliError::failure(text)
}
