//! `cargo xtask check`: the rules that a machine can keep. Each module holds one family of rules as a table with
//! reasons and a function from the repository to findings, so that what is allowed can be read in one place.

mod commands;
mod documents;
mod layers;
mod sources;
mod statements;
mod tools;

use std::fmt;

use crate::process::say;
use crate::surface::{self, Product};
use crate::workspace::Workspace;

/// One violation.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// A file, with its line where that helps.
    pub(crate) place: String,
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn new(place: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding { place: place.into(), message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.message)
    }
}

/// Runs every rule and lists all findings.
///
/// # Errors
/// The number of findings, or what kept a rule from running.
pub(crate) fn run(workspace: &Workspace, product: Product) -> Result<(), String> {
    let sources = sources::parse(workspace)?;
    let mut findings = layers::check(workspace);
    findings.extend(sources::check(&sources));
    findings.extend(statements::check(workspace, &sources)?);
    findings.extend(documents::check(workspace)?);
    findings.extend(commands::check(workspace)?);
    findings.extend(tools::check(workspace));
    findings.extend(
        surface::check(workspace, product).unwrap_or_else(|error| vec![Finding::new("tests/surface", error)]),
    );
    findings.sort();
    for finding in &findings {
        say(&finding.to_string());
    }
    match findings.len() {
        0 => Ok(()),
        count => Err(format!("check: {count} findings")),
    }
}
