//! The few pages that letters and the first start lead to: forms without script, for people without a console yet.
//!
//! Looking at a page uses nothing up: mail filters open links before people do.

use std::sync::Arc;

use base::{Email, Secret};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use web::{Call, Field, Form, Page, Problem, Reply, Routes, Spec, Surface};

use super::{State, entry, name_of};
use crate::error::Error;
use crate::model::{LinkKind, token};
use crate::people::Joining;

const ONCE: &str = "a link is good once";
const PASSWORD_HINT: &str = "At least 10 characters; four words make a good one.";

pub(super) fn routes(state: &Arc<State>) -> Routes {
    let show = |path, summary| Spec::public(path).summary(summary).page();
    let send =
        |path, summary| Spec::public_post(path).summary(summary).form().page().repeatable(ONCE).success(200);
    Routes::new("accounts")
        .route(show("/setup", "The form of the first owner"), Arc::clone(state), show_setup)
        .route(send("/setup", "Become the first owner by a form"), Arc::clone(state), send_setup)
        .route(
            show("/invitation", "The form of an invitation").surface(Surface::Both),
            Arc::clone(state),
            show_invitation,
        )
        .route(
            send("/invitation", "Accept an invitation by a form").surface(Surface::Both),
            Arc::clone(state),
            send_invitation,
        )
        .route(
            show("/reset", "The form of a new password").surface(Surface::Both),
            Arc::clone(state),
            show_reset,
        )
        .route(
            send("/reset", "Set a new password by a form").surface(Surface::Both),
            Arc::clone(state),
            send_reset,
        )
}

/// The token that a link carries.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LinkQuery {
    /// The token.
    #[serde(default)]
    #[schemars(length(max = 256))]
    token: String,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetupForm {
    /// The token of the link.
    #[schemars(length(max = 256))]
    token: String,
    /// The address.
    #[schemars(length(max = 320))]
    email: String,
    /// What people call them.
    #[schemars(length(max = 200))]
    name: String,
    /// A new password.
    #[schemars(length(max = 1_024))]
    password: String,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct InvitationForm {
    /// The token of the link.
    #[schemars(length(max = 256))]
    token: String,
    /// What people call them.
    #[serde(default)]
    #[schemars(length(max = 200))]
    name: String,
    /// A new password, or that of the account that there is.
    #[schemars(length(max = 1_024))]
    password: String,
    /// A code of the second factor.
    #[serde(default)]
    #[schemars(length(max = 64))]
    code: String,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ResetForm {
    /// The token of the link.
    #[schemars(length(max = 256))]
    token: String,
    /// A new password.
    #[schemars(length(max = 1_024))]
    password: String,
}

async fn show_setup(state: Arc<State>, call: Call<(), LinkQuery>) -> Result<Reply<()>, Problem> {
    let hash = token::link_hash(&call.query.token).ok_or(Error::LinkInvalid);
    let there = match hash {
        Ok(hash) => state.accounts.is_open(LinkKind::Setup, hash).await,
        Err(error) => Err(error),
    };
    match there {
        Ok(()) => Ok(Reply::page(setup_page(&call.query.token, ("", ""), None))),
        Err(Error::LinkInvalid) => Ok(setup_over()),
        Err(error) => over(error, "Welcome to Switchyard"),
    }
}

async fn send_setup(state: Arc<State>, call: Call<SetupForm>) -> Result<Reply<()>, Problem> {
    let SetupForm { token, email, name, password } = call.body;
    let typed = (email.clone(), name.clone());
    let entry = entry("setup link", &call.request);
    let joined = async {
        let detail = "a mail address such as ada@example.com is expected";
        let email = Email::parse(email.trim()).map_err(|_| Error::Invalid { pointer: "/email", detail })?;
        let (name, token) = (name_of(Some(name))?, token.clone());
        let joining = Joining { token, name, password: Secret::new(password), code: None, entry };
        let session = state.accounts.first_owner(email, joining).await?;
        // The form gives no tokens, so that nobody is left signed in by it.
        state.accounts.end_session(session.id, None).await
    };
    match joined.await {
        Ok(_) => Ok(Reply::page(
            Page::new("You own this installation")
                .text("Sign in on the command line with `switchyard login`.")
                .text("The link that brought you here works no more."),
        )),
        Err(Error::LinkInvalid) => Ok(setup_over()),
        Err(error) => again(error, |words| setup_page(&token, (&typed.0, &typed.1), Some(words))),
    }
}

async fn show_invitation(state: Arc<State>, call: Call<(), LinkQuery>) -> Result<Reply<()>, Problem> {
    match invitation(&state, &call.query.token, None).await {
        Ok(page) => Ok(Reply::page(page)),
        Err(error) => over(error, "Invitation"),
    }
}

async fn send_invitation(state: Arc<State>, call: Call<InvitationForm>) -> Result<Reply<()>, Problem> {
    let InvitationForm { token, name, password, code } = call.body;
    let entry = entry("invitation", &call.request);
    let joined = async {
        let code = Some(code.trim().to_owned()).filter(|code| !code.is_empty());
        let (name, token) = (name_of(Some(name))?, token.clone());
        let joining = Joining { token, name, password: Secret::new(password), code, entry };
        let (session, _) = state.accounts.accept(joining, None).await?;
        state.accounts.end_session(session.id, None).await
    };
    match joined.await {
        Ok(_) => Ok(Reply::page(
            Page::new("You are in")
                .text("You have accepted the invitation and can sign in with your password."),
        )),
        Err(error) => {
            let words = words(&error);
            match invitation(&state, &token, words.as_deref()).await {
                Ok(page) if words.is_some() => Ok(Reply::page(page).status(StatusCode::UNPROCESSABLE_ENTITY)),
                Ok(_) => Err(error.into()),
                Err(gone) => over(gone, "Invitation"),
            }
        }
    }
}

async fn show_reset(state: Arc<State>, call: Call<(), LinkQuery>) -> Result<Reply<()>, Problem> {
    let hash = token::link_hash(&call.query.token).ok_or(Error::LinkInvalid);
    let email = match hash {
        Ok(hash) => state.accounts.resettable(hash).await,
        Err(error) => Err(error),
    };
    match email {
        Ok(_) => Ok(Reply::page(reset_page(&call.query.token, None))),
        Err(error) => over(error, "Choose a new password"),
    }
}

async fn send_reset(state: Arc<State>, call: Call<ResetForm>) -> Result<Reply<()>, Problem> {
    let ResetForm { token, password } = call.body;
    match state.accounts.reset(&token, Secret::new(password)).await {
        Ok(()) => Ok(Reply::page(
            Page::new("Your password is changed").text("All sessions have ended; sign in with the new one."),
        )),
        Err(error) => again(error, |words| reset_page(&token, Some(words))),
    }
}

fn setup_page(token: &str, (email, name): (&str, &str), alert: Option<&str>) -> Page {
    let page =
        Page::new("Welcome to Switchyard").text("Make the account of the first owner of this installation.");
    let form = Form::to("/setup")
        .hidden("token", token)
        .field(&Field {
            name: "email",
            label: "Mail address",
            kind: "email",
            autocomplete: "username",
            value: email,
            required: true,
            hint: "",
        })
        .field(&Field {
            name: "name",
            label: "Name",
            kind: "text",
            autocomplete: "name",
            value: name,
            required: false,
            hint: "",
        })
        .field(&new_password())
        .button("Make the account");
    alerted(page, alert).form(&form)
}

/// The page of an invitation that is open.
async fn invitation(state: &State, token: &str, alert: Option<&str>) -> Result<Page, Error> {
    let hash = token::link_hash(token).ok_or(Error::LinkInvalid)?;
    let invited = state.accounts.invited(hash).await?;
    let page = Page::new("You are invited").text(&format!("This invitation is for {}.", invited.email));
    let known = invited.user.filter(|user| user.password.is_some());
    let form = Form::to("/invitation").hidden("token", token);
    let form = match known {
        Some(user) => {
            let form = form.field(&Field {
                name: "password",
                label: "Your password",
                kind: "password",
                autocomplete: "current-password",
                value: "",
                required: true,
                hint: "You have an account already.",
            });
            if user.factor.since.is_some() { form.field(&code_field()) } else { form }
        }
        None => form
            .field(&Field {
                name: "name",
                label: "Your name",
                kind: "text",
                autocomplete: "name",
                value: "",
                required: false,
                hint: "",
            })
            .field(&new_password()),
    };
    Ok(alerted(page, alert).form(&form.button("Accept")))
}

fn reset_page(token: &str, alert: Option<&str>) -> Page {
    let form = Form::to("/reset").hidden("token", token).field(&new_password()).button("Change it");
    alerted(Page::new("Choose a new password"), alert).form(&form)
}

fn new_password() -> Field<'static> {
    Field {
        name: "password",
        label: "A new password",
        kind: "password",
        autocomplete: "new-password",
        value: "",
        required: true,
        hint: PASSWORD_HINT,
    }
}

fn code_field() -> Field<'static> {
    Field {
        name: "code",
        label: "Code",
        kind: "text",
        autocomplete: "one-time-code",
        value: "",
        required: true,
        hint: "Of your authenticator, or a recovery code.",
    }
}

