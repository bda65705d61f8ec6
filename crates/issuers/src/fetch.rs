//! What is fetched of issuers: their discovery documents, keys, and what sign-in asks of them.
//!
//! An issuer's address is the operator's word; where its documents lead is the issuer's. So what is not on the issuer's own
//! host must be public, and nothing leads from https to plain http.

use std::sync::Arc;
use std::time::Duration;

use base::SharedClock;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use outbound::{
    AddressPolicy, Guarded, GuardedRequest, GuardedResponse, Limits, SystemResolver, Target, Trust,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokens::{Key, KeySet, SET_BYTES_MAX};

use crate::model::Definition;

/// Bytes of a discovery document, of a reply to a code, and of what is told about a person.
const DOCUMENT_BYTES_MAX: usize = 128 * 1_024;
/// Levels of nesting in them.
const DEPTH_MAX: usize = 16;
/// Where the discovery document is, below the issuer's address (OpenID Connect Discovery 1.0, 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// What cannot be had of an issuer, in words for operators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FetchError(pub String);

/// Where an issuer's things are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// Where people are sent.
    pub authorization: Option<String>,
    /// Where codes are exchanged.
    pub token: Option<String>,
    /// Where more is told about a person.
    pub userinfo: Option<String>,
    /// Whether replies to sign-in name the issuer (RFC 9207).
    pub names_itself: bool,
    /// Whether secrets go in the body, because it does not take them in the header.
    pub secret_in_body: bool,
}

/// What is known of an issuer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Its keys.
    pub keys: KeySet,
    /// Where its things are; empty where no discovery document is needed.
    pub endpoints: Endpoints,
}

impl Known {
    /// As it is kept, all of it public.
    pub(crate) fn to_json(&self) -> Value {
        let keys: Vec<Value> = self.keys.keys().iter().map(Key::to_jwk).collect();
        json!({ "keys": { "keys": keys }, "endpoints": self.endpoints })
    }

    /// What was kept; `None` when it cannot be read.
    pub(crate) fn of_json(json: &str) -> Option<Self> {
        let kept: Value = serde_json::from_str(json).ok()?;
        let keys = KeySet::parse(kept.get("keys")?.to_string().as_bytes()).ok()?;
        let endpoints = serde_json::from_value(kept.get("endpoints")?.clone()).ok()?;
        Some(Self { keys, endpoints })
    }
}

/// Fetches. Clones share the clients.
#[derive(Clone)]
pub struct Fetch {
    named: Guarded,
    elsewhere: Guarded,
}

impl Fetch {
    /// By these clients' clock; `trust` is given by tests.
    #[must_use]
    pub fn new(clock: &SharedClock, trust: Option<Trust>) -> Self {
        let limits = Limits {
            total_time_max: Duration::from_secs(10),
            body_bytes_max: SET_BYTES_MAX,
            failure_floor: Duration::ZERO,
            ..Limits::default()
        };
        let named = Guarded::for_operator(limits.clone(), Arc::clone(clock));
        let public = AddressPolicy::public_only();
        let elsewhere = Guarded::new(public, limits, Arc::new(SystemResolver), Arc::clone(clock));
        match trust {
            Some(trust) => {
                Self { named: named.trusting(trust.clone()), elsewhere: elsewhere.trusting(trust) }
            }
            None => Self { named, elsewhere },
        }
    }

