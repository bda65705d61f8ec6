//! What a client asks a person for: the request for authorization, as sent and as understood.

use base::ClientId;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;
use serde::Deserialize;
use web::Problem;

use crate::model::{Client, Scopes, is_challenge};

/// What stays as it is in a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The parameters of a request for authorization; what is not among them is ignored (RFC 6749, 3.1).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub(crate) struct Params {
    /// `code`.
    #[serde(default)]
    response_type: Option<String>,
    /// The client.
    #[serde(default)]
    pub(crate) client_id: Option<String>,
    /// Where the answer goes; one of those that are registered.
    #[serde(default)]
    redirect_uri: Option<String>,
    /// What is asked for, with spaces between.
    #[serde(default)]
    scope: Option<String>,
    /// Comes back as it is.
    #[serde(default)]
    state: Option<String>,
    /// Comes back in the id token.
    #[serde(default)]
    nonce: Option<String>,
    /// The SHA-256 of the verifier, base64url.
    #[serde(default)]
    code_challenge: Option<String>,
    /// `S256`.
    #[serde(default)]
    code_challenge_method: Option<String>,
    /// `query`.
    #[serde(default)]
    response_mode: Option<String>,
    /// `none`, `login`, `select_account`.
    #[serde(default)]
    prompt: Option<String>,
    /// Seconds since the person last proved who they are, at most.
    #[serde(default)]
    max_age: Option<String>,
    /// The address that the person probably has.
    #[serde(default)]
    login_hint: Option<String>,
    /// An id token of the person who is meant.
    #[serde(default)]
    id_token_hint: Option<String>,
    /// The tenant by id or slug, where the person is a member of several.
    #[serde(default)]
    pub(crate) tenant: Option<String>,
    /// Not supported.
    #[serde(default)]
    request: Option<String>,
    /// Not supported.
    #[serde(default)]
    request_uri: Option<String>,
    /// Not supported.
    #[serde(default)]
    registration: Option<String>,
}

impl Params {
    /// What was sent, to be sent again.
    pub(crate) fn pairs(&self) -> Vec<(&'static str, &str)> {
        let Params {
            response_type,
            client_id,
            redirect_uri,
            scope,
            state,
            nonce,
            code_challenge,
            code_challenge_method,
            response_mode,
            prompt,
            max_age,
            login_hint,
            id_token_hint,
            tenant,
            request,
            request_uri,
            registration,
        } = self;
        let all = [
            ("response_type", response_type),
            ("client_id", client_id),
            ("redirect_uri", redirect_uri),
            ("scope", scope),
            ("state", state),
            ("nonce", nonce),
            ("code_challenge", code_challenge),
            ("code_challenge_method", code_challenge_method),
            ("response_mode", response_mode),
            ("prompt", prompt),
            ("max_age", max_age),
            ("login_hint", login_hint),
            ("id_token_hint", id_token_hint),
            ("tenant", tenant),
            ("request", request),
            ("request_uri", request_uri),
            ("registration", registration),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }

    /// The client that is named, if that can be one.
    pub(crate) fn client(&self) -> Option<ClientId> {
        ClientId::parse(self.client_id.as_deref()?).ok()
    }
}

/// A request that may be answered.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) params: Params,
    pub(crate) client: Client,
    pub(crate) redirect_uri: String,
    pub(crate) scopes: Scopes,
    pub(crate) nonce: Option<String>,
    pub(crate) challenge: String,
    /// Nobody is to be asked for anything.
    pub(crate) silent: bool,
    /// The person is to prove again who they are.
    pub(crate) anew: bool,
    /// Seconds.
    pub(crate) max_age: Option<u64>,
    pub(crate) login_hint: String,
    pub(crate) id_token_hint: Option<String>,
}

/// Why a request is not answered as it wishes.
#[derive(Debug)]
pub(crate) enum Refused {
    /// There is no address to which it may be told; the person is.
    Person(Problem),
    /// The client is told.
    Client(Answer),
}

/// What a client is told by way of the browser.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    redirect_uri: String,
    state: Option<String>,
    pairs: Vec<(&'static str, String)>,
}

impl Answer {
    fn of(redirect_uri: &str, state: Option<&str>) -> Answer {
        Answer { redirect_uri: redirect_uri.to_owned(), state: state.map(str::to_owned), pairs: Vec::new() }
    }

    fn error(mut self, error: &'static str, description: &str) -> Answer {
        self.pairs.push(("error", error.to_owned()));
        self.pairs.push(("error_description", description.to_owned()));
        self
    }

