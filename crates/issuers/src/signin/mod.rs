//! Signing in by an issuer: the authorization code flow of OpenID Connect with PKCE, from the side that relies on it.
//!
//! Nothing is kept while somebody is away. All that a sign-in needs is made out of a secret in the browser's own cookie
//! ([`flow`]): the state that comes back, the nonce in the token, the verifier of the code. So nobody fills the store by
//! beginning sign-ins, and a reply that was not asked for by this very browser, for this issuer and environment, within ten
//! minutes, is refused. A state comes back once: what came back is kept until it is too old.

mod exchange;
mod flow;

use std::sync::Arc;

use base::{EnvironmentId, SharedRandom, Slug, codes};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use db::Db;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ports::{
    BROWSER_COOKIE, Browsers, EnvironmentRecord, Links, NEXT_BYTES_MAX, Proven, SignIn, SignInError, SignedIn,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use web::{Call, Cookie, Page, Problem, Reply, Routes, Spec, Surface};

use crate::fetch::Known;
use crate::registry::{Live, Registry};
use crate::store;
use exchange::{Exchange, Person};
use flow::{FLOW_TIME_MAX, Flow};

const START: &str = "/api/v1/auth/issuers/{i}/start";
const CALLBACK: &str = "/api/v1/auth/issuers/{i}/callback";
/// The cookie that binds a sign-in to its browser.
const COOKIE: &str = "__Host-switchyard-issuer";
/// The cookie with the path of this host where the browser goes on.
const NEXT: &str = "__Host-switchyard-next";
/// Codes that are exchanged at the same time: each waits for somebody else's server.
pub(crate) const EXCHANGES_MAX: usize = 16;
/// What stays as it is in a query (RFC 3986, 2.3).
pub(crate) const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What the handlers work with.
pub(crate) struct State {
    pub(crate) db: Db,
    pub(crate) clock: base::SharedClock,
    pub(crate) random: SharedRandom,
    pub(crate) registry: Arc<Registry>,
    pub(crate) exchange: crate::fetch::Fetch,
    pub(crate) links: Arc<dyn Links>,
    pub(crate) sign_in: Arc<dyn SignIn>,
    pub(crate) browsers: Arc<dyn Browsers>,
    pub(crate) room: Semaphore,
}

pub(crate) fn routes(routes: Routes, state: &Arc<State>) -> Routes {
    routes
        .route(
            Spec::public(START)
                .summary("Sign in by an issuer")
                .details(
                    "Sends the browser to the issuer, which sends it back to the callback. With `next` the browser goes on \
                     there, signed in by a cookie; without it the callback answers with tokens.",
                )
                .surface(Surface::Member)
                .success(303),
            Arc::clone(state),
            start,
        )
        .route(
            Spec::public(CALLBACK)
                .summary("Come back from an issuer")
                .details(
                    "Ends a sign-in that this browser began within the last ten minutes, and answers as \
                     `POST /api/v1/auth/login` does, or leads on to `next`. Who comes for the first time needs an address that \
                     the issuer has verified, and that is a member's or invited.",
                )
                .surface(Surface::Member)
                .ignores_unknown()
                .cookies(&[COOKIE, NEXT, BROWSER_COOKIE])
                .codes(&[&codes::FORBIDDEN, &codes::RATE_LIMITED, &codes::OVERLOADED, &codes::UNAVAILABLE]),
            Arc::clone(state),
            callback,
        )
}

/// What an issuer sends a browser back with (RFC 6749, 4.1.2; RFC 9207).
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct Returned {
    /// What the browser left with.
    #[serde(default)]
    #[schemars(length(max = 512))]
    state: Option<String>,
    /// The code.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    code: Option<String>,
    /// Who sends it back.
    #[serde(default)]
    #[schemars(length(max = 512))]
    iss: Option<String>,
    /// Why there is no code.
    #[serde(default)]
    #[schemars(length(max = 512))]
    error: Option<String>,
}

/// Where a sign-in leads.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Leading {
    /// The path of this host where the browser goes on; without it the callback answers with tokens.
    #[serde(default)]
    #[schemars(length(max = 2_000))]
    next: Option<String>,
    /// Whether the person is to prove anew who they are; an issuer that does not say when they did (`auth_time`) signs
    /// nobody in then.
    #[serde(default)]
    anew: Option<bool>,
    /// Whether the person is to choose among the accounts that they have at the issuer.
    #[serde(default)]
    choose: Option<bool>,
}

/// Where a sign-in by an issuer begins.
pub(crate) fn start_path(name: &Slug) -> String {
    START.replace("{i}", name.as_str())
}

