//! `switchyard issuers`.

use clap::{Arg, ArgAction, ArgMatches, Command};
use module::{CliError, Session, Table, Verb, VerbFuture, encode, text};
use serde_json::{Map, Value, json};

use crate::api::IssuerView;

/// The verbs of this capability.
#[must_use]
pub fn verbs() -> Vec<Verb> {
    vec![Verb { name: "issuers", command, run }]
}

fn command() -> Command {
    let issuer = || Arg::new("issuer").required(true).value_name("ISSUER").help("Its name");
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let several = |name: &'static str, value: &'static str, help: &'static str| {
        option(name, value, help).action(ArgAction::Append)
    };
    Command::new("issuers")
        .about("Issuers of tokens that the project trusts, such as Clerk or Auth0")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("List issuers, with how their keys are"))
        .subcommand(Command::new("get").about("Show an issuer").arg(issuer()))
        .subcommand(
            Command::new("trust")
                .about("Trust an issuer")
                .arg(issuer())
                .arg(option("iss", "URL", "Its address, as tokens name it (iss)").required(true))
                .arg(option("preset", "PRESET", "generic, clerk or auth0").default_value("generic"))
                .arg(several("audience", "AUDIENCE", "For whom its tokens are; may be repeated"))
                .arg(several("party", "ORIGIN", "Who may have asked for them (azp); may be repeated"))
                .arg(several("algorithm", "ALG", "RS256 when nothing is said; may be repeated"))
                .arg(option("client-id", "ID", "As whom people are sent to it to sign in"))
                .arg(option("tenant", "PATH", "The claim that names the tenant, such as o.slg"))
                .arg(option("tenant-by", "BY", "slug, id or external"))
                .arg(option("role", "PATH", "The claim with the word for the role"))
                .arg(several("map", "WORD=ROLE", "What a word for a role means; may be repeated")),
        )
        .subcommand(
            Command::new("secret")
                .about("Set the secret for sign-in, read from the variable ISSUER_CLIENT_SECRET")
                .arg(issuer()),
        )
        .subcommand(Command::new("refresh").about("Fetch an issuer's keys now").arg(issuer()))
        .subcommand(Command::new("remove").about("Trust an issuer no longer").arg(issuer()))
}

fn run(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        match matches.subcommand() {
            Some(("get", arguments)) => {
                let issuer: IssuerView = session.client.get(&path(arguments, "")?).await?;
                show(&session, &issuer);
            }
            Some(("trust", arguments)) => {
                let issuer: IssuerView = session.client.post("/api/v1/issuers", &wanted(arguments)?).await?;
                show(&session, &issuer);
            }
            Some(("secret", arguments)) => {
                let secret = std::env::var("ISSUER_CLIENT_SECRET").map_err(|_| {
                    CliError::usage("ISSUER_CLIENT_SECRET is not set").next(
                        "put the secret into it; as an argument it would stand in the list of processes",
                    )
                })?;
                let body = json!({ "client_secret": secret });
                let issuer: IssuerView = session.client.put(&path(arguments, "/secret")?, &body).await?;
                show(&session, &issuer);
            }
            Some(("refresh", arguments)) => {
                let issuer: IssuerView =
                    session.client.post(&path(arguments, "/refresh")?, &json!({})).await?;
                show(&session, &issuer);
            }
            Some(("remove", arguments)) => {
                let name = text(arguments, "issuer")?;
                session.confirm(name)?;
                session.client.delete(&path(arguments, "")?).await?;
                session.line(format!("Issuer {name} is trusted no longer."));
            }
            _ => {
                let issuers: Vec<IssuerView> = session.client.all("/api/v1/issuers").await?;
                session.show(&issuers, |issuers| table(issuers));
            }
        }
        Ok(())
    })
}

/// The body that trusts an issuer as the options say.
fn wanted(arguments: &ArgMatches) -> Result<Value, CliError> {
    let mut body = Map::new();
    body.insert("name".into(), text(arguments, "issuer")?.into());
    for (option, field) in [("iss", "url"), ("preset", "preset"), ("client-id", "client_id")] {
        if let Some(value) = arguments.get_one::<String>(option) {
            body.insert(field.into(), value.as_str().into());
        }
    }
    let lists = [("audience", "audiences"), ("party", "authorized_parties"), ("algorithm", "algorithms")];
    for (option, field) in lists {
        let values: Vec<&String> = arguments.get_many(option).into_iter().flatten().collect();
        if !values.is_empty() {
            body.insert(field.into(), json!(values));
        }
    }
    let mut claims = Map::new();
    for (option, field) in [("tenant", "tenant"), ("tenant-by", "tenant_by"), ("role", "role")] {
        if let Some(value) = arguments.get_one::<String>(option) {
            claims.insert(field.into(), value.as_str().into());
        }
    }
    if !claims.is_empty() {
        body.insert("claims".into(), Value::Object(claims));
    }
    let mut roles = Map::new();
    for pair in arguments.get_many::<String>("map").into_iter().flatten() {
        let (word, role) = pair
            .split_once('=')
            .ok_or_else(|| CliError::usage(format!("`{pair}` is not of the form WORD=ROLE")))?;
        roles.insert(word.to_owned(), role.into());
    }
    if !roles.is_empty() {
        body.insert("roles".into(), Value::Object(roles));
    }
    Ok(Value::Object(body))
}

fn show(session: &Session, issuer: &IssuerView) {
    session.show(issuer, |issuer| table(std::slice::from_ref(issuer)));
}

fn path(arguments: &ArgMatches, rest: &str) -> Result<String, CliError> {
    Ok(format!("/api/v1/issuers/{}{rest}", encode(text(arguments, "issuer")?)))
}

fn table(issuers: &[IssuerView]) -> Table {
    let mut table =
        Table::new(&["issuer", "url", "audiences", "sign-in", "keys", "age", "managed by", "error"]);
    for one in issuers {
        table.row([
            one.name.to_string(),
            one.definition.url.clone(),
            one.definition.audiences.join(" "),
            if one.definition.client_id.is_some() { "yes" } else { "no" }.to_owned(),
            one.keys.count.to_string(),
            one.keys.age_s.map_or_else(|| "-".to_owned(), |age| format!("{age} s")),
            one.managed_by.word().to_owned(),
            one.keys.error.clone().unwrap_or_default(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn options_make_a_definition() {
        let words =
            "issuers trust clerk --iss https://c.example --preset clerk --map boss=owner --tenant org";
        let matches = command().get_matches_from(words.split(' '));
        let (_, arguments) = matches.subcommand().expect("a verb");
        assert_eq!(
            wanted(arguments).expect("a body"),
            json!({
                "name": "clerk", "url": "https://c.example", "preset": "clerk",
                "claims": { "tenant": "org" }, "roles": { "boss": "owner" },
            })
        );
    }
}
