//! The tree of commands.

use crate::{Cli, completion, config_verb, doctor, init, open};
use clap::{Arg, ArgAction, Command, value_parser};
use std::path::PathBuf;

/// Identifiers of the flags that every command takes.
pub(crate) const JSON: &str = "json";
pub(crate) const YES: &str = "yes";
pub(crate) const PROJECT_DIR: &str = "project-dir";
pub(crate) const DATA_DIR: &str = "data-dir";
// Not "url" and "key": commands have arguments of these names, and arguments of one name share their value.
pub(crate) const URL: &str = "control-url";
pub(crate) const KEY: &str = "control-key";

/// The order of commands in the help: first what is used first. Others follow by name.
const ORDER: [&str; 19] = [
    "init",
    "up",
    "down",
    "status",
    "open",
    "logs",
    "tenants",
    "members",
    "keys",
    "plans",
    "deployments",
    "services",
    "environment",
    "route",
    "audit",
    "backups",
    "restore",
    "config",
    "doctor",
];

/// Names that people try for each other. Where a group has one of a pair, the other leads there as well.
const ALSO: [(&str, &str); 2] = [("get", "show"), ("delete", "remove")];
/// Commands that are no plural although they end like one.
const NO_PLURAL: [&str; 1] = ["status"];

/// The whole tree, as help, completion and the snapshot of the surface see it.
pub fn command(cli: &Cli) -> Command {
    let own =
        [init::command(), config_verb::command(), doctor::command(), completion::command(), open::command()];
    let theirs = cli.verbs.iter().map(|verb| (verb.command)());
    let mut commands: Vec<Command> = own.into_iter().chain(theirs).collect();
    commands.sort_by_key(|command| (place_of(command.get_name()), command.get_name().to_owned()));
    let ordered = commands.into_iter().enumerate().map(|(index, command)| {
        let other = other_number(&command);
        with_also(command.display_order(index)).aliases(other)
    });
    Command::new("switchyard")
        .bin_name("switchyard")
        .about("Puts a multi-tenant app into production: one binary, one command.")
        .version(cli.version)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(false)
        .args(global_args())
        .subcommands(ordered)
}

/// The singular of a plural, and the plural of a group: both lead to the command, the help shows one.
fn other_number(command: &Command) -> Option<String> {
    let name = command.get_name();
    match name.strip_suffix('s') {
        Some(one) => (!NO_PLURAL.contains(&name)).then(|| one.to_owned()),
        None => command.has_subcommands().then(|| format!("{name}s")),
    }
}

/// The same command, whose parts answer to the words of [`ALSO`] too.
fn with_also(command: Command) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|part| part.get_name().to_owned()).collect();
    let has = |name: &str| names.iter().any(|known| known == name);
    let mut command = command;
    for name in &names {
        let pairs = ALSO.iter().flat_map(|&(one, other)| [(one, other), (other, one)]);
        let also = pairs.filter(|(ours, theirs)| ours == name && !has(theirs)).map(|(_, theirs)| theirs);
        let also: Vec<&str> = also.collect();
        command = command.mut_subcommand(name, |part| with_also(part).aliases(also));
    }
    command
}

fn place_of(name: &str) -> usize {
    ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len())
}

fn global_args() -> Vec<Arg> {
    let global = |arg: Arg| arg.global(true).help_heading("Everywhere").display_order(900);
    vec![
        global(Arg::new(JSON).long("json").action(ArgAction::SetTrue).help("JSON for programs instead of tables")),
        global(Arg::new(YES).long("yes").short('y').action(ArgAction::SetTrue).help("Do not ask before destroying")),
        global(
            Arg::new(PROJECT_DIR)
                .long("project-dir")
                .short('C')
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("The folder of switchyard.toml [default: the nearest one upwards]"),
        ),
        global(
            Arg::new(DATA_DIR)
                .long("data-dir")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("Where an installation keeps its data [default: .switchyard beside switchyard.toml]"),
        ),
        global(
            Arg::new(URL)
                .long("url")
                .value_name("URL")
                .help("The control API of an installation [default: SWITCHYARD_URL, else the one that runs here]"),
        ),
        global(
            Arg::new(KEY)
                .long("key")
                .value_name("KEY")
                .help("The key to use; other users can see it [default: SWITCHYARD_API_KEY, else the operator key here]"),
        ),
    ]
}
