//! `switchyard doctor`: whether this machine can run it, how well, and what to do where not.
//!
//! Each check looks at one thing, changes nothing that stays, and gives [`Finding`]s. What keeps Switchyard from running
//! is a blocker and makes the exit code 1; what makes it weaker, a warning.

mod finding;
mod folders;
mod limits;
mod machine;
mod ports;
mod programs;
mod store;

use crate::place::Place;
use crate::project::read_project;
use crate::settings::{load_with, settings_args};
use crate::{Cli, Surroundings};
use clap::{ArgMatches, Command};
use config::{ProjectFile, ServerSettings};
use finding::{Finding, State};
use module::{CliError, EXIT_FAILURE, Output, Table};

pub(crate) fn command() -> Command {
    settings_args(Command::new("doctor").about("Check this machine and say what to do"))
}

pub(crate) fn run(
    matches: &ArgMatches,
    cli: &Cli,
    place: &Place,
    surroundings: &Surroundings,
    output: &Output,
) -> Result<(), CliError> {
    let mut findings = Vec::new();
    let project = project_of(cli, place, &mut findings);
    let settings = settings_of(matches, place, project.as_ref(), surroundings, &mut findings);
    findings.extend(machine::look());
    findings.extend(limits::look());
    findings.extend(folders::look(place, &settings));
    findings.push(store::look(&settings));
    findings.extend(ports::look(place, &settings));
    findings.extend(programs::look(project.as_ref(), surroundings));
    show(&findings, output);
    if findings.iter().any(|finding| finding.state == State::Blocker) {
        // The table has said it all.
        return Err(CliError { exit: EXIT_FAILURE, ..CliError::failure("") });
    }
    Ok(())
}

fn project_of(cli: &Cli, place: &Place, findings: &mut Vec<Finding>) -> Option<ProjectFile> {
    match read_project(&place.project_dir, &cli.sections) {
        Ok(Some(project)) => {
            findings.push(Finding::fine("project file", format!("{} has no mistakes", project.name())));
            Some(project)
        }
        Ok(None) => {
            let found = format!("none in {}", place.project_dir.display());
            findings.push(Finding::note("project file", found).next("`switchyard init` writes one"));
            None
        }
        Err(error) => {
            let count = error.message.lines().next().unwrap_or_default().to_owned();
            findings
                .push(Finding::blocker("project file", count).next("`switchyard config check` tells each"));
            None
        }
    }
}

/// The settings in force; the defaults where those have mistakes.
fn settings_of(
    matches: &ArgMatches,
    place: &Place,
    project: Option<&ProjectFile>,
    surroundings: &Surroundings,
    findings: &mut Vec<Finding>,
) -> ServerSettings {
    match load_with(matches, &place.project_dir, project, surroundings) {
        Ok((settings, _)) => settings,
        Err(error) => {
            let told = error.message.lines().skip(1).collect::<Vec<_>>().join(" | ");
            findings.push(
                Finding::blocker("settings", told)
                    .next("correct them; the rest was checked with the defaults"),
            );
            ServerSettings::defaults(&place.project_dir)
        }
    }
}

fn show(findings: &[Finding], output: &Output) {
    if output.options().json {
        return output.json(&findings);
    }
    let mut table = Table::new(&["check", "state", "found"]);
    for finding in findings {
        table.row([finding.check, finding.state.word(), finding.found.as_str()]);
    }
    output.table(&table);
    let advised: Vec<&Finding> = findings.iter().filter(|finding| finding.next.is_some()).collect();
    if !advised.is_empty() {
        output.line("\nWhat to do:");
    }
    for finding in advised {
        output.line(format!("  {}: {}.", finding.check, finding.next.as_deref().unwrap_or_default()));
    }
    let blockers = findings.iter().filter(|finding| finding.state == State::Blocker).count();
    output.line(match blockers {
        0 => "\nNothing keeps Switchyard from running here.".to_owned(),
        1 => "\n1 thing keeps Switchyard from running here.".to_owned(),
        many => format!("\n{many} things keep Switchyard from running here."),
    });
}