/// A path of this host, and nothing that a browser could take for another one: no second slash, no backslash, nothing unseen.
fn is_own_path(path: &str) -> bool {
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    plain && path.len() <= NEXT_BYTES_MAX && path.starts_with('/') && !path.starts_with("//")
}

async fn start(state: Arc<State>, call: Call<(), Leading>) -> Result<Reply<()>, Problem> {
    let Leading { next, anew, choose } = &call.query;
    let anew = *anew == Some(true);
    if next.as_deref().is_some_and(|next| !is_own_path(next)) {
        return Err(Problem::new(&codes::BAD_REQUEST).fault("/query/next", "a path of this host is expected"));
    }
    let environment = call.environment()?;
    let (live, back) = state.place(environment, &call.path.parse("i", Slug::parse)?)?;
    let client = live.definition.client_id.as_deref().ok_or_else(|| Problem::new(&codes::NOT_FOUND))?;
    let known =
        state.registry.know(&live).await.ok_or_else(|| unavailable("the issuer cannot be reached"))?;
    let authorization = known.endpoints.authorization.as_deref();
    let authorization = authorization.ok_or_else(|| unavailable("the issuer signs nobody in"))?;
    let secret = state.random.array::<{ flow::SECRET_BYTES }>();
    let flow = Flow::begin(secret, live.id, environment.id, anew, state.clock.now());
    let scopes = ["openid", "email"].into_iter().chain(live.definition.scopes.iter().map(String::as_str));
    let scopes = scopes.collect::<Vec<&str>>().join(" ");
    let (nonce, challenge) = (flow.nonce(), flow.challenge());
    let mut query = vec![
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", &back),
        ("scope", &scopes),
        ("state", flow.state()),
        ("nonce", &nonce),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    if anew {
        // With `max_age` the issuer has to say when the person proved it (OpenID Connect Core 1.0, 2).
        query.extend([("prompt", "login"), ("max_age", "0")]);
    } else if *choose == Some(true) {
        query.push(("prompt", "select_account"));
    }
    let joint = if authorization.contains('?') { '&' } else { '?' };
    let cookie = Cookie::new(COOKIE, URL_SAFE_NO_PAD.encode(secret)).max_age(FLOW_TIME_MAX);
    let leading = match next {
        Some(next) => Cookie::new(NEXT, URL_SAFE_NO_PAD.encode(next)).max_age(FLOW_TIME_MAX),
        // That of a sign-in which was given up leads nowhere now.
        None => Cookie::gone(NEXT),
    };
    Ok(Reply::redirect(&format!("{authorization}{joint}{}", form(&query))).cookie(&cookie).cookie(&leading))
}

async fn callback(state: Arc<State>, call: Call<(), Returned>) -> Result<Reply<Value>, Problem> {
    let next = call.request.cookies.get(NEXT).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let next = next.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|next| is_own_path(next));
    let ended = match (signed_in(&state, &call).await, &next) {
        (Ok(who), Some(next)) => lead_on(&state, &call, &who, next).await.map(Reply::instead_of),
        (Ok(who), None) => state.sign_in.tokens(&who, None).await.map(Reply::ok).map_err(problem),
        (Err(problem), _) => Err(problem),
    };
    match (ended, next) {
        (Ok(reply), _) => Ok(reply.cookie(&Cookie::gone(COOKIE)).cookie(&Cookie::gone(NEXT))),
        (Err(problem), Some(next)) => Ok(told(&problem, &next).instead_of()),
        (Err(problem), None) => Err(problem),
    }
}

/// The browser goes on, signed in.
async fn lead_on(
    state: &State,
    call: &Call<(), Returned>,
    who: &SignedIn,
    next: &str,
) -> Result<Reply<()>, Problem> {
    let (environment, old) = (call.environment()?.id, call.request.cookies.get(BROWSER_COOKIE));
    let value = state.browsers.remember(environment, who.session, old).await?;
    Ok(Reply::redirect(next).cookie(&Cookie::new(BROWSER_COOKIE, value)))
}

/// A person reads why it ended, and the way back to the page where it began.
fn told(problem: &Problem, next: &str) -> Reply<()> {
    let page = Page::new("You are not signed in").alert(&problem.sentence());
    Reply::page(page.way(next, "Back to the sign-in page")).status(problem.status_code())
}

