//! The authorization endpoint: where a client sends a browser, and what the browser goes on with.

use std::sync::Arc;

use authority::SystemCtx;
use base::SessionId;
use ports::{Membership, NEXT_BYTES_MAX, SignedIn, TenantStatus};
use web::{Call, Cookie, Problem, Reply, Routes, Spec, Surface};

use super::person;
use super::request::{Answer, Params, Refused, Request, with_query};
use super::{COOKIES, FORM_BYTES_MAX, FORM_COOKIE, Place, State, pages};
use crate::model::{Grant, fingerprint, secret};
use crate::ops::{clients, grants as op};

pub(crate) const AUTHORIZE: &str = "/oauth2/authorize";
/// Tenants among which a person chooses; who is a member of more names one in the request.
const CHOICES_MAX: usize = 50;

pub(crate) fn routes(state: &Arc<State>) -> Routes {
    Routes::new("oidc")
        .route(
            Spec::public(AUTHORIZE)
                .surface(Surface::Member)
                .summary("Ask a person to sign in to a client")
                .details(
                    "OpenID Connect Core 3.1.2, with PKCE by S256. Answers with a page, or leads back to the client with a \
                     code or an error.",
                )
                .ignores_unknown()
                .page()
                .cookies(COOKIES),
            Arc::clone(state),
            by_query,
        )
        .route(
            Spec::public_post(AUTHORIZE)
                .surface(Surface::Member)
                .summary("Ask a person to sign in to a client, by a form")
                .details("Leads to the same by GET: whatever another site sends by POST comes without this site's cookies.")
                .success(303)
                .form()
                .body_max(FORM_BYTES_MAX)
                .ignores_unknown()
                .page(),
            Arc::clone(state),
            by_form,
        )
}

async fn by_form(_: Arc<State>, call: Call<Params>) -> Result<Reply<()>, Problem> {
    Ok(Reply::redirect(&with_query(AUTHORIZE, call.body.pairs().into_iter())))
}

async fn by_query(state: Arc<State>, call: Call<(), Params>) -> Result<Reply<()>, Problem> {
    let place = Place::of(&state, &call)?;
    let request = match understood(&state, &place, call.query.clone()).await {
        Ok(request) => request,
        Err(Refused::Person(problem)) => return Err(problem),
        Err(Refused::Client(answer)) => return Ok(back(&answer, &place)),
    };
    let signed_in = person::of_browser(&state, &place, &call).await?;
    let now = state.sources.clock.now();
    let meant = signed_in.filter(|who| person::is_meant(&state, &place, &request, who, now));
    let word = Word::of(&state, call.request.cookies.get(FORM_COOKIE));
    match meant {
        Some(who) => conclude(&state, &place, &request, &who, &word).await,
        None if request.silent => {
            Ok(back(&request.refuse("login_required", "nobody is signed in who would do"), &place))
        }
        None => {
            let ways = ways(&state, &place, &request);
            Ok(word.keep(Reply::page(pages::login(
                &request,
                &word.shown(),
                (&request.login_hint, None),
                &ways,
            ))))
        }
    }
}

/// By which issuers the person may sign in instead, as names and paths of this host. What asked for a new proof is left out of
/// where they lead back to, for the proof is new then. None where the request is too long to be kept meanwhile.
pub(crate) fn ways(state: &State, place: &Place, request: &Request) -> Vec<(String, String)> {
    let asks_anew = |name: &str, value: &str| name == "prompt" || (name == "max_age" && value == "0");
    let pairs = request.params.pairs();
    let kept = pairs.iter().filter(|(name, value)| !asks_anew(name, value)).copied();
    let next = with_query(AUTHORIZE, kept);
    if next.len() > NEXT_BYTES_MAX {
        return Vec::new();
    }
    let asked = if request.asks_for_proof() { Some("anew") } else { request.anew.then_some("choose") };
    let asked = asked.map(|name| (name, "true"));
    let query = |path: &str| with_query(path, [("next", next.as_str())].into_iter().chain(asked));
    let offered = state.issuers.offered(place.environment);
    offered.into_iter().map(|one| (one.name, query(&one.path))).collect()
}

/// Reads the client, and the request as its.
pub(crate) async fn understood(state: &State, place: &Place, params: Params) -> Result<Request, Refused> {
    let client = match params.client() {
        Some(id) => {
            let (environment, ctx) = (place.environment, SystemCtx::because("find the client of a request"));
            let read = state.db.read_system(&ctx, move |tx| clients::find(tx, environment, id));
            read.await.map_err(|error| Refused::Person(error.into()))?
        }
        None => None,
    };
    Request::of(params, client)
}

