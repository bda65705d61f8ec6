//! `cargo xtask test`: everything, what fails soonest first, and all of it unless nothing can be built.

use std::time::{Duration, Instant};

use pgserver::{Options, Server, URL_VARIABLE};

use crate::process::{self, command, found, say};
use crate::surface::Product;
use crate::workspace::Workspace;
use crate::{check, peers};

/// The steps so far.
#[derive(Default)]
struct Steps {
    /// How long each took.
    durations: Vec<(&'static str, Duration)>,
    /// What failed without keeping later steps from being run.
    failures: Vec<String>,
}

impl Steps {
    /// A step whose failure is told in the end: what comes after it is worth knowing, too.
    fn judge(&mut self, name: &'static str, work: impl FnOnce() -> Result<(), String>) {
        if let Err(failure) = self.step(name, work) {
            say(&failure);
            self.failures.push(failure);
        }
    }

    /// A step that later ones need.
    fn step<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        say(&format!("\n== {name}"));
        let began = now();
        let outcome = work();
        self.durations.push((name, now().duration_since(began)));
        outcome.map_err(|error| format!("{name}: {error}"))
    }

    fn report(&self) {
        say("\n== durations");
        for (name, duration) in &self.durations {
            say(&format!("{:>8.1} s  {name}", duration.as_secs_f64()));
        }
        let all: Duration = self.durations.iter().map(|(_, duration)| *duration).sum();
        say(&format!("{:>8.1} s  in all", all.as_secs_f64()));
    }
}

/// Runs all steps; `filters` are given to the tests alone. Whether these pass, and their runner's last lines.
///
/// # Errors
/// The first step before the tests that fails.
fn all_steps(
    workspace: &Workspace,
    filters: &[&str],
    steps: &mut Steps,
) -> Result<(bool, Vec<String>), String> {
    let root = &workspace.root;
    let peers = steps.step("install what is missing", || Ok(peers::install(workspace)))?;
    steps.judge("format", || process::run(root, &["cargo", "fmt", "--all", "--check"]));
    steps.judge("lint", || {
        process::run(
            root,
            &["cargo", "clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"],
        )
    });
    steps.step("build", || {
        process::run(root, &["cargo", "build", "--quiet", "--workspace", "--all-targets"])
    })?;
    steps.judge("check", || check::run(workspace, Product::Built));
    let example = root.join("examples/agents");
    steps.judge("example", || {
        process::run(&example, &["cargo", "fmt", "--check"])?;
        process::run(&example, &["cargo", "clippy", "--quiet", "--all-targets", "--", "-D", "warnings"])?;
        process::run(&example, &["cargo", "test", "--quiet"])
    });
    let server = steps.step("start PostgreSQL", || {
        // Without syncs: a test that cuts the power starts a server of its own.
        Server::start(Options::QUICK).map_err(|error| with_sources(&error))
    })?;
    steps.step("tests", || {
        let mut words = if found("cargo-nextest").is_some() {
            vec!["cargo", "nextest", "run", "--workspace", "--no-fail-fast"]
        } else {
            vec!["cargo", "test", "--workspace", "--no-fail-fast", "--"]
        };
        words.extend(filters);
        let mut tests = command(root, &words);
        tests.env(URL_VARIABLE, server.admin_url());
        tests.envs(peers.0.iter().map(|(name, program)| (*name, program)));
        say(&format!("$ {}", words.join(" ")));
        let (status, lines) = process::tee(tests)?;
        Ok((status.success(), closing_lines(&lines)))
    })
}

/// What the runner says in the end: from nextest's summary on, or the results that `cargo test` gives for each
/// program, with their sum.
fn closing_lines(lines: &[String]) -> Vec<String> {
    if let Some(summary) = lines.iter().rposition(|line| line.trim_start().starts_with("Summary [")) {
        return lines[summary..].to_vec();
    }
    let results: Vec<&String> = lines.iter().filter(|line| line.starts_with("test result: ")).collect();
    let sum = |what: &str| -> u64 {
        let counts = results
            .iter()
            .filter_map(|line| line.split([';', '.']).find_map(|part| part.trim().strip_suffix(what)));
        counts.filter_map(|count| count.trim().parse::<u64>().ok()).sum()
    };
    let failures =
        lines.iter().filter(|line| line.starts_with("test ") && line.ends_with(" FAILED")).cloned();
    let total = format!("{} passed; {} failed; {} ignored", sum(" passed"), sum(" failed"), sum(" ignored"));
    failures.chain([format!("{} test programs: {total}", results.len())]).collect()
}

/// Runs all steps, reports how long each took, and ends with what the runner of the tests said last.
///
/// # Errors
/// What fails.
pub(crate) fn run(workspace: &Workspace, filters: &[&str]) -> Result<(), String> {
    let mut steps = Steps::default();
    let outcome = all_steps(workspace, filters, &mut steps);
    steps.report();
    let (passed, closing) = outcome?;
    say("\n== tests");
    closing.iter().for_each(|line| say(line));
    steps.failures.extend((!passed).then(|| "tests fail".to_owned()));
    if steps.failures.is_empty() { Ok(()) } else { Err(steps.failures.join("; ")) }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

#[expect(clippy::disallowed_methods, reason = "a tool that times its own steps has no clock to be given")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::closing_lines;

    #[test]
    fn both_runners_are_understood() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let nextest =
            "a\n     Summary [ 1.0s] 3 tests run: 2 passed, 1 failed, 0 skipped\n        FAIL [ 0.1s] x";
        assert_eq!(closing_lines(&lines(nextest)).len(), 2);
        let cargo = "test a ... FAILED\ntest result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured\n\
                     test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured";
        let closing = closing_lines(&lines(cargo));
        assert_eq!(closing, ["test a ... FAILED", "2 test programs: 7 passed; 1 failed; 1 ignored"]);
    }
}
