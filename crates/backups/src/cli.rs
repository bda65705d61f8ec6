//! `switchyard backups`.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use module::{CliError, Session, Verb, VerbFuture, encode, when};
use serde_json::json;

use crate::model::{Backup, Status, VerificationState};

/// Between looks at a backup that is being made or verified.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The verbs of this capability.
#[must_use]
pub fn verbs() -> Vec<Verb> {
    vec![Verb { name: "backups", command, run }]
}

fn command() -> Command {
    let id = || Arg::new("id").value_name("BACKUP").required(true).help("The backup's id (bak_…)");
    let no_wait = || {
        Arg::new("no-wait")
            .long("no-wait")
            .action(ArgAction::SetTrue)
            .help("Return at once, and do not wait for the end")
    };
    Command::new("backups")
        .about("Make, list and verify backups of Switchyard's own store")
        .after_help("To restore one, stop Switchyard and run `switchyard restore FILE`.")
        .subcommand_required(true)
        .subcommand(Command::new("make").alias("create").about("Back up the store").arg(no_wait()))
        .subcommand(Command::new("list").about("List backups, the newest first"))
        .subcommand(Command::new("get").about("Show a backup, with its rows by table").arg(id()))
        .subcommand(
            Command::new("verify")
                .about("Prove that a backup can be restored, by restoring it into a scratch store")
                .arg(id().required(false).help("The backup's id [default: the newest complete one]"))
                .arg(no_wait()),
        )
        .subcommand(Command::new("remove").about("Remove a backup").arg(id()))
}

fn run(arguments: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let (verb, arguments) =
            arguments.subcommand().ok_or_else(|| CliError::usage("say what to do with backups"))?;
        let id = || arguments.get_one::<String>("id").map(|id| encode(id)).unwrap_or_default();
        match verb {
            "make" => make(&session, !arguments.get_flag("no-wait")).await,
            "get" => get(&session, &id()).await,
            "verify" => {
                let id = if arguments.contains_id("id") { id() } else { newest(&session).await? };
                verify(&session, &id, !arguments.get_flag("no-wait")).await
            }
            "remove" => remove(&session, &id()).await,
            _ => list(&session).await,
        }
    })
}

async fn make(session: &Session, wait: bool) -> Result<(), CliError> {
    let mut backup: Backup = session.client.post("/api/v1/backups", &json!({ "scope": "store" })).await?;
    if wait {
        let progress = session.progress(None, "Backing up the store");
        while matches!(backup.status, Status::Queued | Status::Running) {
            tokio::time::sleep(LOOK_EVERY).await;
            backup = session.client.get(&format!("/api/v1/backups/{}", backup.id)).await?;
        }
        drop(progress);
    }
    show(session, &backup);
    match backup.status {
        Status::Failed | Status::Unreadable => Err(CliError::failure(format!(
            "backup {} failed: {}",
            backup.id,
            backup.error.unwrap_or_default()
        ))
        .next("Earlier backups are as they were; see `switchyard backups list`.")),
        Status::Queued | Status::Running | Status::Complete => Ok(()),
    }
}

/// The id of the newest backup that is complete.
async fn newest(session: &Session) -> Result<String, CliError> {
    let backups: Vec<Backup> = session.client.all("/api/v1/backups").await?;
    let found = backups.iter().find(|backup| backup.status == Status::Complete);
    found.map(|backup| backup.id.to_string()).ok_or_else(|| {
        CliError::failure("there is no backup to verify").next("`switchyard backups make` makes one.")
    })
}

async fn verify(session: &Session, id: &str, wait: bool) -> Result<(), CliError> {
    let mut backup: Backup = session.client.post(&format!("/api/v1/backups/{id}/verify"), &()).await?;
    if wait {
        let progress = session.progress(None, "Restoring into a scratch store");
        while backup.verification.state == VerificationState::Running {
            tokio::time::sleep(LOOK_EVERY).await;
            backup = session.client.get(&format!("/api/v1/backups/{id}")).await?;
        }
        drop(progress);
    }
    show(session, &backup);
    if backup.verification.state == VerificationState::Failed {
        let why = backup.verification.error.unwrap_or_default();
        return Err(CliError::failure(format!("backup {} cannot be restored: {why}", backup.id))
            .next("Make a new one with `switchyard backups make`, and keep this file to look into it."));
    }
    Ok(())
}

async fn get(session: &Session, id: &str) -> Result<(), CliError> {
    let backup: Backup = session.client.get(&format!("/api/v1/backups/{id}")).await?;
    show(session, &backup);
    if !session.json_wanted() {
        session.table(
            &["table", "rows"],
            backup.tables.iter().map(|table| vec![table.table.clone(), table.rows.to_string()]),
        );
    }
    Ok(())
}

async fn list(session: &Session) -> Result<(), CliError> {
    let backups: Vec<Backup> = session.client.all("/api/v1/backups").await?;
    if session.json_wanted() {
        session.json(&backups);
    } else if backups.is_empty() {
        session.line("No backup yet: `switchyard backups make` makes one.");
    } else {
        table(session, &backups);
    }
    Ok(())
}

async fn remove(session: &Session, id: &str) -> Result<(), CliError> {
    session.confirm(id)?;
    session.client.delete(&format!("/api/v1/backups/{id}")).await?;
    session.line(format!("Backup {id} is removed."));
    Ok(())
}

fn show(session: &Session, backup: &Backup) {
    if session.json_wanted() {
        session.json(backup);
        return;
    }
    table(session, std::slice::from_ref(backup));
    if let Some(error) = &backup.error {
        session.line(telemetry::printable(error));
    }
}

fn table(session: &Session, backups: &[Backup]) {
    let rows = backups.iter().map(|backup| {
        vec![
            when(backup.created_at),
            word(&backup.status),
            backup.bytes.map(size).unwrap_or_default(),
            backup.rows.map(|rows| rows.to_string()).unwrap_or_default(),
            word(&backup.verification.state),
            backup.id.to_string(),
        ]
    });
    session.table(&["made", "status", "size", "rows", "restore", "id"], rows);
}

/// The word that the API uses.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(size(17), "17 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(5 << 40), "5120.0 GiB");
    }

    #[test]
    fn the_command_is_complete() {
        command().debug_assert();
        assert!(command().try_get_matches_from(["backups"]).is_err());
        assert!(command().try_get_matches_from(["backups", "verify", "bak_1", "--no-wait"]).is_ok());
        assert!(command().try_get_matches_from(["backups", "verify"]).is_ok());
        assert!(command().try_get_matches_from(["backups", "get"]).is_err());
    }
}