/// Back to the client.
pub(crate) fn back(answer: &Answer, place: &Place) -> Reply<()> {
    Reply::redirect(&answer.url(&place.issuer))
}

/// The word by which a form shows that this browser was given it: the hash of a cookie of this host alone.
pub(crate) struct Word {
    cookie: String,
    is_new: bool,
}

impl Word {
    /// That of the cookie, or of a new one.
    pub(crate) fn of(state: &State, cookie: Option<&str>) -> Word {
        match cookie {
            Some(cookie) => Word { cookie: cookie.to_owned(), is_new: false },
            None => Word { cookie: secret(&*state.sources.random, ""), is_new: true },
        }
    }

    pub(crate) fn shown(&self) -> String {
        fingerprint(&format!("form {}", self.cookie))
    }

    /// Gives the browser the cookie, if it has none.
    pub(crate) fn keep<R>(&self, reply: Reply<R>) -> Reply<R> {
        if self.is_new { reply.cookie(&Cookie::new(FORM_COOKIE, self.cookie.as_str())) } else { reply }
    }

    /// Whether a form bears the word of the cookie that came with it.
    pub(crate) fn is_borne(cookie: Option<&str>, shown: &str) -> bool {
        cookie.is_some_and(|cookie| {
            let word = Word { cookie: cookie.to_owned(), is_new: false };
            crate::model::same(&word.shown(), shown)
        })
    }
}

/// Answers the client for a person, once it is clear for which tenant.
pub(crate) async fn conclude(
    state: &State,
    place: &Place,
    request: &Request,
    who: &SignedIn,
    word: &Word,
) -> Result<Reply<()>, Problem> {
    let memberships: Vec<&Membership> = who.memberships.iter().filter(|one| one.active).collect();
    let wanted = request.params.tenant.as_deref();
    let membership = match (wanted, memberships.as_slice()) {
        (Some(name), several) => {
            let tenant = state.tenants.find(name, Some(place.project)).await?;
            several.iter().find(|one| tenant.as_ref().is_some_and(|tenant| tenant.id == one.tenant)).copied()
        }
        (None, []) => None,
        (None, [one]) => Some(*one),
        (None, _) if request.silent => {
            let description = "the person is a member of several tenants and has to choose";
            return Ok(back(&request.refuse("interaction_required", description), place));
        }
        (None, several) => return choose(state, place, request, several, word).await,
    };
    let Some(membership) = membership else {
        return Ok(back(&request.refuse("access_denied", "the person is not a member of the tenant"), place));
    };
    if !is_active(state, place, membership).await? {
        return Ok(back(&request.refuse("access_denied", "the tenant is not active"), place));
    }
    let code = grant(state, place, request, who, membership).await?;
    Ok(back(&request.answer(code), place))
}

/// Whether a membership's tenant is served.
pub(crate) async fn is_active(
    state: &State,
    place: &Place,
    membership: &Membership,
) -> Result<bool, Problem> {
    let tenant = state.tenants.find(&membership.tenant.to_string(), Some(place.project)).await?;
    Ok(tenant.is_some_and(|tenant| tenant.status == TenantStatus::Active))
}

async fn choose(
    state: &State,
    place: &Place,
    request: &Request,
    memberships: &[&Membership],
    word: &Word,
) -> Result<Reply<()>, Problem> {
    let mut tenants = Vec::new();
    for membership in memberships.iter().take(CHOICES_MAX) {
        let id = membership.tenant.to_string();
        let found = state.tenants.find(&id, Some(place.project)).await?;
        tenants.extend(found.map(|tenant| (id, tenant.slug.to_string())));
    }
    Ok(word.keep(Reply::page(pages::choice(request, &word.shown(), &tenants))))
}

async fn grant(
    state: &State,
    place: &Place,
    request: &Request,
    who: &SignedIn,
    membership: &Membership,
) -> Result<String, Problem> {
    let sources = state.sources.clone();
    let now = sources.clock.now();
    let grant = Grant {
        id: SessionId::new(&*sources.clock, &*sources.random),
        environment: place.environment,
        client: request.client.id,
        user: who.user,
        session: who.session,
        tenant: membership.tenant,
        scopes: request.scopes.clone(),
        signed_in_at: who.at,
        created_at: now,
        expires_at: op::first_expiry(now),
        ended_at: None,
    };
    let begin = op::Begin {
        grant,
        redirect_uri: request.redirect_uri.clone(),
        challenge: request.challenge.clone(),
        nonce: request.nonce.clone(),
    };
    let ctx = SystemCtx::because("a person signs in to a client");
    let write = state.db.write_system(&ctx, move |tx| op::begin(tx, &sources, &begin));
    Ok(write.await?)
}
