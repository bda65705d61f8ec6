//! `switchyard login` and `switchyard logout`.

use base::codes;
use clap::{ArgMatches, Command};
use module::{CliError, SavedSession, Session, Table, VerbFuture};
use serde_json::{Value, json};

use super::option;
use crate::api::TokensView;

pub(super) fn login() -> Command {
    Command::new("login")
        .about("Sign in as a person, and stay signed in for a month")
        .long_about(
            "Sign in as a person, and stay signed in for a month. The session is kept in a file of your own \
             (~/.config/switchyard/credentials.json) and used wherever no key is given. The password is asked for, or \
             read from standard input.",
        )
        .arg(option("email", "ADDRESS", "The mail address; asked for when it is not given"))
        .arg(option("code", "CODE", "A code of the second factor, or a recovery code"))
        .arg(option("tenant", "TENANT", "The tenant to act for, by slug or id, for who belongs to several"))
}

pub(super) fn logout() -> Command {
    Command::new("logout").about("Sign out: end the session and forget it")
}

pub(super) fn run_login(matches: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let base = session.client.base()?.to_owned();
        let given = |name: &str| matches.get_one::<String>(name).cloned();
        let email = match given("email") {
            Some(email) => email,
            None => session.ask("Mail address: ").map_err(|error| error.next("Give it with --email."))?,
        };
        let password = session
            .ask_secret("Password: ")
            .map_err(|error| error.next("Without a terminal it is read from standard input."))?;
        let mut body = json!({ "email": email, "password": password.expose() });
        for name in ["code", "tenant"] {
            if let Some(value) = given(name) {
                body[name] = value.into();
            }
        }
        let reply = enter(&session, body).await?;
        let saved = SavedSession::of_reply(&reply)
            .ok_or_else(|| CliError::failure("the answer of the installation is not that of a sign-in"))?;
        session.credentials.keep(&base, saved)?;
        let tokens: TokensView = serde_json::from_value(reply)
            .map_err(|error| CliError::failure(format!("the answer cannot be read: {error}")))?;
        if session.json_wanted() {
            // The tokens stand in the file; a program that wants them asks the API.
            session.json(&json!({
                "user": tokens.user,
                "tenant": tokens.tenant,
                "role": tokens.role,
                "tenants": tokens.tenants,
                "session": tokens.session,
            }));
            return Ok(());
        }
        session.output.table(&table(&tokens));
        if session.data_dir.join("operator.key").exists() {
            session.output.note(
                "An operator's key lies in this folder and goes first here; name the installation with --url elsewhere.",
            );
        }
        Ok(())
    })
}

/// Signs in, and asks for a code where one is needed and somebody is there to type it.
async fn enter(session: &Session, mut body: Value) -> Result<Value, CliError> {
    const LOGIN: &str = "/api/v1/auth/login";
    match session.client.post::<Value>(LOGIN, &body).await {
        Err(error) if error.is_code(&codes::CODE_NEEDED) && body.get("code").is_none() => {
            let code = session.ask("Code: ").map_err(|_| error.next("Give it with --code."))?;
            body["code"] = code.into();
            session.client.post(LOGIN, &body).await
        }
        Err(error) if error.is_code(&codes::SIGN_IN_FAILED) => Err(CliError {
            next: Some("Who forgot the password asks for a new one at the console.".to_owned()),
            ..error
        }),
        other => other,
    }
}

fn table(tokens: &TokensView) -> Table {
    let text = |value: Option<String>| value.unwrap_or_default();
    let own = tokens.tenants.iter().find(|one| Some(one.tenant) == tokens.tenant);
    let slug = own.and_then(|one| one.slug.as_ref()).map(ToString::to_string);
    Table::of_one([
        ("signed in as", tokens.user.email.to_string()),
        ("operator", if tokens.user.operator { "yes" } else { "no" }.to_owned()),
        ("tenant", text(slug.or_else(|| tokens.tenant.map(|id| id.to_string())))),
        ("role", text(tokens.role.as_ref().map(ToString::to_string))),
        ("tenants", tokens.tenants.len().to_string()),
    ])
}

pub(super) fn run_logout(_: ArgMatches, session: Session) -> VerbFuture {
    Box::pin(async move {
        let base = session.client.base()?.to_owned();
        let Some(saved) = session.credentials.read(&base) else {
            session.line("Nobody is signed in here.");
            return Ok(());
        };
        // The session ends first: a file that is gone would leave it going on unseen.
        let body = json!({ "refresh_token": saved.refresh_token });
        session.client.post::<Value>("/api/v1/auth/logout", &body).await?;
        session.credentials.forget(&base)?;
        session.line(format!("{} is signed out.", saved.email));
        Ok(())
    })
}
