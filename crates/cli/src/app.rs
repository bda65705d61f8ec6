//! One run of the command line.

use crate::place::Place;
use crate::{completion, config_verb, doctor, init, open, tree, usage};
use base::SystemClock;
use clap::ArgMatches;
use config::SectionSchema;
use module::{CliError, Credentials, EXIT_FAILURE, Output, OutputOptions, Session, Verb};
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

/// What the command line is made of, beside its own verbs.
pub struct Cli {
    /// The verbs of the capabilities and of the server.
    pub verbs: Vec<Verb>,
    /// The sections that the project file may have.
    pub sections: Vec<SectionSchema>,
    /// The version that `--version` prints.
    pub version: &'static str,
}

/// What a run takes from its process.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Environment variables. Names and values that are not UTF-8 are left out.
    pub env: Vec<(String, String)>,
    /// The current folder.
    pub folder: PathBuf,
    /// Whether standard input and output are a terminal.
    pub terminal: bool,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self {
            env: env.collect(),
            folder: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            terminal: std::io::stdin().is_terminal() && std::io::stdout().is_terminal(),
        }
    }

    /// The value of an environment variable; an empty one counts as not set.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let found = self.env.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn color(&self) -> bool {
        self.terminal && self.variable("NO_COLOR").is_none() && self.variable("TERM") != Some("dumb")
    }
}

/// Runs the command line of this process. `args` begin with the name of the binary.
pub fn run(args: impl IntoIterator<Item = OsString>, cli: &Cli) -> ExitCode {
    ExitCode::from(execute(args, cli, &Surroundings::of_process(), Output::standard))
}

/// The same with everything given, for tests; returns the exit code. `output` makes the output once it is known how it
/// is to look.
pub fn execute(
    args: impl IntoIterator<Item = OsString>,
    cli: &Cli,
    surroundings: &Surroundings,
    output: impl Fn(OutputOptions) -> Output,
) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    let options =
        |json: bool| OutputOptions { json, color: surroundings.color(), tty: surroundings.terminal };
    let matches = match tree::command(cli).try_get_matches_from(&args) {
        Ok(matches) => matches,
        Err(error) => {
            let json = args.iter().any(|arg| arg == "--json");
            return usage::answer(&error, &args, &tree::command(cli), &output(options(json)));
        }
    };
    let output = output(options(innermost(&matches).get_flag(tree::JSON)));
    match dispatch(&matches, cli, surroundings, &output) {
        Ok(()) => 0,
        Err(error) => {
            // A verb that has shown all there is to show fails without words.
            if !error.message.is_empty() {
                output.error(&error);
            }
            error.exit
        }
    }
}

/// The arguments of the command that was named last: flags that every command takes are complete there alone, wherever
/// on the line they stood.
fn innermost(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, own)| innermost(own))
}

fn dispatch(
    matches: &ArgMatches,
    cli: &Cli,
    surroundings: &Surroundings,
    output: &Output,
) -> Result<(), CliError> {
    let Some((name, own)) = matches.subcommand() else {
        return Err(CliError::usage("a command is needed").next("`switchyard help` lists them."));
    };
    let place = Place::find(innermost(matches), surroundings);
    let folder = Credentials::folder(|name| surroundings.variable(name).map(str::to_owned));
    let credentials = Credentials::new(folder, SystemClock::shared());
    let session = |client| Session {
        client,
        output: output.clone(),
        yes: innermost(matches).get_flag(tree::YES),
        project_dir: place.project_dir.clone(),
        data_dir: place.data_dir.clone(),
        credentials: credentials.clone(),
    };
    match name {
        "init" => init::run(own, cli, surroundings, output),
        "config" => config_verb::run(own, cli, &place, surroundings, output),
        "doctor" => doctor::run(own, cli, &place, surroundings, output),
        "completion" => completion::run(own, cli, output),
        "open" => open::run(own, &place, output),
        _ => {
            let verb = cli.verbs.iter().find(|verb| verb.name == name);
            let verb =
                verb.ok_or_else(|| CliError::failure(format!("the command `{name}` has nothing to run")))?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            let runtime = runtime.map_err(|error| no_runtime(&error))?;
            // A verb uses the client within the runtime, so the client is made there.
            runtime.block_on(async {
                let client = place.signed_in(&credentials).await;
                (verb.run)(own.clone(), session(client)).await
            })
        }
    }
}

fn no_runtime(error: &std::io::Error) -> CliError {
    let error = CliError::failure(format!("the system gives no threads: {error}"));
    CliError { exit: EXIT_FAILURE, ..error }
        .next("Look at `ulimit -u` and `ulimit -n`, or run `switchyard doctor`.")
}
