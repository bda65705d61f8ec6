//! The command line as a user meets it.

mod configuration;
mod init;
mod line;
mod sections;

use clap::{Arg, ArgMatches, Command};
use cli::{Cli, Surroundings, execute};
use module::{CapturedOutput, CliError, Output, OutputOptions, Session, Verb, VerbFuture};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What a run gave.
struct Ran {
    exit: u8,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).expect("JSON")
    }
}

fn verbs() -> Vec<Verb> {
    fn tenants() -> Command {
        let list = Command::new("list").arg(Arg::new("limit").long("limit").value_name("N"));
        let create = Command::new("create");
        Command::new("tenants").about("Tenants").subcommand_required(true).subcommand(list).subcommand(create)
    }
    fn shown(matches: ArgMatches, session: Session) -> VerbFuture {
        Box::pin(async move {
            let limit = matches.subcommand().and_then(|(_, own)| own.get_one::<String>("limit").cloned());
            session.json(&json!({
                "limit": limit,
                "yes": session.yes,
                "project_dir": session.project_dir,
                "data_dir": session.data_dir,
                "base": session.client.base().ok(),
            }));
            Ok(())
        })
    }
    fn audit() -> Command {
        Command::new("audit")
    }
    fn failing(_: ArgMatches, session: Session) -> VerbFuture {
        Box::pin(async move {
            session.client.get::<Value>("/api/v1/tenants").await?;
            Err(CliError::failure("unreachable in the test"))
        })
    }
    fn rotate() -> Command {
        Command::new("exchange").arg(Arg::new("url").required(true)).arg(Arg::new("key").required(true))
    }
    fn rotated(matches: ArgMatches, session: Session) -> VerbFuture {
        Box::pin(async move {
            let url = matches.get_one::<String>("url");
            session.json(&json!({ "url": url, "base": session.client.base().ok() }));
            Ok(())
        })
    }
    vec![
        Verb { name: "exchange", command: rotate, run: rotated },
        Verb { name: "tenants", command: tenants, run: shown },
        Verb { name: "audit", command: audit, run: failing },
    ]
}

/// Runs a line in a folder with an environment.
fn run_in(folder: &Path, env: &[(&str, &str)], line: &[&str]) -> Ran {
    let cli = Cli { verbs: verbs(), sections: sections::sections(), version: "1.2.3" };
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let surroundings = Surroundings { env, folder: folder.to_owned(), terminal: false };
    let args: Vec<OsString> =
        std::iter::once("switchyard").chain(line.iter().copied()).map(OsString::from).collect();
    let captured: Arc<Mutex<Option<CapturedOutput>>> = Arc::default();
    let keep = Arc::clone(&captured);
    let exit = execute(args, &cli, &surroundings, move |options: OutputOptions| {
        let (output, captured) = Output::captured(options, "");
        *keep.lock().expect("one thread") = Some(captured);
        output
    });
    let captured = captured.lock().expect("one thread").clone().expect("an output was made");
    Ran { exit, out: captured.out(), err: captured.err() }
}

fn run(line: &[&str]) -> Ran {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run_in(folder.path(), &[], line)
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("writable");
    std::fs::write(path, text).expect("writable");
}
