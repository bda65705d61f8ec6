//! The verbs that open the store themselves, under its lock: `migrate` and `restore`.

use std::path::PathBuf;

use base::{SystemClock, SystemRandom};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use module::{CliError, Session, Verb, VerbFuture, when};

use crate::error::failed;
use crate::store::{self, MissingKey};

/// Brings the store to this version.
pub(crate) const MIGRATE: Verb = Verb { name: "migrate", command: migrate_command, run: migrate };
/// Brings a backup back.
pub(crate) const RESTORE: Verb = Verb { name: "restore", command: restore_command, run: restore };

fn migrate_command() -> Command {
    let command =
        Command::new("migrate").about("Bring the store to this version without starting the platform");
    cli::settings_args(command)
}

fn migrate(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let (settings, _) = cli::load_settings(&matches, &session.project_dir, None)?;
        let (clock, random) = (SystemClock::shared(), SystemRandom::shared());
        let progress = session.progress(None, "Migrating the store");
        let opened = store::open(&settings, &clock, &random).await;
        progress.finish();
        drop(opened?);
        session.line("The store is up to date.");
        if session.json_wanted() {
            session.json(&serde_json::json!({ "migrated": true }));
        }
        Ok(())
    })
}

fn restore_command() -> Command {
    let command = Command::new("restore")
        .about("Bring back a backup of the store; Switchyard must not run meanwhile")
        .long_about(
            "Bring back a backup of the store, made on SQLite or PostgreSQL, into the store that the settings name. \
             The store must be empty; with --force what an embedded store holds is moved aside first, not removed.",
        )
        .arg(Arg::new("file").value_name("FILE").required(true).value_parser(value_parser!(PathBuf)).help("The backup"))
        .arg(
            Arg::new("force")
                .long("force")
                .action(ArgAction::SetTrue)
                .help("Move the present embedded store aside and restore in its place"),
        );
    cli::settings_args(command)
}

fn restore(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let (settings, _) = cli::load_settings(&matches, &session.project_dir, None)?;
        let file = matches.get_one::<PathBuf>("file").cloned();
        let file = file.ok_or_else(|| CliError::usage("name the backup"))?;
        if !file.is_file() {
            return Err(CliError::usage(format!("there is no file {}", file.display()))
                .next("Backups are in `backups` of the data folder that they were made in."));
        }
        let force = matches.get_flag("force");
        if force {
            session.confirm("the present store")?;
        }
        let (clock, random) = (SystemClock::shared(), SystemRandom::shared());
        let options = store::options(&settings, &clock, &random, MissingKey::Refuse).await?;
        let progress = session.progress(None, "Restoring");
        let restored = backups::restore(&file, backups::RestoreOptions { store: options, force }).await;
        progress.finish();
        let report = restored.map_err(|e| failed("restore", &e))?;
        session.line(format!(
            "Restored {} rows of {} tables, as of {}.",
            report.rows,
            report.tables,
            when(report.made_at)
        ));
        if let Some(aside) = &report.replaced {
            session.line(format!("What was there before is in {}.", aside.display()));
        }
        session.line("`switchyard up` starts with it.");
        if session.json_wanted() {
            session.json(
                &serde_json::json!({ "restored": true, "rows": report.rows, "moved_aside": report.replaced }),
            );
        }
        Ok(())
    })
}