    /// Everything that is to be known of an issuer now.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn all(&self, definition: &Definition) -> Result<Known, FetchError> {
        let discovers = definition.jwks_url.is_none() || definition.client_id.is_some();
        let document = if discovers { Some(self.discovery(&definition.url).await?) } else { None };
        let text = |name: &str| document.as_ref()?.get(name)?.as_str().map(str::to_owned);
        let jwks = definition.jwks_url.clone().or_else(|| text("jwks_uri"));
        let jwks = jwks.ok_or_else(|| FetchError("the discovery document names no keys".to_owned()))?;
        let reply = self.send(&definition.url, &jwks, Request::get()).await?;
        let keys = KeySet::parse(&whole(&reply, SET_BYTES_MAX)?)
            .map_err(|error| FetchError(format!("its keys cannot be read: {error}")))?;
        let methods = document.as_ref().and_then(|d| d.get("token_endpoint_auth_methods_supported"));
        let takes = |method: &str| {
            methods.and_then(Value::as_array).is_some_and(|list| list.iter().any(|m| m == method))
        };
        let endpoints = Endpoints {
            // Browsers are sent there: by the same rule as we go ourselves.
            authorization: text("authorization_endpoint")
                .filter(|url| client_place(&definition.url, url).is_ok()),
            token: text("token_endpoint"),
            userinfo: text("userinfo_endpoint"),
            names_itself: document
                .as_ref()
                .and_then(|d| d.get("authorization_response_iss_parameter_supported"))
                .is_some_and(|flag| flag == true),
            secret_in_body: takes("client_secret_post") && !takes("client_secret_basic"),
        };
        Ok(Known { keys, endpoints })
    }

    /// The discovery document, which must be the issuer's own (section 4.3).
    async fn discovery(&self, issuer: &str) -> Result<Value, FetchError> {
        let url = format!("{}{DISCOVERY}", issuer.trim_end_matches('/'));
        let document = self.json(issuer, &url, Request::get()).await?;
        if document.get("issuer").and_then(Value::as_str) == Some(issuer) {
            Ok(document)
        } else {
            Err(FetchError(format!("the document at {url} is of another issuer")))
        }
    }

    /// A JSON document.
    ///
    /// # Errors
    /// [`FetchError`] for everything but 200 with one JSON value.
    pub async fn json(&self, issuer: &str, url: &str, request: Request) -> Result<Value, FetchError> {
        let reply = self.send(issuer, url, request).await?;
        let bytes = whole(&reply, DOCUMENT_BYTES_MAX)?;
        shape::parse_json(&bytes, DEPTH_MAX).map_err(|_| FetchError(format!("{url} does not answer JSON")))
    }

    async fn send(&self, issuer: &str, url: &str, request: Request) -> Result<GuardedResponse, FetchError> {
        let (target, place) = client_place(issuer, url)?;
        let client = match place {
            Place::Named => &self.named,
            Place::Elsewhere => &self.elsewhere,
        };
        let Request { method, headers, body } = request;
        let answer = client.send(GuardedRequest { method, target, headers, body }).await;
        answer.map_err(|error| FetchError(format!("{url}: {error}")))
    }
}

/// Whose word an address is.
enum Place {
    /// The operator's: this machine, or the issuer's own host.
    Named,
    /// The issuer's documents'.
    Elsewhere,
}

fn client_place(issuer: &str, url: &str) -> Result<(Target, Place), FetchError> {
    let read = |text: &str| Target::parse(text).map_err(|error| FetchError(format!("{text}: {error}")));
    let (home, target) = (read(issuer)?, read(url)?);
    let at_home = home.is_loopback() && target.is_loopback();
    if !target.is_https() && !at_home {
        return Err(FetchError(format!("{url}: https is expected")));
    }
    let named = at_home || home.host() == target.host();
    Ok((target, if named { Place::Named } else { Place::Elsewhere }))
}

/// A request without its address.
pub struct Request {
    method: Method,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    /// A read of JSON.
    #[must_use]
    pub fn get() -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        Self { method: Method::GET, headers, body: Bytes::new() }
    }

    /// A form.
    #[must_use]
    pub fn form(body: String) -> Self {
        let mut request = Self { method: Method::POST, body: Bytes::from(body), ..Self::get() };
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers.insert(header::CONTENT_TYPE, kind);
        request
    }

    /// With a credential. One that a header cannot hold is left out, and refused at the other side.
    #[must_use]
    pub fn authorized(mut self, credential: &str) -> Self {
        if let Ok(mut value) = HeaderValue::from_str(credential) {
            value.set_sensitive(true);
            self.headers.insert(header::AUTHORIZATION, value);
        }
        self
    }
}

fn whole(reply: &GuardedResponse, bytes_max: usize) -> Result<Bytes, FetchError> {
    if reply.status != http::StatusCode::OK {
        return Err(FetchError(format!("it answers with status {}", reply.status.as_u16())));
    }
    if reply.truncated || reply.body.len() > bytes_max {
        return Err(FetchError(format!("it answers with more than {bytes_max} bytes")));
    }
    Ok(reply.body.clone())
}
