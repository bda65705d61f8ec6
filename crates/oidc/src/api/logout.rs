//! Signing out, as clients ask for it (OpenID Connect RP-Initiated Logout 1.0).

use std::sync::Arc;

use authority::SystemCtx;
use base::{ClientId, SessionId, codes};
use ports::SignInError;
use schemars::JsonSchema;
use serde::Deserialize;
use web::{Call, Cookie, Problem, Reply, Routes, Spec, Surface};

use super::authorize::Word;
use super::person::{Hint, session_of_browser};
use super::request::with_query;
use super::{COOKIES, FORM_BYTES_MAX, FORM_COOKIE, Place, SESSION_COOKIE, State, pages};
use crate::ops::{clients, grants as op};

pub(crate) const LOGOUT: &str = "/oauth2/logout";
pub(crate) const CONFIRM: &str = "/oauth2/logout/confirm";

pub(crate) fn routes(state: &Arc<State>) -> Routes {
    let spec = |spec: Spec| spec.surface(Surface::Member).ignores_unknown().page();
    Routes::new("oidc")
        .route(
            spec(Spec::public(LOGOUT))
                .summary("Sign out, as a client asks")
                .details("With an id token of this very sign-in as `id_token_hint` at once; else the person is asked.")
                .cookies(COOKIES),
            Arc::clone(state),
            by_query,
        )
        .route(
            spec(Spec::public_post(LOGOUT))
                .summary("Sign out, as a client asks by a form")
                .details("Leads to the same by GET.")
                .success(303)
                .form()
                .body_max(FORM_BYTES_MAX),
            Arc::clone(state),
            by_form,
        )
        .route(
            spec(Spec::public_post(CONFIRM))
                .summary("Sign out, as the person confirms")
                .success(303)
                .form()
                .body_max(FORM_BYTES_MAX)
                .cookies(COOKIES),
            Arc::clone(state),
            confirmed,
        )
}

/// What a client asks.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
struct Params {
    /// An id token of the sign-in that is to end.
    #[serde(default)]
    id_token_hint: Option<String>,
    /// The client.
    #[serde(default)]
    client_id: Option<String>,
    /// Where to go then; one of those that are registered.
    #[serde(default)]
    post_logout_redirect_uri: Option<String>,
    /// Comes back as it is.
    #[serde(default)]
    state: Option<String>,
    /// The word of the page that asks.
    #[serde(default)]
    word: Option<String>,
}

impl Params {
    fn pairs(&self) -> Vec<(&'static str, &str)> {
        let Params { id_token_hint, client_id, post_logout_redirect_uri, state, word: _ } = self;
        let all = [
            ("id_token_hint", id_token_hint),
            ("client_id", client_id),
            ("post_logout_redirect_uri", post_logout_redirect_uri),
            ("state", state),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }
}

/// A request to sign out that is understood.
struct Asked {
    hint: Option<Hint>,
    /// Where to go then, with the client's state.
    next: Option<String>,
}

async fn by_form(_: Arc<State>, call: Call<Params>) -> Result<Reply<()>, Problem> {
    Ok(Reply::redirect(&with_query(LOGOUT, call.body.pairs().into_iter())))
}

async fn by_query(state: Arc<State>, call: Call<(), Params>) -> Result<Reply<()>, Problem> {
    let place = Place::of(&state, &call)?;
    let asked = understood(&state, &place, &call.query).await?;
    let cookie = call.request.cookies.get(SESSION_COOKIE);
    let session = session_of_browser(&state, &place, cookie).await?;
    let hinted = asked.hint.as_ref().and_then(|hint| hint.session);
    match session {
        Some(session) if hinted != Some(session) => {
            let word = Word::of(&state, call.request.cookies.get(FORM_COOKIE));
            let next = asked.next.as_deref().unwrap_or_default();
            Ok(word.keep(Reply::page(pages::confirm_logout(&call.query.pairs(), &word.shown(), next))))
        }
        session => {
            end(&state, session.or(hinted), cookie).await?;
            Ok(gone(asked.next))
        }
    }
}

async fn confirmed(state: Arc<State>, call: Call<Params>) -> Result<Reply<()>, Problem> {
    let place = Place::of(&state, &call)?;
    let asked = understood(&state, &place, &call.body).await?;
    let word = call.body.word.as_deref().unwrap_or_default();
    if !Word::is_borne(call.request.cookies.get(FORM_COOKIE), word) {
        return Err(Problem::new(&codes::FORBIDDEN).detail("The page was too old. Please try again."));
    }
    let cookie = call.request.cookies.get(SESSION_COOKIE);
    let session = session_of_browser(&state, &place, cookie).await?;
    end(&state, session, cookie).await?;
    Ok(gone(asked.next))
}

async fn understood(state: &State, place: &Place, params: &Params) -> Result<Asked, Problem> {
    let refused = |detail: &str| Problem::new(&codes::BAD_REQUEST).detail(detail);
    let hint =
        match params.id_token_hint.as_deref() {
            Some(token) => {
                let hint = Hint::read(state, place, token);
                Some(hint.ok_or_else(|| {
                    refused("The application shows an id token that is not of this provider.")
                })?)
            }
            None => None,
        };
    let of_hint = hint.as_ref().and_then(|hint| hint.audience.first());
    let named = match (&params.client_id, of_hint) {
        (Some(named), Some(of_hint)) if named != of_hint => {
            return Err(refused("The application shows an id token of another."));
        }
        (named, of_hint) => named.as_ref().or(of_hint),
    };
    let Some(uri) = &params.post_logout_redirect_uri else { return Ok(Asked { hint, next: None }) };
    let unknown = || refused("The application asks to go on at an address that is not registered for it.");
    let id = named.and_then(|id| ClientId::parse(id).ok()).ok_or_else(unknown)?;
    let (environment, ctx) = (place.environment, SystemCtx::because("find the client of a request"));
    let client = state.db.read_system(&ctx, move |tx| clients::find(tx, environment, id)).await?;
    let client = client.filter(|client| client.logout_uris.contains(uri)).ok_or_else(unknown)?;
    drop(client);
    let next = match &params.state {
        Some(state) => with_query(uri, [("state", state.as_str())].into_iter()),
        None => uri.clone(),
    };
    Ok(Asked { hint, next: Some(next) })
}

/// Ends a sign-in with all that clients got of it, and forgets the browser.
async fn end(state: &State, session: Option<SessionId>, cookie: Option<&str>) -> Result<(), Problem> {
    let (sources, cookie) = (state.sources.clone(), cookie.map(str::to_owned));
    let ctx = SystemCtx::because("a person signs out");
    let write = state.db.write_system(&ctx, move |tx| {
        if let Some(session) = session {
            op::end_of_session(tx, &sources, session)?;
        }
        cookie.as_deref().map_or(Ok(()), |cookie| op::forget_browser(tx, cookie))
    });
    write.await?;
    let Some(session) = session else { return Ok(()) };
    state.sign_in.end(session).await.map_err(|error| match error {
        SignInError::Unavailable => ports::Unavailable::new("sessions").into(),
        SignInError::Wrong | SignInError::CodeNeeded | SignInError::Slow(_) => Problem::internal(error),
    })
}

fn gone(next: Option<String>) -> Reply<()> {
    let reply = match next {
        Some(next) => Reply::redirect(&next),
        None => Reply::page(pages::signed_out()),
    };
    reply.cookie(&Cookie::gone(SESSION_COOKIE))
}