fn alerted(page: Page, alert: Option<&str>) -> Page {
    match alert {
        Some(words) => page.alert(words),
        None => page,
    }
}

/// The form once more, with what was wrong; a link that is over, or a fault of ours, has no form.
fn again(error: Error, form: impl FnOnce(&str) -> Page) -> Result<Reply<()>, Problem> {
    match words(&error) {
        Some(words) => Ok(Reply::page(form(&words)).status(StatusCode::UNPROCESSABLE_ENTITY)),
        None => over(error, "This link is over"),
    }
}

/// What a person is told who can do better; `None` where trying again does not help.
fn words(error: &Error) -> Option<String> {
    match error {
        Error::Invalid { pointer, detail } => Some(match *pointer {
            "/password" => format!("Password: {detail}."),
            "/email" => format!("Mail address: {detail}."),
            "/name" => format!("Name: {detail}."),
            _ => format!("Please: {detail}."),
        }),
        Error::Wrong => Some("The password or the code is wrong.".to_owned()),
        Error::CodeNeeded => Some("A code of your second factor is needed.".to_owned()),
        Error::Slow(wait) => Some(format!("Too many tries; again in {} s.", wait.as_secs() + 1)),
        Error::Busy => Some("Too much is going on; try again in a moment.".to_owned()),
        _ => None,
    }
}

/// A setup link that is over: who runs the installation has the next one in the terminal.
fn setup_over() -> Reply<()> {
    let page = Page::new("Welcome to Switchyard")
        .alert("This link was used or is too old.")
        .text("While nobody owns this installation, each start of Switchyard prints a new link. Who has an account signs in with `switchyard login`.");
    Reply::page(page).status(StatusCode::GONE)
}

fn over(error: Error, title: &str) -> Result<Reply<()>, Problem> {
    match error {
        Error::LinkInvalid => Ok(Reply::page(
            Page::new(title).alert("This link was used, is too old, or was withdrawn. Ask for another one."),
        )
        .status(StatusCode::GONE)),
        other => Err(other.into()),
    }
}
