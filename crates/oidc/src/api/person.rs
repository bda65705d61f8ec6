//! Who sits at the browser, and whether that is who the client means.

use authority::SystemCtx;
use base::{SessionId, Timestamp};
use ports::{SignInError, SignedIn};
use tokens::{Algorithm, KeySet, Unverified};
use web::{Call, Problem};

use super::request::Request;
use super::{Place, SESSION_COOKIE, State};
use crate::model::CHOICE_TIME;
use crate::ops::grants as op;

/// The person who is signed in in this browser, if anybody is.
pub(crate) async fn of_browser<B, Q>(
    state: &State,
    place: &Place,
    call: &Call<B, Q>,
) -> Result<Option<SignedIn>, Problem> {
    match session_of_browser(state, place, call.request.cookies.get(SESSION_COOKIE)).await? {
        Some(session) => now(state, session).await,
        None => Ok(None),
    }
}

/// The session that a browser's cookie stands for, whether or not it has ended.
pub(crate) async fn session_of_browser(
    state: &State,
    place: &Place,
    cookie: Option<&str>,
) -> Result<Option<SessionId>, Problem> {
    let Some(cookie) = cookie.map(str::to_owned) else { return Ok(None) };
    let (environment, now) = (place.environment, state.sources.clock.now());
    let ctx = SystemCtx::because("find the session of a browser's cookie");
    let read = state.db.read_system(&ctx, move |tx| op::browser(tx, environment, &cookie, now));
    Ok(read.await?)
}

/// A session as it is now; `None` when it has ended.
pub(crate) async fn now(state: &State, session: SessionId) -> Result<Option<SignedIn>, Problem> {
    state.sign_in.session(session).await.map_err(|error| match error {
        SignInError::Unavailable => ports::Unavailable::new("sessions").into(),
        SignInError::Wrong | SignInError::CodeNeeded | SignInError::Slow(_) => Problem::internal(error),
    })
}

/// What an id token of ours says of whom it is for. It may be over: it is a hint, no credential.
pub(crate) struct Hint {
    pub(crate) subject: String,
    pub(crate) session: Option<SessionId>,
    pub(crate) audience: Vec<String>,
}

impl Hint {
    /// Reads an id token; `None` for what this provider did not sign.
    pub(crate) fn read(state: &State, place: &Place, token: &str) -> Option<Hint> {
        let unverified = Unverified::parse(token).ok()?;
        let keys = serde_json::to_vec(&state.signer.public_keys()).ok()?;
        let keys = KeySet::parse(&keys).ok()?;
        let key = keys.find(Some(unverified.kid()?), Algorithm::Es256)?;
        let verified = unverified.verify(key, &[Algorithm::Es256]).ok()?;
        let claims = verified.claims();
        if claims.text("iss").ok()? != Some(place.issuer.as_str()) {
            return None;
        }
        Some(Hint {
            subject: claims.required("sub").ok()?.to_owned(),
            session: claims.text("sid").ok()?.and_then(|text| SessionId::parse(text).ok()),
            audience: claims.audience().ok()?.into_iter().map(str::to_owned).collect(),
        })
    }
}

/// Whether a request can be answered for this person without a new proof of who they are.
pub(crate) fn is_meant(
    state: &State,
    place: &Place,
    request: &Request,
    person: &SignedIn,
    now: Timestamp,
) -> bool {
    !request.anew && is_young(request.max_age, person, now) && is_hinted(state, place, request, person)
}

/// The same for a person who has just signed in and now chooses a tenant.
pub(crate) fn is_meant_still(
    state: &State,
    place: &Place,
    request: &Request,
    person: &SignedIn,
    now: Timestamp,
) -> bool {
    let asks = request.anew || request.max_age.is_some();
    let young = !asks || now.since(person.at) <= CHOICE_TIME;
    young && is_hinted(state, place, request, person)
}

fn is_young(max_age: Option<u64>, person: &SignedIn, now: Timestamp) -> bool {
    max_age.is_none_or(|seconds| now.since(person.at).as_secs() <= seconds)
}

fn is_hinted(state: &State, place: &Place, request: &Request, person: &SignedIn) -> bool {
    request.id_token_hint.as_deref().is_none_or(|token| {
        Hint::read(state, place, token).is_some_and(|hint| {
            hint.subject == person.user.to_string() && hint.audience.contains(&request.client.id.to_string())
        })
    })
}
