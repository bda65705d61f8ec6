//! Who a person is, for a client with an access token (OpenID Connect Core, 5.3).

use std::sync::Arc;

use authority::SystemCtx;
use http::header;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use web::{Call, Problem, Reply, Routes, Spec, Surface};

use super::token::{Holder, access_grant};
use super::{FORM_BYTES_MAX, Place, State};
use crate::model::{Scope, Scopes};
use crate::ops::clients;
use crate::store::grants;

pub(crate) const USERINFO: &str = "/oauth2/userinfo";

pub(crate) fn routes(state: &Arc<State>) -> Routes {
    let common = |spec: Spec| {
        spec.surface(Surface::Member)
            .summary("Tell who the person of an access token is")
            .success(200)
            .oauth()
            .reads_authorization()
    };
    let details =
        "The access token as `Authorization: Bearer`; the scopes `profile` and `email` say what is told.";
    Routes::new("oidc")
        .route(common(Spec::public(USERINFO)).details(details), Arc::clone(state), by_get)
        .route(
            common(Spec::public_post(USERINFO))
                .details("As by GET; the token may be the form's `access_token` (RFC 6750, 2.2).")
                .form()
                .body_max(FORM_BYTES_MAX)
                .ignores_unknown(),
            Arc::clone(state),
            by_post,
        )
}

/// A token in the form.
#[derive(Clone, Deserialize, JsonSchema)]
struct InForm {
    /// The access token.
    #[serde(default)]
    access_token: Option<String>,
}

async fn by_get(state: Arc<State>, call: Call) -> Result<Reply<Value>, Problem> {
    let token = bearer(&call);
    tell(&state, &Place::of(&state, &call)?, token.as_deref()).await
}

async fn by_post(state: Arc<State>, call: Call<InForm>) -> Result<Reply<Value>, Problem> {
    let token = match (bearer(&call), &call.body.access_token) {
        (Some(_), Some(_)) => {
            return Err(Problem::oauth("invalid_request", "show the token in one way only"));
        }
        (header, form) => header.or_else(|| form.clone()),
    };
    tell(&state, &Place::of(&state, &call)?, token.as_deref()).await
}

fn bearer<B>(call: &Call<B>) -> Option<String> {
    let header = call.request.authorization.as_ref()?;
    let (scheme, token) = header.expose().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

async fn tell(state: &State, place: &Place, token: Option<&str>) -> Result<Reply<Value>, Problem> {
    let refused = || {
        Problem::oauth("invalid_token", "the access token is missing, over, revoked, or not of a client")
            .header(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")
    };
    let Some(token) = token else {
        return Err(Problem::oauth("invalid_token", "an access token is expected")
            .header(header::WWW_AUTHENTICATE, "Bearer"));
    };
    let id = access_grant(state, place, token).await.ok_or_else(refused)?;
    let (environment, now) = (place.environment, state.sources.clock.now());
    let ctx = SystemCtx::because("tell a client who the person of its token is");
    let read = state.db.read_system(&ctx, move |tx| {
        let live =
            grants::one(tx, id)?.filter(|grant| grant.environment == environment && grant.is_live(now));
        let Some(grant) = live else { return Ok(None) };
        let client = clients::find(tx, environment, grant.client)?;
        Ok::<_, db::Error>(client.map(|client| (grant, client)))
    });
    let (grant, client) = read.await?.ok_or_else(refused)?;
    // What this very token was given, which may be less than the grant.
    let given =
        tokens::Unverified::parse(token).ok().and_then(|token| token.claim("scope").map(str::to_owned));
    let scopes = Scopes::parse(&given.unwrap_or_default()).within(&grant.scopes.0);
    if !scopes.has(&Scope::OpenId) {
        return Err(Problem::oauth("insufficient_scope", "the token was not granted openid")
            .header(header::WWW_AUTHENTICATE, "Bearer error=\"insufficient_scope\", scope=\"openid\""));
    }
    let holder = Holder::of(state, place, &grant).await?.ok_or_else(refused)?;
    Ok(Reply::ok(holder.issue(place, &client, &grant, &scopes).person()))
}
