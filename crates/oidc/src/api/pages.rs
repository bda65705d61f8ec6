//! The pages that people see.

use web::{Field, Form, Page};

use super::login::LOGIN;
use super::logout::CONFIRM;
use super::request::Request;
use crate::model::origin_of;

/// The page that asks for address and password.
/// `ways`: names and paths of issuers by which the person may sign in instead.
pub(crate) fn login(
    request: &Request,
    word: &str,
    (email, alert): (&str, Option<&str>),
    ways: &[(String, String)],
) -> Page {
    let page = Page::new(&format!("Sign in to {}", request.client.name));
    let page = alert.into_iter().fold(page, Page::alert);
    let form = carrying(request, word)
        .field(&Field {
            name: "email",
            label: "Email",
            kind: "email",
            autocomplete: "username",
            value: email,
            required: true,
            hint: "",
        })
        .field(&Field {
            name: "password",
            label: "Password",
            kind: "password",
            autocomplete: "current-password",
            value: "",
            required: true,
            hint: "",
        })
        .field(&Field {
            name: "otp",
            label: "Code",
            kind: "text",
            autocomplete: "one-time-code",
            value: "",
            required: false,
            hint: "Of your authenticator, or a recovery code, if you use a second factor.",
        })
        .button("Sign in");
    let page = page.form(&form).leads_to(&origin_of(&request.redirect_uri));
    ways.iter().fold(page, |page, (name, path)| page.way(path, &format!("Continue with {name}")))
}

/// The page that asks for which tenant. `tenants`: id and name.
pub(crate) fn choice(request: &Request, word: &str, tenants: &[(String, String)]) -> Page {
    let page = Page::new(&format!("Sign in to {}", request.client.name)).text("Choose where you want to go:");
    let form =
        tenants.iter().fold(carrying(request, word), |form, (id, name)| form.choice("tenant", id, name));
    page.form(&form).leads_to(&origin_of(&request.redirect_uri))
}

/// The page that asks whether the person means to sign out. `leads_to`: where they go then, may be empty.
pub(crate) fn confirm_logout(pairs: &[(&'static str, &str)], word: &str, leads_to: &str) -> Page {
    let form = pairs
        .iter()
        .fold(Form::to(CONFIRM).hidden("word", word), |form, (name, value)| form.hidden(name, value));
    Page::new("Sign out?").form(&form.button("Sign out")).leads_to(&origin_of(leads_to))
}

/// What a person reads who is signed out and goes nowhere.
pub(crate) fn signed_out() -> Page {
    Page::new("You are signed out").text("You can close this window.")
}

/// A form that carries the request along, so that nothing is kept here while a person thinks.
fn carrying(request: &Request, word: &str) -> Form {
    let form = Form::to(LOGIN).hidden("word", word);
    request.params.pairs().into_iter().fold(form, |form, (name, value)| form.hidden(name, value))
}
