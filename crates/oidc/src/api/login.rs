//! The form of the sign-in page, and of the choice of a tenant.

use std::sync::Arc;
use std::time::Duration;

use authority::SystemCtx;
use base::{Email, Secret};
use http::{StatusCode, header};
use ports::{Credentials, SignInError, SignedIn};
use schemars::JsonSchema;
use serde::Deserialize;
use web::{Call, Cookie, Problem, Reply, Routes, Spec, Surface};

use super::authorize::{Word, back, conclude, understood, ways};
use super::request::{Params, Refused, Request};
use super::{COOKIES, FORM_BYTES_MAX, FORM_COOKIE, Place, SESSION_COOKIE, State, pages, person};
use crate::ops::grants as op;

pub(crate) const LOGIN: &str = "/oauth2/login";

const WRONG: &str = "Address, password or code are wrong.";
const CODE: &str = "Enter the code of your authenticator, and your password again.";
const OLD: &str = "The page was too old. Please try again.";

pub(crate) fn routes(state: &Arc<State>) -> Routes {
    Routes::new("oidc").route(
        Spec::public_post(LOGIN)
            .surface(Surface::Member)
            .summary("Sign in at the provider's page")
            .details("The form of the page that `/oauth2/authorize` shows; not for programs.")
            .success(303)
            .form()
            .body_max(FORM_BYTES_MAX)
            .ignores_unknown()
            .page()
            .cookies(COOKIES),
        Arc::clone(state),
        login,
    )
}

/// The form: the request for authorization, and what the person typed or chose.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
struct Typed {
    #[serde(flatten)]
    request: Params,
    /// The word of the page.
    #[serde(default)]
    word: String,
    /// The address.
    #[serde(default)]
    email: Option<String>,
    /// The password.
    #[serde(default)]
    password: Option<Password>,
    /// A code of the second factor.
    #[serde(default)]
    otp: Option<String>,
}

/// A password on its way to be checked; never printed.
#[derive(Clone, Deserialize, JsonSchema)]
struct Password(String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

async fn login(state: Arc<State>, call: Call<Typed>) -> Result<Reply<()>, Problem> {
    let place = Place::of(&state, &call)?;
    let request = match understood(&state, &place, call.body.request.clone()).await {
        Ok(request) => request,
        Err(Refused::Person(problem)) => return Err(problem),
        Err(Refused::Client(answer)) => return Ok(back(&answer, &place)),
    };
    let cookie = call.request.cookies.get(FORM_COOKIE);
    let word = Word::of(&state, cookie);
    if !Word::is_borne(cookie, &call.body.word) {
        return Ok(again(&state, &place, (&request, &word), &call, (StatusCode::FORBIDDEN, OLD)));
    }
    match (&call.body.email, &call.body.password) {
        (Some(email), Some(password)) => {
            let who = match proven(&state, &place, &call, (email, password)).await {
                Ok(who) => who,
                Err(SignInError::Unavailable) => return Err(ports::Unavailable::new("sign-in").into()),
                Err(error) => return Ok(refused(&state, &place, (&request, &word), &call, &error)),
            };
            let cookie = remember(&state, &place, &who, call.request.cookies.get(SESSION_COOKIE)).await?;
            let reply = conclude(&state, &place, &request, &who, &word).await?;
            Ok(reply.cookie(&Cookie::new(SESSION_COOKIE, cookie)))
        }
        _ => chosen(&state, &place, &call, &request, &word).await,
    }
}

/// A person who is signed in has chosen a tenant.
async fn chosen(
    state: &State,
    place: &Place,
    call: &Call<Typed>,
    request: &Request,
    word: &Word,
) -> Result<Reply<()>, Problem> {
    let now = state.sources.clock.now();
    let who = person::of_browser(state, place, call).await?;
    match who.filter(|who| person::is_meant_still(state, place, request, who, now)) {
        Some(who) if call.body.request.tenant.is_some() => conclude(state, place, request, &who, word).await,
        Some(_) | None => Ok(again(state, place, (request, word), call, (StatusCode::UNAUTHORIZED, WRONG))),
    }
}

async fn proven(
    state: &State,
    place: &Place,
    call: &Call<Typed>,
    (email, password): (&str, &Password),
) -> Result<SignedIn, SignInError> {
    let email = Email::parse(email.trim()).map_err(|_| SignInError::Wrong)?;
    let credentials = Credentials {
        email,
        password: Secret::new(password.0.clone()),
        code: call.body.otp.as_deref().map(|code| code.trim().to_owned()),
        ip: call.request.peer,
        agent: call.request.agent.clone(),
    };
    state.sign_in.password(place.project, credentials).await
}

/// A new cookie, whatever the browser had: whoever planted one in it gains nothing (TORTURE A18).
async fn remember(
    state: &State,
    place: &Place,
    who: &SignedIn,
    old: Option<&str>,
) -> Result<String, Problem> {
    let (sources, environment, session) = (state.sources.clone(), place.environment, who.session);
    let old = old.map(str::to_owned);
    let ctx = SystemCtx::because("remember the browser of a person who signed in");
    let write = state.db.write_system(&ctx, move |tx| {
        op::remember_browser(tx, &sources, environment, session, old.as_deref())
    });
    Ok(write.await?)
}

fn refused(
    state: &State,
    place: &Place,
    of: (&Request, &Word),
    call: &Call<Typed>,
    error: &SignInError,
) -> Reply<()> {
    match error {
        SignInError::CodeNeeded => again(state, place, of, call, (StatusCode::UNAUTHORIZED, CODE)),
        SignInError::Slow(seconds) => {
            let wait = Duration::from_secs(*seconds);
            let words = format!("Too many tries. Please wait {} seconds.", wait.as_secs().max(1));
            again(state, place, of, call, (StatusCode::TOO_MANY_REQUESTS, &words))
                .header(header::RETRY_AFTER, &wait.as_secs().max(1).to_string())
        }
        SignInError::Wrong | SignInError::Unavailable => {
            again(state, place, of, call, (StatusCode::UNAUTHORIZED, WRONG))
        }
    }
}

/// The page once more.
fn again(
    state: &State,
    place: &Place,
    (request, word): (&Request, &Word),
    call: &Call<Typed>,
    (status, alert): (StatusCode, &str),
) -> Reply<()> {
    let email = call.body.email.as_deref().unwrap_or(&request.login_hint);
    let ways = ways(state, place, request);
    word.keep(Reply::page(pages::login(request, &word.shown(), (email, Some(alert)), &ways)).status(status))
}
