//! `cargo xtask test`: everything, in the order in which it fails soonest.

use std::process::Command;
use std::time::{Duration, Instant};

use pgserver::{Options, Server, URL_VARIABLE};

use crate::process::{self, command, finish, found, say};
use crate::workspace::Workspace;
use crate::{check, peers};

/// A step with how long it took.
struct Steps(Vec<(&'static str, Duration)>);

impl Steps {
    fn step<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        say(&format!("\n== {name}"));
        let began = now();
        let outcome = work();
        self.0.push((name, now().duration_since(began)));
        outcome.map_err(|error| format!("{name}: {error}"))
    }

    fn report(&self) {
        say("\n== durations");
        for (name, duration) in &self.0 {
            say(&format!("{:>8.1} s  {name}", duration.as_secs_f64()));
        }
        let all: Duration = self.0.iter().map(|(_, duration)| *duration).sum();
        say(&format!("{:>8.1} s  in all", all.as_secs_f64()));
    }
}

/// Runs all steps; `filters` are given to the tests alone.
///
/// # Errors
/// The first step that fails.
fn all_steps(workspace: &Workspace, filters: &[&str], steps: &mut Steps) -> Result<(), String> {
    let root = &workspace.root;
    let peers = steps.step("install what is missing", || Ok(peers::install(workspace)))?;
    steps.step("format", || process::run(root, &["cargo", "fmt", "--all", "--check"]))?;
    steps.step("lint", || {
        process::run(
            root,
            &["cargo", "clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"],
        )
    })?;
    steps.step("build", || {
        process::run(root, &["cargo", "build", "--quiet", "--workspace", "--all-targets"])
    })?;
    steps.step("check", || check::run(workspace))?;
    let example = root.join("examples/agents");
    steps.step("example", || {
        process::run(&example, &["cargo", "fmt", "--check"])?;
        process::run(&example, &["cargo", "clippy", "--quiet", "--all-targets", "--", "-D", "warnings"])?;
        process::run(&example, &["cargo", "test", "--quiet"])
    })?;
    let server = steps.step("start PostgreSQL", || {
        // Without syncs: a test that cuts the power starts a server of its own.
        Server::start(Options { fsync: false }).map_err(|error| with_sources(&error))
    })?;
    steps.step("tests", || {
        let mut words = if found("cargo-nextest").is_some() {
            vec!["cargo", "nextest", "run", "--workspace", "--no-fail-fast"]
        } else {
            vec!["cargo", "test", "--workspace", "--no-fail-fast", "--"]
        };
        words.extend(filters);
        let mut tests: Command = command(root, &words);
        tests.env(URL_VARIABLE, server.admin_url());
        tests.envs(peers.0.iter().map(|(name, program)| (*name, program)));
        say(&format!("$ {}", words.join(" ")));
        finish(&mut tests, &words)
    })?;
    drop(server);
    Ok(())
}

/// Runs all steps and reports how long each took.
///
/// # Errors
/// The first step that fails.
pub(crate) fn run(workspace: &Workspace, filters: &[&str]) -> Result<(), String> {
    let mut steps = Steps(Vec::new());
    let outcome = all_steps(workspace, filters, &mut steps);
    steps.report();
    if outcome.is_ok() {
        say("\ntest: all passed");
    }
    outcome
}

fn with_sources(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

#[expect(clippy::disallowed_methods, reason = "a tool that times its own steps has no clock to be given")]
fn now() -> Instant {
    Instant::now()
}
