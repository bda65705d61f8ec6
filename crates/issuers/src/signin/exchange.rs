//! A code for a token, and a token for a person.

use base::{Email, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use tokens::Claims;

use super::flow::{FLOW_TIME_MAX, Flow};
use super::{ENCODED, form};
use crate::fetch::{Fetch, FetchError, Known, Request};
use crate::model::{LEEWAY, SUBJECT_CHARS_MAX};
use crate::registry::{Live, Registry};

/// Characters of a person's name that are kept.
const NAME_CHARS_MAX: usize = 200;

/// What an exchange needs.
pub(super) struct Exchange<'a> {
    pub(super) fetch: &'a Fetch,
    pub(super) registry: &'a Registry,
    pub(super) live: &'a Live,
    pub(super) known: &'a Known,
}

/// Who signed in.
pub(super) struct Person {
    /// The issuer's word for them.
    pub(super) subject: String,
    /// The address, if the issuer says that it is theirs.
    pub(super) email: Option<Email>,
    pub(super) name: String,
}

/// Why nobody did.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    /// The issuer does not take the code, or cannot be reached.
    #[error("exchange the code: {0}")]
    Code(#[from] FetchError),
    /// Its token is not one.
    #[error("{0}")]
    Token(&'static str),
}

impl ExchangeError {
    /// What the person may read.
    pub(super) fn shown(&self) -> &'static str {
        match self {
            Self::Code(_) => "the issuer did not take the code",
            Self::Token(words) => words,
        }
    }
}

impl Exchange<'_> {
    /// The person for whom the issuer gave this code.
    pub(super) async fn person(
        &self,
        flow: &Flow,
        code: &str,
        back: &str,
        now: Timestamp,
    ) -> Result<Person, ExchangeError> {
        let reply = self.redeem(flow, code, back).await?;
        let token = reply.get("id_token").and_then(Value::as_str);
        let token = token.ok_or(ExchangeError::Token("the issuer gave no token of who you are"))?;
        let verified = self.registry.verified(self.live, token).await.map_err(ExchangeError::Token)?;
        if verified.typ().is_some_and(|typ| !typ.eq_ignore_ascii_case("jwt")) {
            return Err(ExchangeError::Token("the issuer gave a token of another kind"));
        }
        let claims = verified.into_claims();
        self.judge(&claims, flow, now)?;
        let subject = subject(&claims)?;
        if claims.get("email").is_none_or(Value::is_null)
            && let Some(more) = self.userinfo(&reply, &claims).await?
        {
            return Ok(person(subject, &more));
        }
        Ok(person(subject, claims.as_map()))
    }

    async fn redeem(&self, flow: &Flow, code: &str, back: &str) -> Result<Value, ExchangeError> {
        let url = self.known.endpoints.token.as_deref();
        let url = url.ok_or(ExchangeError::Token("the issuer exchanges no codes"))?;
        let client = self.live.definition.client_id.as_deref().unwrap_or_default();
        let verifier = flow.verifier();
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", back),
            ("code_verifier", &verifier),
        ];
        let request = match &self.live.secret {
            // RFC 6749, 2.3.1: both parts are encoded as in a form before they are joined.
            Some(secret) if !self.known.endpoints.secret_in_body => {
                let encoded = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
                let pair = format!("{}:{}", encoded(client), encoded(secret.expose()));
                Request::form(form(&fields)).authorized(&format!("Basic {}", STANDARD.encode(pair)))
            }
            Some(secret) => {
                fields.extend([("client_id", client), ("client_secret", secret.expose().as_str())]);
                Request::form(form(&fields))
            }
            None => {
                fields.push(("client_id", client));
                Request::form(form(&fields))
            }
        };
        Ok(self.fetch.json(&self.live.definition.url, url, request).await?)
    }

    /// OpenID Connect Core 1.0, 3.1.3.7.
    fn judge(&self, claims: &Claims, flow: &Flow, now: Timestamp) -> Result<(), ExchangeError> {
        let invalid = |invalid: tokens::Invalid| ExchangeError::Token(invalid.words());
        let client = self.live.definition.client_id.as_deref().unwrap_or_default();
        claims.check(now, LEEWAY, &self.live.rules.url, &[client]).map_err(invalid)?;
        let party = claims.text("azp").map_err(invalid)?;
        let several = claims.audience().map_err(invalid)?.len() > 1;
        if party.map_or(several, |party| party != client) {
            return Err(ExchangeError::Token("the token was made for another application"));
        }
        if claims.required("nonce").map_err(invalid)? != flow.nonce() {
            return Err(ExchangeError::Token("the token belongs to another sign-in"));
        }
        let issued = claims.time("iat").map_err(invalid)?;
        let issued = issued.ok_or(ExchangeError::Token("the token does not say when it was made"))?;
        if now.since(issued) > FLOW_TIME_MAX + LEEWAY {
            return Err(ExchangeError::Token("the token was made too long ago"));
        }
        if let Some(from) = flow.proof_from() {
            let proven = claims.time("auth_time").map_err(invalid)?;
            if proven.is_none_or(|proven| proven + LEEWAY < from) {
                return Err(ExchangeError::Token("the issuer does not say that you proved anew who you are"));
            }
        }
        Ok(())
    }

    /// What the issuer tells besides, about the same person (5.3.2); `None` where it tells nothing.
    async fn userinfo(
        &self,
        reply: &Value,
        claims: &Claims,
    ) -> Result<Option<serde_json::Map<String, Value>>, ExchangeError> {
        let endpoint = self.known.endpoints.userinfo.as_deref();
        let token = reply.get("access_token").and_then(Value::as_str);
        let (Some(endpoint), Some(token)) = (endpoint, token) else { return Ok(None) };
        let request = Request::get().authorized(&format!("Bearer {token}"));
        let told = self.fetch.json(&self.live.definition.url, endpoint, request).await?;
        match told {
            Value::Object(told) if told.get("sub") == claims.get("sub") => Ok(Some(told)),
            _ => Err(ExchangeError::Token("the issuer tells of another person")),
        }
    }
}

/// The issuer's word for the person (2): what links are kept by.
fn subject(claims: &Claims) -> Result<String, ExchangeError> {
    let subject = claims.required("sub").map_err(|invalid| ExchangeError::Token(invalid.words()))?;
    let chars = subject.chars().count();
    if !(1..=SUBJECT_CHARS_MAX).contains(&chars) || subject.chars().any(char::is_control) {
        return Err(ExchangeError::Token("the issuer names nobody"));
    }
    Ok(subject.to_owned())
}

/// The person that these claims are about. An address that is not said to be verified is none.
fn person(subject: String, claims: &serde_json::Map<String, Value>) -> Person {
    let verified = claims.get("email_verified") == Some(&Value::Bool(true));
    let email = claims.get("email").filter(|_| verified).and_then(Value::as_str);
    let email = email.and_then(|text| Email::parse(text).ok());
    let name = claims.get("name").and_then(Value::as_str).unwrap_or_default();
    let name = name.chars().filter(|letter| !letter.is_control()).take(NAME_CHARS_MAX).collect();
    Person { subject, email, name }
}
