//! `switchyard users`, `switchyard outbox` and `switchyard impersonate`.

use clap::{Arg, ArgAction, ArgMatches, Command};
use module::{CliError, Session, Table, VerbFuture, encode, when};
use serde_json::{Value, json};

use super::{option, text};
use crate::api::{ImpersonationView, LetterView, SessionView, UserView};

const USERS: &str = "/api/v1/users";

pub(super) fn users() -> Command {
    let who = || Arg::new("user").required(true).value_name("USER").help("The id (usr_…) or mail address");
    let project = || {
        Arg::new("project")
            .long("project")
            .action(ArgAction::SetTrue)
            .help("The people of the project's tenants, not the team that runs the installation")
    };
    Command::new("users")
        .about("People with an account: the team, and the people of tenants")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("List people").arg(project()))
        .subcommand(
            Command::new("invite")
                .about("Invite somebody to the team that runs the installation")
                .arg(Arg::new("email").required(true).value_name("ADDRESS").help("The mail address"))
                .arg(option("role", "ROLE", "owner, admin, developer or viewer").default_value("admin"))
                .arg(option("name", "NAME", "What people call them")),
        )
        .subcommand(Command::new("disable").about("Keep somebody from signing in").arg(who()).arg(project()))
        .subcommand(Command::new("enable").about("Let somebody sign in again").arg(who()).arg(project()))
        .subcommand(Command::new("remove").about("Remove an account").arg(who()).arg(project()))
        .subcommand(Command::new("sessions").about("List sessions of somebody").arg(who()).arg(project()))
        .subcommand(Command::new("sign-out").about("End all sessions of somebody").arg(who()).arg(project()))
}

pub(super) fn outbox() -> Command {
    Command::new("outbox")
        .about("Letters that would have been sent: invitations, new passwords")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("List letters, the newest first").arg(option(
            "to",
            "ADDRESS",
            "To this address",
        )))
        .subcommand(Command::new("show").about("Show the newest letter").arg(option(
            "to",
            "ADDRESS",
            "To this address",
        )))
}

pub(super) fn impersonate() -> Command {
    Command::new("impersonate")
        .about("Act as a tenant for a limited time, with a reason that the tenant sees")
        .arg(Arg::new("tenant").required(true).value_name("TENANT").help("The tenant's slug or id"))
        .arg(option("reason", "TEXT", "Why; the tenant reads it").required(true))
        .arg(option("ttl", "TIME", "How long, 1m to 1h; 15m by default"))
        .arg(option("role", "ROLE", "As what; viewer by default"))
}

pub(super) fn run_users(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let (action, arguments) = matches
            .subcommand()
            .ok_or_else(|| CliError::usage("say what to do").next("See `switchyard users --help`."))?;
        match action {
            "list" => {
                let all = listed(&session, arguments).await?;
                session.show(&all, |all| user_table(all));
            }
            "invite" => {
                let mut body =
                    json!({ "email": text(arguments, "email")?, "role": text(arguments, "role")? });
                if let Some(name) = arguments.get_one::<String>("name") {
                    body["name"] = name.as_str().into();
                }
                let made: UserView = session.client.post(USERS, &body).await?;
                session.show(&made, |made| user_table(std::slice::from_ref(made)));
            }
            "disable" | "enable" => {
                let user = found(&session, arguments).await?;
                let body = json!({ "disabled": action == "disable" });
                let user: UserView = session.client.patch(&format!("{USERS}/{}", user.id), &body).await?;
                session.show(&user, |user| user_table(std::slice::from_ref(user)));
            }
            "remove" => {
                let user = found(&session, arguments).await?;
                session.confirm(user.email.as_str())?;
                session.client.delete(&format!("{USERS}/{}", user.id)).await?;
                session.line(format!("{} has no account any more.", user.email));
            }
            "sign-out" => {
                let user = found(&session, arguments).await?;
                session.client.delete(&format!("{USERS}/{}/sessions", user.id)).await?;
                session.line(format!("{} is signed out everywhere.", user.email));
            }
            _ => {
                let user = found(&session, arguments).await?;
                let path = format!("{USERS}/{}/sessions", user.id);
                let page: Value = session.client.get(&path).await?;
                let all: Vec<SessionView> = read(&page["data"])?;
                session.show(&all, |all| session_table(all));
            }
        }
        Ok(())
    })
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, CliError> {
    T::deserialize(value).map_err(|error| CliError::failure(format!("the answer cannot be read: {error}")))
}

