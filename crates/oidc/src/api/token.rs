//! The token endpoint, and the one that ends tokens (RFC 7009).

use std::sync::Arc;

use authority::{Role, SystemCtx};
use base::{ClientId, Secret, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header;
use percent_encoding::percent_decode_str;
use ports::SignedIn;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, Problem, Reply, Routes, Spec, Surface};

use super::authorize::is_active;
use super::issue::Issue;
use super::{FORM_BYTES_MAX, Place, State, person};
use crate::model::{Client, ClientKind, Grant, Scope, Scopes, TOKEN_LIFETIME};
use crate::ops::clients;
use crate::ops::grants::{self as op, REFRESH_PREFIX, Redeemed, Rotated, Shown};

pub(crate) const TOKEN: &str = "/oauth2/token";
pub(crate) const REVOKE: &str = "/oauth2/revoke";

pub(crate) fn routes(state: &Arc<State>) -> Routes {
    let spec = |path| {
        Spec::public_post(path)
            .surface(Surface::Member)
            .success(200)
            .form()
            .body_max(FORM_BYTES_MAX)
            .ignores_unknown()
            .oauth()
            .reads_authorization()
    };
    Routes::new("oidc")
        .route(
            spec(TOKEN).summary("Get tokens for a code or a refresh token").details(
                "RFC 6749, 4.1.3 and 6; clients prove themselves by `client_secret_basic`, `client_secret_post`, or, public \
                 ones, by PKCE alone.",
            ),
            Arc::clone(state),
            token,
        )
        .route(
            spec(REVOKE)
                .summary("End a token")
                .details("RFC 7009. Ends all tokens of the same grant; a token that is none is no mistake."),
            Arc::clone(state),
            revoke,
        )
}

/// What a client asks for.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
struct TokenForm {
    /// `authorization_code` or `refresh_token`.
    #[serde(default)]
    grant_type: Option<String>,
    /// The code.
    #[serde(default)]
    code: Option<Hidden>,
    /// The address at which the code came.
    #[serde(default)]
    redirect_uri: Option<String>,
    /// What the challenge was made of.
    #[serde(default)]
    code_verifier: Option<Hidden>,
    /// The refresh token.
    #[serde(default)]
    refresh_token: Option<Hidden>,
    /// Fewer scopes than were granted.
    #[serde(default)]
    scope: Option<String>,
    /// The client.
    #[serde(default)]
    client_id: Option<String>,
    /// Its secret.
    #[serde(default)]
    client_secret: Option<Hidden>,
}