/// Ends a sign-in of this browser.
async fn signed_in(state: &State, call: &Call<(), Returned>) -> Result<SignedIn, Problem> {
    let environment = call.environment()?;
    let (live, back) = state.place(environment, &call.path.parse("i", Slug::parse)?)?;
    let (flow, known, code) = state.returned(call, environment.id, &live).await?;
    state.once(&flow).await?;
    let permit = state.room.try_acquire().map_err(|_| Problem::new(&codes::OVERLOADED))?;
    let exchange = Exchange { fetch: &state.exchange, registry: &state.registry, live: &live, known: &known };
    let person = exchange.person(&flow, &code, &back, state.clock.now()).await.map_err(|error| {
        tracing::info!(issuer = %live.name, %error, "a sign-in by an issuer is refused");
        refused(error.shown())
    })?;
    drop(permit);
    let Person { subject, email, name } = person;
    let why_nobody = match email {
        Some(_) => {
            "nobody here has the address that the issuer names, or it belongs to another sign-in there"
        }
        None => "the issuer does not say that your address is verified",
    };
    let proven = Proven {
        project: live.project,
        environment: live.environment,
        issuer: live.name.clone(),
        url: live.definition.url.clone(),
        subject,
        email,
        name,
        links: live.definition.link_by_email.unwrap_or(true),
        ip: call.request.peer,
        agent: call.request.agent.clone(),
    };
    let signed_in = state.sign_in.proven(proven).await.map_err(problem)?;
    signed_in.ok_or_else(|| refused(why_nobody))
}

impl State {
    /// What a browser came back with: the sign-in that it began, and the code.
    async fn returned(
        &self,
        call: &Call<(), Returned>,
        environment: EnvironmentId,
        live: &Live,
    ) -> Result<(Flow, Arc<Known>, String), Problem> {
        let cookie = call.request.cookies.get(COOKIE).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let secret: [u8; flow::SECRET_BYTES] = cookie
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| refused("this browser began no sign-in; start again"))?;
        let Returned { state: returned, code, iss, error } = &call.query;
        let returned = returned
            .as_deref()
            .ok_or_else(|| refused("the reply does not say which sign-in it belongs to"))?;
        let flow =
            Flow::resume(secret, live.id, environment, returned, self.clock.now()).ok_or_else(|| {
                refused("the reply belongs to no sign-in of this browser, or comes too late; start again")
            })?;
        let known =
            self.registry.know(live).await.ok_or_else(|| unavailable("the issuer cannot be reached"))?;
        // A reply of another issuer is not taken for this one's (RFC 9207, 2.4).
        let named = iss.as_deref().map_or(!known.endpoints.names_itself, |iss| iss == live.definition.url);
        if !named {
            return Err(refused("the reply is of another issuer"));
        }
        if error.is_some() {
            return Err(refused("the issuer did not sign you in"));
        }
        let code = code.clone().ok_or_else(|| refused("the reply brings no code"))?;
        Ok((flow, known, code))
    }

    /// The issuer of a name, and where it sends browsers back to: by the settings, never by a header (TORTURE A14).
    fn place(&self, environment: &EnvironmentRecord, name: &Slug) -> Result<(Arc<Live>, String), Problem> {
        let not_found = || Problem::new(&codes::NOT_FOUND);
        let live = self.registry.by_name(environment.id, name).ok_or_else(not_found)?;
        if live.definition.client_id.is_none() {
            return Err(not_found());
        }
        let base =
            self.back(environment.id).ok_or_else(|| unavailable("this installation has no address"))?;
        Ok((live, format!("{base}{}", CALLBACK.replace("{i}", name.as_str()))))
    }

    fn back(&self, environment: EnvironmentId) -> Option<String> {
        self.links.api(environment)
    }

    /// Takes a state that came back, once.
    async fn once(&self, flow: &Flow) -> Result<(), Problem> {
        let ctx = authority::SystemCtx::because("note that a sign-in came back");
        let (state, now, until) = (flow.state().to_owned(), self.clock.now(), flow.until());
        let first = self.db.write_system(&ctx, move |tx| store::returned(tx, &state, now, until)).await;
        match first {
            Ok(true) => Ok(()),
            Ok(false) | Err(db::Error::Conflict { .. }) => {
                Err(refused("this reply came before; start again"))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A query or form (application/x-www-form-urlencoded, with %20 for spaces).
pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, ENCODED)))
        .collect();
    pairs.join("&")
}

fn refused(why: &'static str) -> Problem {
    Problem::new(&codes::FORBIDDEN).detail(format!("Sign-in by this issuer ended: {why}."))
}

fn unavailable(why: &'static str) -> Problem {
    Problem::new(&codes::UNAVAILABLE).detail(format!("Sign-in by this issuer is not possible now: {why}."))
}

fn problem(error: SignInError) -> Problem {
    match error {
        SignInError::Wrong | SignInError::CodeNeeded => refused("this person cannot sign in by it"),
        SignInError::Slow(seconds) => {
            Problem::new(&codes::RATE_LIMITED).retry_after(std::time::Duration::from_secs(seconds))
        }
        SignInError::Unavailable => Problem::new(&codes::UNAVAILABLE),
    }
}
