//! Who may depend on whom, read from the manifests.

use super::Finding;
use crate::workspace::{Package, Workspace};

/// Platform crates from the lowest up: each may use earlier ones only.
const PLATFORM: [&str; 13] = [
    "base",
    "shape",
    "tokens",
    "config",
    "telemetry",
    "lifecycle",
    "authority",
    "vault",
    "db",
    "ports",
    "outbound",
    "web",
    "module",
];
/// What only tests, benchmarks and this tool use.
const TEST_KIT: [&str; 3] = ["faults", "pgserver", "testkit"];
/// Capabilities: none depends on another, not even in tests.
const CAPABILITIES: [&str; 15] = [
    "tenants",
    "identity",
    "accounts",
    "issuers",
    "oidc",
    "plans",
    "usage",
    "billing",
    "gateway",
    "jobs",
    "schedules",
    "deployments",
    "logs",
    "audit",
    "backups",
];
/// Above the capabilities, from the lowest up.
const TOP: [&str; 2] = ["cli", "server"];
/// Programs beside the product; they may use everything.
const TOOLS: [&str; 2] = ["xtask", "bench"];

/// Libraries that only some packages may name, and why.
const HOMES: [(&[&str], &[&str], &str); 4] = [
    (
        &["rusqlite", "libsqlite3-sys", "postgres", "tokio-postgres"],
        &["db", "faults", "testkit"],
        "only db speaks SQL (tests may look at its files and databases)",
    ),
    (&["axum"], &["web"], "only web knows the framework"),
    (
        &["ring"],
        &[
            "vault",
            "db",
            "tokens",
            "identity",
            "accounts",
            "issuers",
            "oidc",
            "billing",
            "authority",
            "backups",
            "web",
            "deployments",
        ],
        "cryptography and digests stay in few places",
    ),
    (&["clap_complete", "indicatif"], &["module", "cli", "server"], "only the command line draws"),
];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    workspace.packages.iter().flat_map(|package| check_package(workspace, package)).collect()
}

fn check_package(workspace: &Workspace, package: &Package) -> Vec<Finding> {
    let name = package.name.as_str();
    let place = format!("{}/Cargo.toml", package.folder);
    let mut findings = Vec::new();
    if rank(name).is_none() && !TEST_KIT.contains(&name) && !TOOLS.contains(&name) {
        findings.push(Finding::new(
            &place,
            format!("{name} has no place in the table of layers (xtask/src/check/layers.rs)"),
        ));
    }
    let is_ours = |dependency: &&String| workspace.packages.iter().any(|ours| ours.name == **dependency);
    for dependency in package.dependencies.iter().filter(is_ours) {
        if let Some(reason) = refusal(name, dependency) {
            findings.push(Finding::new(&place, format!("{name} depends on {dependency}: {reason}")));
        }
    }
    for dependency in package.dev_dependencies.iter().filter(is_ours) {
        // A crate may name itself to switch on what only its tests see.
        let is_kit = TEST_KIT.contains(&dependency.as_str()) || dependency == name;
        if let Some(reason) = refusal(name, dependency).filter(|_| !is_kit) {
            findings
                .push(Finding::new(&place, format!("the tests of {name} depend on {dependency}: {reason}")));
        }
    }
    for (libraries, homes, reason) in HOMES {
        let named = package.dependencies.iter().chain(&package.dev_dependencies);
        for library in named.filter(|library| libraries.contains(&library.as_str())) {
            if !homes.contains(&name) && !TOOLS.contains(&name) {
                findings.push(Finding::new(&place, format!("{name} names {library}: {reason}")));
            }
        }
    }
    findings
}

/// Why `name` may not depend on `dependency`, if it may not.
fn refusal(name: &str, dependency: &str) -> Option<&'static str> {
    if TOOLS.contains(&name) {
        return None;
    }
    if TEST_KIT.contains(&name) {
        let below = PLATFORM.contains(&dependency) || TEST_KIT.contains(&dependency);
        return (!below).then_some("the test kit stands below the capabilities");
    }
    if TEST_KIT.contains(&dependency) {
        return Some("only tests use the test kit");
    }
    if CAPABILITIES.contains(&name) && CAPABILITIES.contains(&dependency) {
        return Some("a capability never depends on a capability; use a trait in ports, or the event log");
    }
    match (rank(name), rank(dependency)) {
        (Some(own), Some(other)) if other >= own => Some("a layer depends on lower layers only"),
        _ => None,
    }
}

/// The place from the lowest up; capabilities share one.
fn rank(name: &str) -> Option<usize> {
    let position = |list: &[&str]| list.iter().position(|entry| *entry == name);
    position(&PLATFORM)
        .or_else(|| position(&CAPABILITIES).map(|_| PLATFORM.len()))
        .or_else(|| position(&TOP).map(|place| PLATFORM.len() + 1 + place))
}

#[cfg(test)]
mod tests {
    use super::refusal;

    #[test]
    fn directions() {
        for (name, dependency, allowed) in [
            ("db", "vault", true),
            ("vault", "db", false),
            ("tenants", "module", true),
            ("tenants", "plans", false),
            ("module", "tenants", false),
            ("server", "tenants", true),
            ("cli", "server", false),
            ("tenants", "testkit", false),
            ("testkit", "web", true),
            ("testkit", "tenants", false),
            ("bench", "gateway", true),
        ] {
            assert_eq!(refusal(name, dependency).is_none(), allowed, "{name} -> {dependency}");
        }
    }
}
