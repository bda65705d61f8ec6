//! `switchyard config check | schema | show`.

use crate::place::Place;
use crate::project::{read_file, read_project, shown_path};
use crate::settings::{load_with, settings_args};
use crate::{Cli, Surroundings};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use config::{PROJECT_FILE, Provenance, project_schema};
use module::{CliError, Output, Table};
use serde_json::json;
use std::path::PathBuf;

pub(crate) fn command() -> Command {
    let file = Arg::new("file")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("The file [default: switchyard.toml of the project]");
    let sources =
        Arg::new("sources").long("sources").action(ArgAction::SetTrue).help("Say where each value came from");
    Command::new("config")
        .about("Check and show configuration")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("check").about("Tell every mistake in the project file and the settings").arg(file),
        )
        .subcommand(Command::new("schema").about("Print the JSON Schema of the project file, for editors"))
        .subcommand(settings_args(
            Command::new("show").about("Show the settings of the server in force").arg(sources),
        ))
}

pub(crate) fn run(
    matches: &ArgMatches,
    cli: &Cli,
    place: &Place,
    surroundings: &Surroundings,
    output: &Output,
) -> Result<(), CliError> {
    match matches.subcommand() {
        Some(("check", own)) => check(own, cli, place, surroundings, output),
        Some(("schema", _)) => {
            output.json(&project_schema(&cli.sections));
            Ok(())
        }
        Some(("show", own)) => {
            let project = read_project(&place.project_dir, &cli.sections)?;
            let (_, provenance) = load_with(own, &place.project_dir, project.as_ref(), surroundings)?;
            show(&provenance, own.get_flag("sources"), output);
            Ok(())
        }
        _ => Err(CliError::usage("one of check, schema and show is needed")),
    }
}

fn check(
    matches: &ArgMatches,
    cli: &Cli,
    place: &Place,
    surroundings: &Surroundings,
    output: &Output,
) -> Result<(), CliError> {
    let named = matches.get_one::<PathBuf>("file").map(|file| surroundings.folder.join(file));
    let path = named.unwrap_or_else(|| place.project_dir.join(PROJECT_FILE));
    let project = read_file(&path, &cli.sections);
    // Mistakes in the settings are told beside those in the file; the file's own `[server]` belongs to the file.
    let settings = load_with(matches, &place.project_dir, project.as_ref().ok(), surroundings);
    match (project, settings) {
        (Ok(project), Ok(_)) => {
            if output.options().json {
                output.json(
                    &json!({ "file": project.name(), "environments": project.environments(), "ok": true }),
                );
            }
            output.line(format!("{} has no mistakes.", shown_path(&path)));
            Ok(())
        }
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
        (Err(file), Err(settings)) => {
            let message = format!("{}\nand in the settings: {}", file.message, settings.message);
            Err(CliError { message, ..file })
        }
    }
}

fn show(provenance: &Provenance, sources: bool, output: &Output) {
    if output.options().json {
        return output.json(provenance);
    }
    let mut table = Table::new(if sources { &["setting", "value", "source"] } else { &["setting", "value"] });
    for setting in &provenance.0 {
        table.row([setting.key.clone(), setting.value.clone(), setting.source.to_string()]);
    }
    output.table(&table);
}