/// A text that is never printed.
#[derive(Clone, Deserialize, JsonSchema)]
struct Hidden(String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What a client gets (RFC 6749, 5.1).
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct TokenReply {
    /// For the gateway and the API, as `Authorization: Bearer`.
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    /// What was granted.
    scope: String,
    /// Who the person is, where `openid` was granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
    /// For the next tokens, where `offline_access` was granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
}

/// A token to be ended.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
struct RevokeForm {
    /// The token.
    #[serde(default)]
    token: Option<Hidden>,
    /// The client.
    #[serde(default)]
    client_id: Option<String>,
    /// Its secret.
    #[serde(default)]
    client_secret: Option<Hidden>,
}

async fn token(state: Arc<State>, call: Call<TokenForm>) -> Result<Reply<TokenReply>, Problem> {
    let place = Place::of(&state, &call)?;
    let TokenForm { grant_type, client_id, client_secret, .. } = &call.body;
    let shown = ShownClient { authorization: call.request.authorization.as_ref(), client_id, client_secret };
    let client = shown.proven(&state, &place).await?;
    let expected = || Problem::oauth("invalid_request", "grant_type is expected");
    match grant_type.as_deref().ok_or_else(expected)? {
        "authorization_code" => by_code(&state, &place, &client, &call.body).await,
        "refresh_token" => by_refresh(&state, &place, &client, &call.body).await,
        _ => Err(Problem::oauth("unsupported_grant_type", "authorization_code or refresh_token is expected")),
    }
}

async fn by_code(
    state: &State,
    place: &Place,
    client: &Client,
    form: &TokenForm,
) -> Result<Reply<TokenReply>, Problem> {
    let (Some(Hidden(code)), Some(redirect_uri), Some(Hidden(verifier))) =
        (&form.code, &form.redirect_uri, &form.code_verifier)
    else {
        return Err(Problem::oauth("invalid_request", "code, redirect_uri and code_verifier are expected"));
    };
    let shown = Shown { code: code.clone(), redirect_uri: redirect_uri.clone(), verifier: verifier.clone() };
    let refused = || Problem::oauth("invalid_grant", "the code is not, or no longer, good for this");
    let ctx = SystemCtx::because("a client shows a code");
    let code = shown.code.clone();
    let grant = state.db.read_system(&ctx, move |tx| op::of_code(tx, &code)).await?;
    let grant = grant.filter(|grant| is_of(grant, client)).ok_or_else(refused)?;
    let holder = Holder::of(state, place, &grant).await?;
    let (sources, of) = (state.sources.clone(), client.clone());
    let redeemed = state.db.write_system(&ctx, move |tx| op::redeem(tx, &sources, &of, &shown)).await?;
    let (Some(holder), Redeemed::Good { nonce, refresh }) = (holder, redeemed) else {
        return Err(refused());
    };
    let issue = holder.issue(place, client, &grant, &grant.scopes);
    Ok(Reply::ok(tokens(state, &issue, nonce.as_deref(), refresh)?))
}

async fn by_refresh(
    state: &State,
    place: &Place,
    client: &Client,
    form: &TokenForm,
) -> Result<Reply<TokenReply>, Problem> {
    let Some(Hidden(token)) = &form.refresh_token else {
        return Err(Problem::oauth("invalid_request", "refresh_token is expected"));
    };
    let refused = || Problem::oauth("invalid_grant", "the refresh token is not, or no longer, good");
    let ctx = SystemCtx::because("a client shows a refresh token");
    let text = token.clone();
    let grant = state.db.read_system(&ctx, move |tx| op::of_refresh(tx, &text)).await?;
    let grant = grant.filter(|grant| is_of(grant, client)).ok_or_else(refused)?;
    let scopes = narrowed(&grant, form.scope.as_deref())?;
    let holder = Holder::of(state, place, &grant).await?;
    let (sources, of, text) = (state.sources.clone(), client.clone(), token.clone());
    let rotated = state.db.write_system(&ctx, move |tx| op::rotate(tx, &sources, &of, &text)).await?;
    let (Some(holder), Rotated::Next(next)) = (holder, rotated) else {
        return Err(refused());
    };
    let issue = holder.issue(place, client, &grant, &scopes);
    Ok(Reply::ok(tokens(state, &issue, None, Some(next))?))
}

fn is_of(grant: &Grant, client: &Client) -> bool {
    grant.client == client.id && grant.environment == client.environment
}

/// What is left of a grant's scopes.
fn narrowed(grant: &Grant, scope: Option<&str>) -> Result<Scopes, Problem> {
    let Some(text) = scope else { return Ok(grant.scopes.clone()) };
    let asked = Scopes::parse(text);
    let fits = asked.0.iter().all(|scope| grant.scopes.has(scope)) && !asked.0.is_empty();
    if fits { Ok(asked) } else { Err(Problem::oauth("invalid_scope", "more than was granted is asked for")) }
}

/// The person of a grant as they are now, with what they may do.
pub(crate) struct Holder {
    who: SignedIn,
    role: Role,
    at: Timestamp,
}

impl Holder {
    /// `None` when the sign-in has ended, or the person is no member of the tenant any more, or the tenant is not served.
    pub(crate) async fn of(state: &State, place: &Place, grant: &Grant) -> Result<Option<Holder>, Problem> {
        // Read before everything else: what is revoked from now on revokes what is signed now.
        let at = state.sources.clock.now();
        let Some(who) = person::now(state, grant.session).await?.filter(|who| who.user == grant.user) else {
            return Ok(None);
        };
        let found = who.memberships.iter().find(|one| one.active && one.tenant == grant.tenant).cloned();
        match found {
            Some(membership) if is_active(state, place, &membership).await? => {
                Ok(Some(Holder { who, role: membership.role, at }))
            }
            Some(_) | None => Ok(None),
        }
    }

    pub(crate) fn issue<'a>(
        &'a self,
        place: &'a Place,
        client: &'a Client,
        grant: &'a Grant,
        scopes: &'a Scopes,
    ) -> Issue<'a> {
        Issue { place, client, grant, who: &self.who, role: &self.role, scopes, at: self.at }
    }
}

fn tokens(
    state: &State,
    issue: &Issue<'_>,
    nonce: Option<&str>,
    refresh_token: Option<String>,
) -> Result<TokenReply, Problem> {
    let access_token = issue.access(state)?;
    let id_token =
        if issue.scopes.has(&Scope::OpenId) { Some(issue.id(state, &access_token, nonce)?) } else { None };
    Ok(TokenReply {
        access_token,
        token_type: "Bearer",
        expires_in: TOKEN_LIFETIME.as_secs(),
        scope: issue.scopes.to_string(),
        id_token,
        refresh_token,
    })
}

