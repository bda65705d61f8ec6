//! `switchyard clients`.

use clap::{Arg, ArgAction, ArgMatches, Command};
use module::{CliError, Session, Table, Verb, VerbFuture, encode, when};
use serde_json::{Map, Value, json};

use crate::api::{ClientView, NewClientView};
use crate::model::ClientKind;

const CLIENTS: &str = "/api/v1/clients";

/// The verbs of this capability.
#[must_use]
pub fn verbs() -> Vec<Verb> {
    vec![Verb { name: "clients", command, run }]
}

fn command() -> Command {
    let client = || Arg::new("client").required(true).value_name("CLIENT").help("Its id");
    Command::new("clients")
        .about("Applications whose users sign in by this installation (OpenID Connect)")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("List clients"))
        .subcommand(Command::new("get").about("Show a client").arg(client()))
        .subcommand(
            lists(Command::new("create").about("Register a client"))
                .arg(Arg::new("name").required(true).value_name("NAME").help("What people read at sign-in"))
                .arg(
                    Arg::new("public")
                        .long("public")
                        .action(ArgAction::SetTrue)
                        .help("It runs with the user and can keep no secret"),
                ),
        )
        .subcommand(
            lists(Command::new("update").about("Change a client"))
                .arg(client())
                .arg(Arg::new("name").long("name").value_name("NAME").help("Another name")),
        )
        .subcommand(Command::new("replace-secret").about("Give a client another secret").arg(client()))
        .subcommand(Command::new("remove").about("Remove a client").arg(client()))
}

fn lists(command: Command) -> Command {
    let list = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).action(ArgAction::Append).help(help)
    };
    command
        .arg(list("redirect", "URL", "Where it may be answered; may be given several times"))
        .arg(list("logout", "URL", "Where people may go after signing out; may be given several times"))
        .arg(list("scope", "SCOPE", "What it may ask for, such as openid; may be given several times"))
}

fn run(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        match matches.subcommand() {
            Some(("get", arguments)) => {
                let client: ClientView = session.client.get(&path(arguments)?).await?;
                session.show(&client, one);
            }
            Some(("create", arguments)) => {
                let mut body = body(arguments);
                let public = arguments.get_flag("public");
                let kind = if public { ClientKind::Public } else { ClientKind::Confidential };
                body.insert("kind".to_owned(), json!(kind));
                let made: NewClientView = session.client.post(CLIENTS, &Value::Object(body)).await?;
                show_secret(&session, &made);
            }
            Some(("update", arguments)) => {
                let body = Value::Object(body(arguments));
                let client: ClientView = session.client.patch(&path(arguments)?, &body).await?;
                session.show(&client, one);
            }
            Some(("replace-secret", arguments)) => {
                let path = format!("{}/secret", path(arguments)?);
                let made: NewClientView = session.client.post(&path, &json!({})).await?;
                show_secret(&session, &made);
            }
            Some(("remove", arguments)) => {
                let id = text(arguments, "client")?;
                session.confirm(id)?;
                session.client.delete(&path(arguments)?).await?;
                session.line(format!("Client {id} is removed."));
            }
            _ => {
                let clients: Vec<ClientView> = session.client.all(CLIENTS).await?;
                session.show(&clients, |clients| table(clients));
            }
        }
        Ok(())
    })
}

fn show_secret(session: &Session, made: &NewClientView) {
    session.show(made, |made| one(&made.about));
    if let Some(secret) = made.client_secret.as_ref().filter(|_| !session.json_wanted()) {
        session.line(format!("Secret (shown this once): {secret}"));
    }
}

fn body(arguments: &ArgMatches) -> Map<String, Value> {
    let mut body = Map::new();
    if let Ok(Some(name)) = arguments.try_get_one::<String>("name") {
        body.insert("name".to_owned(), json!(name));
    }
    for (argument, field) in
        [("redirect", "redirect_uris"), ("logout", "post_logout_redirect_uris"), ("scope", "scopes")]
    {
        if let Some(values) = arguments.get_many::<String>(argument) {
            body.insert(field.to_owned(), values.map(|value| json!(value)).collect());
        }
    }
    body
}

fn text<'a>(arguments: &'a ArgMatches, name: &str) -> Result<&'a String, CliError> {
    arguments.get_one::<String>(name).ok_or_else(|| CliError::usage(format!("{name} is missing")))
}

fn path(arguments: &ArgMatches) -> Result<String, CliError> {
    Ok(format!("{CLIENTS}/{}", encode(text(arguments, "client")?)))
}

fn one(client: &ClientView) -> Table {
    Table::of_one([
        ("id", client.id.to_string()),
        ("name", client.name.clone()),
        ("kind", client.kind.word().to_owned()),
        ("redirects", client.redirect_uris.join(" ")),
        ("logout", client.post_logout_redirect_uris.join(" ")),
        ("scopes", client.scopes.join(" ")),
        ("made", when(client.created_at)),
    ])
}

fn table(clients: &[ClientView]) -> Table {
    let mut table = Table::new(&["CLIENT", "NAME", "KIND", "REDIRECTS"]);
    for client in clients {
        let redirects = client.redirect_uris.join(" ");
        table.row(&[client.id.to_string(), client.name.clone(), client.kind.word().to_owned(), redirects]);
    }
    table
}
