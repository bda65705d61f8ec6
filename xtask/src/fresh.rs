//! `cargo xtask fresh`: what a newcomer does. Clones the last commit into an empty folder, with empty caches of
//! the build, and runs the two commands that the README begins with, as they stand there.
//!
//! The commands are the first two lines of the README's code blocks marked ```` ```sh ```` that begin with
//! `cargo`; the first serves the example and is stopped once its page answers.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{self, say};
use crate::workspace::Workspace;

/// The goal of the whole: from the clone to the first served page.
const FIRST_PAGE_GOAL: Duration = Duration::from_secs(8 * 60);
/// When waiting for it is given up.
const FIRST_PAGE_MAX: Duration = Duration::from_secs(30 * 60);
const POLL: Duration = Duration::from_millis(250);
/// Where the gateway listens unless told otherwise.
const GATEWAY: &str = "127.0.0.1:8080";
/// The project that the first command runs.
const EXAMPLE: &str = "examples/agents";
/// A tenant that the example answers.
const TENANT_HOST: &str = "acme.localhost:8080";

/// Clones, runs both commands, says how long each took.
///
/// # Errors
/// What fails first.
pub(crate) fn run(workspace: &Workspace) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| format!("make a temporary folder: {error}"))?;
    let clone = folder.path().join("switchyard");
    let shown = |path: &Path| path.to_str().map(str::to_owned).ok_or("a path is not UTF-8".to_owned());
    let (from, to) = (shown(&workspace.root)?, shown(&clone)?);
    let began = now();
    process::run(folder.path(), &["git", "clone", "--quiet", "--no-hardlinks", &from, &to])?;
    let commands = readme_commands(&clone)?;
    say(&format!("$ {}", commands.0));
    let mut first = start(&clone, &commands.0)?;
    let served = wait_for_page(&mut first, began);
    stop(&clone, &mut first);
    say(&format!("first page after {:.0} s (goal: {} s)", served?.as_secs_f64(), FIRST_PAGE_GOAL.as_secs()));
    let began = now();
    process::run(&clone, &["sh", "-c", &commands.1])?;
    say(&format!("the second command took {:.0} s", now().duration_since(began).as_secs_f64()));
    Ok(())
}

/// The first two lines that begin with `cargo` in code blocks of the README.
fn readme_commands(clone: &Path) -> Result<(String, String), String> {
    let text = std::fs::read_to_string(clone.join("README.md"))
        .map_err(|error| format!("read README.md: {error}"))?;
    let mut in_block = false;
    let mut commands = text.lines().filter(|line| {
        if line.starts_with("```") {
            in_block = !in_block;
        }
        in_block && line.starts_with("cargo ")
    });
    match (commands.next(), commands.next()) {
        (Some(first), Some(second)) => Ok((first.to_owned(), second.to_owned())),
        _ => Err("README.md does not have two lines in code blocks that begin with `cargo`".to_owned()),
    }
}

/// Starts a command line in a process group of its own.
fn start(folder: &Path, line: &str) -> Result<Child, String> {
    Command::new("sh")
        .args(["-c", line])
        .current_dir(folder)
        .env_remove("CARGO_TARGET_DIR")
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot run `{line}`: {error}"))
}

/// Waits until the example answers for a tenant, or at least the gateway for one that is not there.
fn wait_for_page(child: &mut Child, began: Instant) -> Result<Duration, String> {
    loop {
        if let Some(status) = answer() {
            say(&format!("http://{TENANT_HOST}/ answers: {status}"));
            return Ok(now().duration_since(began));
        }
        // Ending well is fine: it may have left a Switchyard in the background.
        if let Ok(Some(status)) = child.try_wait()
            && !status.success()
        {
            return Err(format!("the first command fails ({status}) before it serves a page"));
        }
        if now().duration_since(began) > FIRST_PAGE_MAX {
            return Err(format!("no page after {} s", FIRST_PAGE_MAX.as_secs()));
        }
        std::thread::sleep(POLL);
    }
}

/// The status line of the example's page: 200, or 404 while the tenant is not made yet.
fn answer() -> Option<String> {
    let mut stream = TcpStream::connect(GATEWAY).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {TENANT_HOST}\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let status = text.lines().next()?.to_owned();
    let served = status.contains(" 200 ") || text.contains("tenant_unknown");
    served.then_some(status)
}

/// Stops what the first command started: in the foreground as Ctrl-C would, in the background by `down`.
fn stop(clone: &Path, child: &mut Child) {
    if matches!(child.try_wait(), Ok(None)) {
        let group = format!("-{}", child.id());
        let _asked = Command::new("kill").args(["-INT", "--", &group]).status();
        let _ended = child.wait();
    } else if let Err(error) = process::run(clone, &["target/release/switchyard", "down", "-C", EXAMPLE]) {
        say(&format!("note: {error}"));
    }
}

#[expect(clippy::disallowed_methods, reason = "a tool that times commands has no clock to be given")]
fn now() -> Instant {
    Instant::now()
}
