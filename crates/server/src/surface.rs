//! `switchyard surface DIR` (hidden): writes what users can see of us into files, so that a change to it shows in review.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};
use module::{CliError, Session, Verb, VerbFuture};

use crate::capabilities;
use crate::error::failed;
use crate::platform::Platform;
use crate::roles::Roles;

/// The verb.
pub(crate) const VERB: Verb = Verb { name: "surface", command, run };

fn command() -> Command {
    Command::new("surface")
        .about("Write the snapshots of what users see into a folder")
        .hide(true)
        .arg(Arg::new("dir").required(true).value_parser(value_parser!(PathBuf)))
}

fn run(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let dir =
            matches.get_one::<PathBuf>("dir").cloned().ok_or_else(|| CliError::usage("name a folder"))?;
        // A platform of its own, on free ports and in an empty folder, as the routes are known only when it is built.
        let empty = tempfile::tempdir().map_err(|e| failed("make a folder", &e))?;
        let free = "127.0.0.1:0".parse().map_err(|e| failed("name a free port", &e))?;
        let sources = config::Sources { folder: empty.path().to_owned(), ..config::Sources::default() };
        let (mut settings, _) =
            config::ServerSettings::load(sources).map_err(|faults| CliError::usage(faults.to_string()))?;
        settings.data_dir = empty.path().join("data");
        (settings.gateway_addr, settings.control_addr, settings.service_addr) = (free, free, free);
        let platform = Platform::start(&settings, Roles::ALL, &session.output).await?;
        let document = platform.document();
        let files = [
            ("openapi.json", pretty(&document)),
            ("permissions.txt", permissions(&document)),
            ("cli-help.txt", help()),
            ("config-schema.json", pretty(&config::project_schema(&capabilities::sections()))),
            ("metrics.txt", metrics(&platform)),
            ("events.txt", events()),
        ];
        platform.stop().await?;
        for (name, text) in files {
            std::fs::write(dir.join(name), text).map_err(|e| failed("write a snapshot", &e))?;
            session.line(name);
        }
        Ok(())
    })
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

/// The matrix of permissions and roles, then each route with what it asks for.
fn permissions(document: &serde_json::Value) -> String {
    let mut text = authority::permissions::matrix();
    text.push('\n');
    let paths = document["paths"].as_object().into_iter().flatten();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let needs = match (operation["x-permission"].as_str(), operation["x-public"].as_str()) {
                (Some(permission), _) => permission.to_owned(),
                (None, Some(reason)) => format!("public: {reason}"),
                (None, None) => continue,
            };
            let _ = writeln!(text, "{:<7} {path:<55} {needs}", method.to_uppercase());
        }
    }
    text
}

/// The help of the command and of every command below it.
fn help() -> String {
    let mut text = String::new();
    describe(&mut crate::command(), "", &mut text);
    text
}

fn describe(command: &mut Command, parents: &str, text: &mut String) {
    let name = format!("{parents}{}", command.get_name());
    let _ = writeln!(text, "## {name}\n\n{}", command.render_long_help());
    let below: Vec<String> =
        command.get_subcommands().filter(|c| !c.is_hide_set()).map(|c| c.get_name().to_owned()).collect();
    for child in below.iter().filter(|child| *child != "help") {
        if let Some(child) = command.find_subcommand_mut(child) {
            describe(child, &format!("{name} "), text);
        }
    }
}

fn metrics(platform: &Platform) -> String {
    let mut lines: Vec<String> =
        platform.metrics().descriptions().iter().map(|metric| format!("{metric:?}")).collect();
    lines.sort();
    lines.join("\n") + "\n"
}

fn events() -> String {
    let all = capabilities::ALL.iter().flat_map(|manifest| manifest.events);
    let mut lines: Vec<String> = all.map(|event| format!("{:<28} {}", event.kind, event.doc)).collect();
    lines.sort();
    lines.join("\n") + "\n"
}
