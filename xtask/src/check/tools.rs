//! Rules that other tools keep: cargo-deny over licences, advisories, sources and duplicates.

use super::Finding;
use crate::process::{self, say};
use crate::workspace::Workspace;

/// Runs cargo-deny where it is installed, and says so where it is not: an empty machine has no network to its
/// advisories, and the rest of the checks must not depend on that.
pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    if process::found("cargo-deny").is_none() {
        say("note: cargo-deny is not installed, so deny.toml is not checked (cargo install cargo-deny)");
        return Vec::new();
    }
    match process::run(&workspace.root, &["cargo", "deny", "check", "bans", "licenses", "sources"]) {
        Ok(()) => Vec::new(),
        Err(error) => vec![Finding::new("deny.toml", error)],
    }
}