async fn listed(session: &Session, arguments: &ArgMatches) -> Result<Vec<UserView>, CliError> {
    let of = if arguments.get_flag("project") { "project" } else { "operators" };
    session.client.all(&format!("{USERS}?of={of}")).await
}

/// Somebody who was named by id or mail address.
async fn found(session: &Session, arguments: &ArgMatches) -> Result<UserView, CliError> {
    let name = text(arguments, "user")?;
    if !name.contains('@') {
        return session.client.get(&format!("{USERS}/{}", encode(name))).await;
    }
    let all = listed(session, arguments).await?;
    let found = all.into_iter().find(|user| user.email.key() == name.to_ascii_lowercase());
    found.ok_or_else(|| {
        CliError::failure(format!("{name} has no account"))
            .next("`switchyard users list` shows the team, with --project the people of tenants.")
    })
}

pub(super) fn run_outbox(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let (action, arguments) = matches
            .subcommand()
            .ok_or_else(|| CliError::usage("say what to do").next("See `switchyard outbox --help`."))?;
        let to = arguments.get_one::<String>("to").map(|to| format!("to={}", encode(to)));
        let query = to.map(|to| format!("?{to}")).unwrap_or_default();
        let path = format!("/api/v1/outbox{query}");
        if action == "list" {
            let all: Vec<LetterView> = session.client.all(&path).await?;
            session.show(&all, |all| letter_table(all));
            return Ok(());
        }
        let joint = if query.is_empty() { '?' } else { '&' };
        let page: Value = session.client.get(&format!("{path}{joint}limit=1")).await?;
        let letters: Vec<LetterView> = read(&page["data"])?;
        let letter = letters.first().ok_or_else(|| {
            CliError::failure("there is no such letter").next("`switchyard outbox list` shows all.")
        })?;
        if session.json_wanted() {
            session.json(letter);
        } else {
            session.line(format!("To: {}\nSubject: {}\n\n{}", letter.to, letter.subject, letter.text));
        }
        Ok(())
    })
}

pub(super) fn run_impersonate(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let mut body = json!({ "reason": text(&matches, "reason")? });
        for name in ["ttl", "role"] {
            if let Some(value) = matches.get_one::<String>(name) {
                body[name] = value.as_str().into();
            }
        }
        let path = format!("/api/v1/tenants/{}/impersonate", encode(text(&matches, "tenant")?));
        let made: ImpersonationView = session.client.post(&path, &body).await?;
        if session.json_wanted() {
            session.json(&made);
            return Ok(());
        }
        session.output.raw(&made.access_token);
        session.output.note(format!(
            "Good until {} as {}. The tenant sees who and why. Give it with --key.",
            when(made.expires_at),
            made.role
        ));
        Ok(())
    })
}

fn user_table(users: &[UserView]) -> Table {
    let mut table = Table::new(&["email", "name", "role", "state", "second factor", "since", "id"]);
    for user in users {
        let state = match (user.disabled, user.has_password) {
            (true, _) => "disabled",
            (false, true) => "active",
            (false, false) => "no password",
        };
        table.row([
            user.email.to_string(),
            user.name.clone(),
            user.role.as_ref().map(ToString::to_string).unwrap_or_default(),
            state.to_owned(),
            if user.mfa { "on" } else { "off" }.to_owned(),
            when(user.created_at),
            user.id.to_string(),
        ]);
    }
    table
}

fn session_table(sessions: &[SessionView]) -> Table {
    let mut table = Table::new(&["began", "last used", "ends", "how", "from", "with", "id"]);
    for one in sessions {
        table.row([
            when(one.created_at),
            when(one.used_at),
            when(one.expires_at),
            one.how.clone(),
            one.ip.clone().unwrap_or_default(),
            one.agent.clone().unwrap_or_default(),
            one.id.to_string(),
        ]);
    }
    table
}

fn letter_table(letters: &[LetterView]) -> Table {
    let mut table = Table::new(&["to", "kind", "subject", "written", "id"]);
    for letter in letters {
        table.row([
            letter.to.to_string(),
            letter.kind.clone(),
            letter.subject.clone(),
            when(letter.created_at),
            letter.id.to_string(),
        ]);
    }
    table
}
