//! What a verified token says.

use crate::Invalid;
use base::Timestamp;
use serde_json::{Map, Value};
use std::time::Duration;

/// Audiences that a token may name.
pub const AUDIENCES_MAX: usize = 20;
/// The last second that is a time: 9999-12-31T23:59:59Z.
const SECONDS_MAX: u64 = 253_402_300_799;

/// The claims of a token whose signature is right.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims(Map<String, Value>);

impl Claims {
    pub(crate) fn new(members: Map<String, Value>) -> Self {
        Self(members)
    }

    /// Judges the times, the issuer and the audience, and gives the time when the token ends (without leeway).
    ///
    /// `exp` must be there; `nbf` and `iat` may be. `leeway` is what clocks may differ by, both ways. `audiences` are those
    /// of which the token must name one, as its `aud` or in the list that `aud` is (RFC 7519, 4.1.3); where it is empty,
    /// `aud` is not looked at.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check(
        &self,
        now: Timestamp,
        leeway: Duration,
        issuer: &str,
        audiences: &[&str],
    ) -> Result<Timestamp, Invalid> {
        if self.text("iss")? != Some(issuer) {
            return Err(Invalid::Issuer);
        }
        if !audiences.is_empty() && !self.audience()?.iter().any(|named| audiences.contains(named)) {
            return Err(Invalid::Audience);
        }
        let expires = self.time("exp")?.ok_or(Invalid::Claim)?;
        let leeway = i64::try_from(leeway.as_micros()).unwrap_or(i64::MAX);
        let latest = now.micros().saturating_add(leeway);
        if expires.micros().saturating_add(leeway) <= now.micros() {
            return Err(Invalid::Expired);
        }
        for name in ["nbf", "iat"] {
            if self.time(name)?.is_some_and(|time| time.micros() > latest) {
                return Err(Invalid::TooEarly);
            }
        }
        Ok(expires)
    }

    /// A claim, whatever it is.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A claim that must be a text if it is there.
    ///
    /// # Errors
    /// [`Invalid::Claim`] when it is something else.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Invalid> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Invalid::Claim),
        }
    }

    /// A text that must be there and not be empty.
    ///
    /// # Errors
    /// [`Invalid::Claim`].
    pub fn required(&self, name: &str) -> Result<&str, Invalid> {
        self.text(name)?.filter(|text| !text.is_empty()).ok_or(Invalid::Claim)
    }

    /// A yes or no that must be one if it is there.
    ///
    /// # Errors
    /// [`Invalid::Claim`].
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Invalid> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(Invalid::Claim),
        }
    }

    /// A time: seconds since 1970, a whole number that is not negative, before the year 10000.
    ///
    /// # Errors
    /// [`Invalid::Claim`] for texts, fractions, exponents, negative and larger ones.
    pub fn time(&self, name: &str) -> Result<Option<Timestamp>, Invalid> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let seconds = value.as_u64().filter(|seconds| *seconds <= SECONDS_MAX).ok_or(Invalid::Claim)?;
        let micros = i64::try_from(seconds * 1_000_000).map_err(|_| Invalid::Claim)?;
        Ok(Some(Timestamp::from_micros(micros)))
    }

    /// For whom it is meant: one, or a list of at most [`AUDIENCES_MAX`]. Never empty.
    ///
    /// # Errors
    /// [`Invalid::Audience`] when it is missing, empty, or something else.
    pub fn audience(&self) -> Result<Vec<&str>, Invalid> {
        match self.0.get("aud") {
            Some(Value::String(one)) => Ok(vec![one.as_str()]),
            Some(Value::Array(many)) if (1..=AUDIENCES_MAX).contains(&many.len()) => {
                many.iter().map(|one| one.as_str().ok_or(Invalid::Audience)).collect()
            }
            _ => Err(Invalid::Audience),
        }
    }

    /// What stands at a path of names with dots between them, such as `o.slg`. A claim whose own name has dots (an address,
    /// as Auth0 demands for claims of one's own) is found by that name first.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Value> {
        if let Some(whole) = self.0.get(path) {
            return Some(whole);
        }
        let (first, rest) = path.split_once('.')?;
        rest.split('.').try_fold(self.0.get(first)?, |value, name| value.as_object()?.get(name))
    }

    /// All of them.
    #[must_use]
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }
}
