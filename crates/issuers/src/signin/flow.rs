//! One sign-in, made out of the secret of one browser.
//!
//! `state` is the time at which it began (with [`ANEW`] where the person is to prove anew who they are) and a MAC of it, of the issuer and of the environment under the secret; nonce and
//! verifier are further MACs of the state. Whoever has not the cookie can make none of them: a reply that somebody else's
//! browser got (login CSRF, code injection) does not fit, and neither does one of another issuer.

use std::time::Duration;

use base::{EnvironmentId, IssuerId, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{digest, hmac};

/// Bytes of the secret in the cookie.
pub(super) const SECRET_BYTES: usize = 32;
/// From the first redirect to the reply: time enough to type a password and a code.
pub(super) const FLOW_TIME_MAX: Duration = Duration::from_secs(10 * 60);

/// What stands behind the time in the state of a sign-in that takes a new proof.
const ANEW: &str = "a";

/// A sign-in on its way.
pub(super) struct Flow {
    key: hmac::Key,
    state: String,
    began: Timestamp,
    anew: bool,
}

impl Flow {
    /// Begins one. `anew`: the issuer is to let the person prove once more who they are.
    pub(super) fn begin(
        secret: [u8; SECRET_BYTES],
        issuer: IssuerId,
        environment: EnvironmentId,
        anew: bool,
        now: Timestamp,
    ) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let began = format!("{}{}", now.micros(), if anew { ANEW } else { "" });
        let tag = hmac::sign(&key, &about(issuer, environment, &began));
        let state = format!("{began}.{}", URL_SAFE_NO_PAD.encode(tag));
        Self { key, state, began: now, anew }
    }

    /// The one that this browser began with this issuer, by what came back; `None` for any other, and when it is too late.
    pub(super) fn resume(
        secret: [u8; SECRET_BYTES],
        issuer: IssuerId,
        environment: EnvironmentId,
        state: &str,
        now: Timestamp,
    ) -> Option<Self> {
        let (began, tag) = state.split_once('.')?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&key, &about(issuer, environment, began), &tag).ok()?;
        let (began, anew) = began.strip_suffix(ANEW).map_or((began, false), |began| (began, true));
        let began = Timestamp::from_micros(began.parse().ok()?);
        let fresh = now >= began && now.since(began) <= FLOW_TIME_MAX;
        fresh.then(|| Self { key, state: state.to_owned(), began, anew })
    }

    /// When the person is to have proven anew who they are, at the earliest; `None` where an older proof does.
    pub(super) fn proof_from(&self) -> Option<Timestamp> {
        self.anew.then_some(self.began)
    }

    pub(super) fn state(&self) -> &str {
        &self.state
    }

    /// When its state is too old to be taken.
    pub(super) fn until(&self) -> Timestamp {
        let span = i64::try_from(FLOW_TIME_MAX.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(self.began.micros().saturating_add(span))
    }

    pub(super) fn nonce(&self) -> String {
        self.derived("nonce")
    }

    /// The verifier of PKCE (RFC 7636, 4.1): 43 characters.
    pub(super) fn verifier(&self) -> String {
        self.derived("verifier")
    }

    /// Its challenge, by SHA-256 (4.2).
    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.verifier().as_bytes()))
    }

    fn derived(&self, purpose: &str) -> String {
        let message = format!("switchyard sign-in {purpose}\0{}", self.state);
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, message.as_bytes()))
    }
}

fn about(issuer: IssuerId, environment: EnvironmentId, began: &str) -> Vec<u8> {
    format!("switchyard sign-in state\0{issuer}\0{environment}\0{began}").into_bytes()
}

#[cfg(test)]
mod tests {
    use base::{ManualClock, SeededRandom};

    use super::*;

    #[test]
    fn a13_a_reply_fits_the_browser_issuer_environment_and_time_of_its_sign_in() {
        let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
        let random = SeededRandom::new(7);
        let issuers = [IssuerId::new(&clock, &random), IssuerId::new(&clock, &random)];
        let places = [EnvironmentId::new(&clock, &random), EnvironmentId::new(&clock, &random)];
        let start = Timestamp::from_micros(1_700_000_000_000_000);
        let after = |seconds: i64| Timestamp::from_micros(start.micros() + seconds * 1_000_000);
        let flow = Flow::begin([1; 32], issuers[0], places[0], false, start);
        let resumed =
            |secret, issuer, place, state: &str, now| Flow::resume(secret, issuer, place, state, now);
        let same = resumed([1; 32], issuers[0], places[0], flow.state(), after(600)).expect("the same");
        assert_eq!((same.nonce(), same.verifier()), (flow.nonce(), flow.verifier()));
        assert_eq!(same.until(), after(600));
        assert!(flow.verifier().len() == 43 && flow.verifier() != flow.nonce());
        assert!(resumed([2; 32], issuers[0], places[0], flow.state(), after(1)).is_none(), "another browser");
        assert!(resumed([1; 32], issuers[1], places[0], flow.state(), after(1)).is_none(), "another issuer");
        assert!(resumed([1; 32], issuers[0], places[1], flow.state(), after(1)).is_none(), "elsewhere");
        assert!(resumed([1; 32], issuers[0], places[0], flow.state(), after(601)).is_none(), "too late");
        assert!(resumed([1; 32], issuers[0], places[0], flow.state(), after(-1)).is_none(), "too early");
        let tag = flow.state().split_once('.').expect("a tag").1;
        let moved = format!("{}.{tag}", after(300).micros());
        let anew = Flow::begin([1; 32], issuers[0], places[0], true, start);
        let again = resumed([1; 32], issuers[0], places[0], anew.state(), after(1)).expect("the same");
        assert_eq!((again.proof_from(), flow.proof_from()), (Some(start), None));
        let lighter = anew.state().replacen(ANEW, "", 1);
        assert!(resumed([1; 32], issuers[0], places[0], &lighter, after(1)).is_none(), "not taken back");
        for forged in [moved.as_str(), "", ".", "1.", tag, "a.b"] {
            assert!(resumed([1; 32], issuers[0], places[0], forged, after(301)).is_none(), "{forged}");
        }
    }
}