    /// The address, with who answers (RFC 9207).
    pub(crate) fn url(&self, issuer: &str) -> String {
        let state = self.state.iter().map(|state| ("state", state.as_str()));
        let pairs = self.pairs.iter().map(|(name, value)| (*name, value.as_str()));
        with_query(&self.redirect_uri, pairs.chain(state).chain([("iss", issuer)]))
    }
}

/// An address with these parameters after its own.
pub(crate) fn with_query<'a>(uri: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let query: Vec<String> =
        pairs.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, PLAIN))).collect();
    let mark = if uri.contains('?') { '&' } else { '?' };
    format!("{uri}{mark}{}", query.join("&"))
}

impl Request {
    /// Understands a request of a client, which is `None` when there is none of that id.
    pub(crate) fn of(params: Params, client: Option<Client>) -> Result<Request, Refused> {
        let person = |detail: &str| Refused::Person(Problem::new(&base::codes::BAD_REQUEST).detail(detail));
        let client = client.ok_or_else(|| person("No application of this id is registered here."))?;
        let registered = client.redirect_uris.iter().find(|uri| params.redirect_uri.as_ref() == Some(*uri));
        let redirect_uri = registered.cloned().ok_or_else(|| {
            person("The application asks to be answered at an address that is not registered for it.")
        })?;
        let refused = |error, description: &str| {
            Refused::Client(Answer::of(&redirect_uri, params.state.as_deref()).error(error, description))
        };
        refuse_what_is_not_supported(&params).map_err(|(error, description)| refused(error, description))?;
        let challenge = params.code_challenge.clone().filter(|text| is_challenge(text)).ok_or_else(|| {
            refused("invalid_request", "code_challenge is expected: PKCE by S256 is needed (RFC 7636)")
        })?;
        if params.code_challenge_method.as_deref() != Some("S256") {
            return Err(refused("invalid_request", "code_challenge_method must be S256"));
        }
        let scopes = Scopes::parse(params.scope.as_deref().unwrap_or_default()).within(&client.scopes);
        if scopes.0.is_empty() {
            return Err(refused("invalid_scope", "no scope is asked for that this client may have"));
        }
        let prompts: Vec<&str> = params.prompt.as_deref().unwrap_or_default().split_whitespace().collect();
        let silent = prompts.contains(&"none");
        if silent && prompts.len() > 1 {
            return Err(refused("invalid_request", "prompt none goes with no other"));
        }
        let max_age = params.max_age.as_deref().map(str::parse::<u64>).transpose();
        let max_age = max_age.map_err(|_| refused("invalid_request", "max_age is a number of seconds"))?;
        let anew = max_age == Some(0) || prompts.iter().any(|one| matches!(*one, "login" | "select_account"));
        Ok(Request {
            client,
            redirect_uri,
            scopes,
            nonce: params.nonce.clone(),
            challenge,
            silent,
            anew,
            max_age,
            login_hint: params.login_hint.clone().unwrap_or_default(),
            id_token_hint: params.id_token_hint.clone(),
            params,
        })
    }

    /// Whether the client asks for a proof that is new, or no older than it says; the choice of an account is none.
    pub(crate) fn asks_for_proof(&self) -> bool {
        let mut prompts = self.params.prompt.as_deref().unwrap_or_default().split_whitespace();
        self.max_age.is_some() || prompts.any(|one| one == "login")
    }

    /// A refusal for the client.
    pub(crate) fn refuse(&self, error: &'static str, description: &str) -> Answer {
        Answer::of(&self.redirect_uri, self.params.state.as_deref()).error(error, description)
    }

    /// A code for the client.
    pub(crate) fn answer(&self, code: String) -> Answer {
        let mut answer = Answer::of(&self.redirect_uri, self.params.state.as_deref());
        answer.pairs.push(("code", code));
        answer
    }
}

fn refuse_what_is_not_supported(params: &Params) -> Result<(), (&'static str, &'static str)> {
    let unsupported = [
        (&params.request, "request_not_supported"),
        (&params.request_uri, "request_uri_not_supported"),
        (&params.registration, "registration_not_supported"),
    ];
    if let Some((_, error)) = unsupported.iter().find(|(value, _)| value.is_some()) {
        return Err((error, "this parameter is not read here"));
    }
    match params.response_type.as_deref() {
        Some("code") => {}
        None => return Err(("invalid_request", "response_type is expected")),
        Some(_) => return Err(("unsupported_response_type", "the one response_type is code")),
    }
    match params.response_mode.as_deref() {
        None | Some("query") => Ok(()),
        Some(_) => Err(("invalid_request", "the one response_mode is query")),
    }
}
