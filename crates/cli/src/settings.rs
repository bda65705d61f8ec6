//! Settings of the server as flags of commands.

use crate::project::mistakes;
use crate::{Surroundings, tree};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use config::{ProjectFile, Provenance, ServerSettings, Sources};
use module::CliError;
use std::path::{Path, PathBuf};

/// The settings that have a flag: its name, the name of its value (none for a switch), its help.
const FLAGS: [(&str, Option<&str>, &str); 8] = [
    ("gateway-addr", Some("ADDR"), "Where the gateway listens [default: 127.0.0.1:8080]"),
    ("control-addr", Some("ADDR"), "Where the control API listens [default: 127.0.0.1:8081]"),
    ("service-addr", Some("ADDR"), "Where the service API listens [default: 127.0.0.1:8082]"),
    ("public", None, "Let the gateway listen on all addresses"),
    ("log-level", Some("LEVEL"), "error, warn, info, debug or trace [default: info]"),
    ("log-format", Some("FORMAT"), "auto, pretty or json [default: auto]"),
    ("grace", Some("DURATION"), "How long stopping may take [default: 30s]"),
    ("gateway-threads", Some("COUNT"), "Threads of the gateway [default: one for each processor]"),
];

/// Adds the flags of the server's common settings to a command that starts or shows one.
#[must_use]
pub fn settings_args(command: Command) -> Command {
    let args = FLAGS.iter().map(|(name, value, help)| {
        let arg = Arg::new(*name).long(*name).help(*help).help_heading("Settings");
        match value {
            Some(value) => arg.value_name(*value),
            None => arg.action(ArgAction::SetTrue),
        }
    });
    command.args(args)
}

/// The settings in force for a command that took [`settings_args`]: out of its flags, the environment, the project file's
/// `[server]` and `server.toml`.
///
/// # Errors
/// All mistakes of all sources at once (exit code 2).
pub fn load_settings(
    matches: &ArgMatches,
    project_dir: &Path,
    project: Option<&ProjectFile>,
) -> Result<(ServerSettings, Provenance), CliError> {
    load_with(matches, project_dir, project, &Surroundings::of_process())
}

pub(crate) fn load_with(
    matches: &ArgMatches,
    project_dir: &Path,
    project: Option<&ProjectFile>,
    surroundings: &Surroundings,
) -> Result<(ServerSettings, Provenance), CliError> {
    let sources = Sources {
        file: None,
        project_section: project.and_then(|project| project.section("server")).cloned(),
        env: surroundings.env.clone(),
        flags: given_flags(matches),
        folder: project_dir.to_owned(),
    };
    ServerSettings::load(sources).map_err(|faults| mistakes(&faults))
}

/// The flags that stand on the command line.
fn given_flags(matches: &ArgMatches) -> Vec<(String, String)> {
    let given = |name: &str| {
        let known = matches.try_contains_id(name).unwrap_or(false);
        known && matches.value_source(name) == Some(ValueSource::CommandLine)
    };
    let mut flags = Vec::new();
    for (name, value, _) in FLAGS.iter().filter(|(name, ..)| given(name)) {
        let text = match value {
            Some(_) => matches.get_one::<String>(name).cloned(),
            None => Some("true".to_owned()),
        };
        flags.extend(text.map(|text| ((*name).to_owned(), text)));
    }
    for name in [tree::DATA_DIR, tree::PROJECT_DIR].into_iter().filter(|name| given(name)) {
        let path = matches.get_one::<PathBuf>(name);
        flags.extend(path.map(|path| (name.to_owned(), path.to_string_lossy().into_owned())));
    }
    flags
}
