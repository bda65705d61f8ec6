//! `switchyard init`: a project file for the folder as it is.
//!
//! What is found is read in the order of how much it says about running the app: first what builds it
//! (`package.json`, `Cargo.toml`, `pyproject.toml`), then `Procfile`, whose commands replace guesses, then Railway's
//! configuration, which replaces both. The file that comes out is checked by the binary's own check before it is written.

mod draft;
mod node;
mod procfile;
mod python;
mod railway;
mod rust;
mod write;

use crate::project::shown_path;
use crate::{Cli, Surroundings, tree};
use clap::{Arg, ArgAction, ArgMatches, Command};
use config::{PROJECT_FILE, ProjectFile};
use draft::Draft;
use module::{CliError, Output};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Bytes of the largest file that is looked into; configuration of a package is far below it.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

pub(crate) fn command() -> Command {
    Command::new("init")
        .about("Write a switchyard.toml for the app in this folder")
        .long_about(
            "Writes a switchyard.toml for the app in this folder. Looks at package.json, Cargo.toml, pyproject.toml, \
             Procfile, railway.toml and railway.json, and says what it took over and what it could not.",
        )
        .arg(Arg::new("force").long("force").action(ArgAction::SetTrue).help("Replace the file that is there"))
}

pub(crate) fn run(
    matches: &ArgMatches,
    cli: &Cli,
    surroundings: &Surroundings,
    output: &Output,
) -> Result<(), CliError> {
    let named = matches.get_one::<PathBuf>(tree::PROJECT_DIR);
    let folder = named.map_or_else(|| surroundings.folder.clone(), |named| surroundings.folder.join(named));
    let path = folder.join(PROJECT_FILE);
    let force = matches.get_flag("force");
    if path.exists() && !force {
        return Err(CliError::failure(format!("{} is here already; nothing was changed", shown_path(&path)))
            .next(
                "`switchyard init --force` replaces it; `switchyard config check` says whether it is right.",
            ));
    }
    let draft = look(&folder);
    let text = write::render(&draft);
    ProjectFile::parse(&text, PROJECT_FILE, &cli.sections).map_err(|faults| {
        CliError::failure(format!(
            "what was found here makes no valid project file; nothing was written\n{faults}"
        ))
        .next("Write a switchyard.toml by hand; `switchyard config schema` prints all that is allowed.")
    })?;
    put(&path, &text, force)?;
    tell(&draft, &path, output);
    Ok(())
}

/// Everything that the folder says about the app.
fn look(folder: &Path) -> Draft {
    let mut draft = Draft::new(folder);
    node::look(folder, &mut draft);
    rust::look(folder, &mut draft);
    python::look(folder, &mut draft);
    procfile::look(folder, &mut draft);
    railway::look(folder, &mut draft);
    for (file, what) in [
        ("Dockerfile", "images are not built here; the app runs as processes of this machine"),
        ("docker-compose.yml", "start what it holds by hand, and name it as a service with `urls`"),
        ("compose.yaml", "start what it holds by hand, and name it as a service with `urls`"),
        ("fly.toml", "not read yet"),
        (
            ".env",
            "its variables were not copied; put those that the app needs under [services.web.variables]",
        ),
    ] {
        if folder.join(file).is_file() {
            draft.leave(format!("{file}: {what}"));
        }
    }
    draft.finish();
    draft
}

/// The text of a file in the folder; `None` when it is not there, not UTF-8, or too large to be what it says.
fn text_of(folder: &Path, name: &str) -> Option<String> {
    let path = folder.join(name);
    let size = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?.len();
    (size <= FILE_BYTES_MAX).then(|| std::fs::read_to_string(path).ok()).flatten()
}

/// Writes the file whole or not at all.
fn put(path: &Path, text: &str, force: bool) -> Result<(), CliError> {
    let name = shown_path(path);
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            CliError::failure(format!("{name} is here already; nothing was changed"))
                .next("`switchyard init --force` replaces it.")
        }
        _ => CliError::failure(format!("{name} cannot be written: {error}"))
            .next("See that the folder exists and that you may write in it."),
    };
    if !force {
        let mut file = std::fs::File::create_new(path).map_err(failed)?;
        return file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed);
    }
    let beside = path.with_extension("toml.new");
    let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| {
        // What is left of a failed try would be in the way of nobody; the file itself is as it was.
        let _ = std::fs::remove_file(&beside);
        failed(error)
    })
}

fn tell(draft: &Draft, path: &Path, output: &Output) {
    let services: Vec<&str> = draft.services.iter().map(|service| service.name.as_str()).collect();
    if output.options().json {
        return output.json(&json!({
            "file": path,
            "project": draft.name,
            "services": services,
            "taken": draft.taken,
            "left": draft.left,
        }));
    }
    output.line(format!("Wrote {} for the project {}.", shown_path(path), draft.name));
    let list = |head: &str, lines: &[String]| {
        if !lines.is_empty() {
            output.line(format!("\n{head}"));
            lines.iter().for_each(|line| output.line(format!("  {line}")));
        }
    };
    list("Taken over:", &draft.taken);
    list("Not taken over:", &draft.left);
    output.line(if services.is_empty() {
        "\nNothing to start was found. Name it under [services.web] in the file, then run `switchyard up`."
    } else {
        "\nNext: see that the app listens at the port in PORT, then run `switchyard up`."
    });
}