async fn revoke(state: Arc<State>, call: Call<RevokeForm>) -> Result<Reply<()>, Problem> {
    let place = Place::of(&state, &call)?;
    let RevokeForm { token, client_id, client_secret } = &call.body;
    let shown = ShownClient { authorization: call.request.authorization.as_ref(), client_id, client_secret };
    let client = shown.proven(&state, &place).await?;
    let Some(Hidden(token)) = token else {
        return Err(Problem::oauth("invalid_request", "token is expected"));
    };
    let (text, sources) = (token.clone(), state.sources.clone());
    // An access token says of which grant it is; that it is signed by us is not needed to end what the client has itself.
    let named = access_grant(&state, &place, token).await;
    let ctx = SystemCtx::because("a client ends a token");
    let write = state.db.write_system(&ctx, move |tx| {
        let grant = match named {
            Some(id) => crate::store::grants::one(tx, id)?,
            None if text.starts_with(REFRESH_PREFIX) => op::of_refresh(tx, &text)?,
            None => None,
        };
        match grant.filter(|grant| is_of(grant, &client)) {
            Some(grant) => op::end(tx, &sources, &grant, "the client ended it"),
            None => Ok(()),
        }
    });
    write.await?;
    Ok(Reply::no_content().status(http::StatusCode::OK))
}

/// The grant of a valid access token of ours.
pub(crate) async fn access_grant(state: &State, place: &Place, token: &str) -> Option<base::SessionId> {
    match state.tokens.wait(place.environment, token).await {
        ports::TokenVerdict::Valid(identity) => {
            let own = matches!(identity.source, ports::TokenSource::Own { .. });
            let unverified = tokens::Unverified::parse(token).ok().filter(|_| own)?;
            base::SessionId::parse(unverified.claim("grant")?).ok()
        }
        ports::TokenVerdict::Foreign | ports::TokenVerdict::Refused(_) | ports::TokenVerdict::Pending => None,
    }
}

/// How a client shows who it is.
struct ShownClient<'a> {
    authorization: Option<&'a Secret<String>>,
    client_id: &'a Option<String>,
    client_secret: &'a Option<Hidden>,
}

impl ShownClient<'_> {
    /// The client, once it has proven that it is.
    async fn proven(&self, state: &State, place: &Place) -> Result<Client, Problem> {
        let refused = || {
            Problem::oauth("invalid_client", "the client is unknown, or its secret is wrong or missing")
                .header(header::WWW_AUTHENTICATE, "Basic realm=\"clients\"")
        };
        let (id, secret) = self.shown()?;
        let id = ClientId::parse(&id).map_err(|_| refused())?;
        let (environment, ctx) = (place.environment, SystemCtx::because("a client shows who it is"));
        let found = state.db.read_system(&ctx, move |tx| clients::find(tx, environment, id)).await?;
        let client = found.ok_or_else(refused)?;
        let fits = match (client.kind, &secret) {
            (ClientKind::Public, None) => true,
            (ClientKind::Confidential, Some(secret)) => client.has_secret(secret.expose()),
            (ClientKind::Public, Some(_)) | (ClientKind::Confidential, None) => false,
        };
        if fits { Ok(client) } else { Err(refused()) }
    }

    /// Id and secret, shown in one way only (RFC 6749, 2.3).
    fn shown(&self) -> Result<(String, Option<Secret<String>>), Problem> {
        let unclear = || Problem::oauth("invalid_request", "show the client in one way only");
        match (self.authorization, self.client_id, self.client_secret) {
            (Some(_), _, Some(_)) => Err(unclear()),
            (Some(header), named, None) => {
                let (id, secret) = basic(header.expose())
                    .ok_or_else(|| Problem::oauth("invalid_client", "Authorization: Basic is expected"))?;
                if named.as_ref().is_some_and(|named| *named != id) {
                    return Err(unclear());
                }
                Ok((id, Some(secret)))
            }
            (None, Some(id), secret) => {
                Ok((id.clone(), secret.as_ref().map(|Hidden(secret)| Secret::new(secret.clone()))))
            }
            (None, None, _) => Err(Problem::oauth("invalid_client", "client_id is expected")),
        }
    }
}

/// Id and secret of `Basic`, each urlencoded before (RFC 6749, 2.3.1).
fn basic(header: &str) -> Option<(String, Secret<String>)> {
    let (scheme, rest) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let decoded = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8().ok().map(|text| text.into_owned())
    };
    Some((decoded(id)?, Secret::new(decoded(secret)?)))
}
