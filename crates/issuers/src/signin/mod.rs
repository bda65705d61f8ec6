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
use ports::{EnvironmentRecord, Links, SignIn, SignInError};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use web::{Call, Cookie, Problem, Reply, Routes, Spec, Surface};

use crate::registry::{Live, Registry};
use crate::store;
use exchange::Exchange;
use flow::{FLOW_TIME_MAX, Flow};

const START: &str = "/api/v1/auth/issuers/{i}/start";
const CALLBACK: &str = "/api/v1/auth/issuers/{i}/callback";
/// The cookie that binds a sign-in to its browser.
const COOKIE: &str = "__Host-switchyard-issuer";
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
    pub(crate) room: Semaphore,
}

pub(crate) fn routes(routes: Routes, state: &Arc<State>) -> Routes {
    routes
        .route(
            Spec::public(START)
                .summary("Sign in by an issuer")
                .details("Sends the browser to the issuer, which sends it back to the callback.")
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
                     `POST /api/v1/auth/login` does. The address must be verified by the issuer, and be a member's or invited.",
                )
                .surface(Surface::Member)
                .ignores_unknown()
                .cookies(&[COOKIE])
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

async fn start(state: Arc<State>, call: Call) -> Result<Reply<()>, Problem> {
    let environment = call.environment()?;
    let (live, back) = state.place(environment, &call.path.parse("i", Slug::parse)?)?;
    let client = live.definition.client_id.as_deref().ok_or_else(|| Problem::new(&codes::NOT_FOUND))?;
    let known =
        state.registry.know(&live).await.ok_or_else(|| unavailable("the issuer cannot be reached"))?;
    let authorization = known.endpoints.authorization.as_deref();
    let authorization = authorization.ok_or_else(|| unavailable("the issuer signs nobody in"))?;
    let secret = state.random.array::<{ flow::SECRET_BYTES }>();
    let flow = Flow::begin(secret, live.id, environment.id, state.clock.now());
    let scopes = ["openid", "email"].into_iter().chain(live.definition.scopes.iter().map(String::as_str));
    let scopes: Vec<&str> = scopes.collect();
    let query = [
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", &back),
        ("scope", &scopes.join(" ")),
        ("state", flow.state()),
        ("nonce", &flow.nonce()),
        ("code_challenge", &flow.challenge()),
        ("code_challenge_method", "S256"),
    ];
    let joint = if authorization.contains('?') { '&' } else { '?' };
    let cookie = Cookie::new(COOKIE, URL_SAFE_NO_PAD.encode(secret)).max_age(FLOW_TIME_MAX);
    Ok(Reply::redirect(&format!("{authorization}{joint}{}", form(&query))).cookie(&cookie))
}

async fn callback(state: Arc<State>, call: Call<(), Returned>) -> Result<Reply<Value>, Problem> {
    let environment = call.environment()?;
    let (live, back) = state.place(environment, &call.path.parse("i", Slug::parse)?)?;
    let cookie = call.request.cookies.get(COOKIE).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let secret: [u8; flow::SECRET_BYTES] = cookie
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| refused("this browser began no sign-in; start again"))?;
    let Returned { state: returned, code, iss, error } = &call.query;
    let returned =
        returned.as_deref().ok_or_else(|| refused("the reply does not say which sign-in it belongs to"))?;
    let now = state.clock.now();
    let flow = Flow::resume(secret, live.id, environment.id, returned, now).ok_or_else(|| {
        refused("the reply belongs to no sign-in of this browser, or comes too late; start again")
    })?;
    let known =
        state.registry.know(&live).await.ok_or_else(|| unavailable("the issuer cannot be reached"))?;
    // A reply of another issuer is not taken for this one's (RFC 9207, 2.4).
    let named = iss.as_deref().map_or(!known.endpoints.names_itself, |iss| iss == live.definition.url);
    if !named {
        return Err(refused("the reply is of another issuer"));
    }
    if error.is_some() {
        return Err(refused("the issuer did not sign you in"));
    }
    let code = code.as_deref().ok_or_else(|| refused("the reply brings no code"))?;
    state.once(&flow).await?;
    let permit = state.room.try_acquire().map_err(|_| Problem::new(&codes::OVERLOADED))?;
    let exchange = Exchange { fetch: &state.exchange, registry: &state.registry, live: &live, known: &known };
    let person = exchange.person(&flow, code, &back, now).await.map_err(|error| {
        tracing::info!(issuer = %live.name, %error, "a sign-in by an issuer is refused");
        refused(error.shown())
    })?;
    drop(permit);
    let signed_in = state.sign_in.proven(live.project, person.email, person.name, live.name.clone()).await;
    let signed_in = signed_in.map_err(problem)?;
    let signed_in = signed_in.ok_or_else(|| refused("nobody here has the address that the issuer names"))?;
    let tokens = state.sign_in.tokens(&signed_in, None).await.map_err(problem)?;
    Ok(Reply::ok(tokens).cookie(&Cookie::gone(COOKIE)))
}

impl State {
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
