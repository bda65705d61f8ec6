//! Running programs and telling people about it.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// Writes a line. A closed standard output ends nothing.
pub(crate) fn say(line: &str) {
    let _closed = writeln!(std::io::stdout().lock(), "{line}");
}

/// A program and its arguments, run in `folder` with our input and output.
pub(crate) fn command(folder: &Path, words: &[&str]) -> Command {
    let (program, arguments) = words.split_first().unwrap_or((&"true", &[]));
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs a program to its end, showing the command and what it says.
///
/// # Errors
/// A sentence that names the command, when it cannot be run or fails.
pub(crate) fn run(folder: &Path, words: &[&str]) -> Result<(), String> {
    say(&format!("$ {}", words.join(" ")));
    finish(&mut command(folder, words), words)
}

/// Runs a prepared command to its end.
///
/// # Errors
/// As [`run`].
pub(crate) fn finish(command: &mut Command, words: &[&str]) -> Result<(), String> {
    let shown = words.join(" ");
    let status = command.status().map_err(|error| format!("cannot run `{shown}`: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{shown}` fails ({status})")) }
}

/// Runs a prepared command to its end, showing what it says and keeping it.
///
/// # Errors
/// When it cannot be run.
pub(crate) fn tee(mut command: Command) -> Result<(ExitStatus, Vec<String>), String> {
    let told = |error: std::io::Error| format!("cannot run the command: {error}");
    let (reader, writer) = std::io::pipe().map_err(told)?;
    command.stdout(writer.try_clone().map_err(told)?).stderr(writer);
    let mut child = command.spawn().map_err(told)?;
    // The command holds our ends of the pipe, too: without this, the reader would wait for ourselves.
    drop(command);
    let mut lines = Vec::new();
    for line in BufReader::new(reader).split(b'\n') {
        let line = String::from_utf8_lossy(&line.map_err(told)?).into_owned();
        say(&line);
        lines.push(line);
    }
    Ok((child.wait().map_err(told)?, lines))
}

/// Runs a program and gives what it wrote to standard output.
///
/// # Errors
/// As [`run`]; holds what it wrote to standard error.
pub(crate) fn output(folder: &Path, words: &[&str]) -> Result<String, String> {
    let shown = words.join(" ");
    let output = command(folder, words).output().map_err(|error| format!("cannot run `{shown}`: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!(
            "`{shown}` fails ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    }
}

/// Where PATH finds a program.
pub(crate) fn found(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program.as_ref())).find(|file| file.is_file())
}
