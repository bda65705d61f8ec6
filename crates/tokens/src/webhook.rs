//! Signatures of what is sent to the servers of others, as Standard Webhooks has them (<https://www.standardwebhooks.com>,
//! version 1.0.0): an HMAC-SHA256 over `id.timestamp.body`, under a secret that both sides have.

use base::{Secret, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// How a secret begins; base64 follows.
const PREFIX: &str = "whsec_";
/// Fewest bytes of a secret: 128 bits, which nobody guesses.
pub const WEBHOOK_SECRET_BYTES_MIN: usize = 16;

/// The secret by which a receiver knows that a message is ours, and that nobody changed it.
#[derive(Debug, Clone)]
pub struct WebhookKey(hmac::Key);

impl WebhookKey {
    /// Of the secret's bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Of a secret as people write it; `None` when it is not `whsec_` and [`WEBHOOK_SECRET_BYTES_MIN`] bytes or more in base64.
    #[must_use]
    pub fn parse(secret: &str) -> Option<Self> {
        let bytes = Secret::from(STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?);
        (bytes.expose().len() >= WEBHOOK_SECRET_BYTES_MIN).then(|| Self::new(bytes.expose()))
    }

    /// A secret's bytes as people write them.
    #[must_use]
    pub fn text(bytes: &[u8]) -> Secret<String> {
        Secret::from(format!("{PREFIX}{}", STANDARD.encode(bytes)))
    }

    /// The value of `webhook-signature` for a message: `v1,` and base64.
    #[must_use]
    pub fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [id.as_bytes(), b".", at.seconds().to_string().as_bytes(), b".", body] {
            context.update(part);
        }
        format!("v1,{}", STANDARD.encode(context.sign().as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_published_vector() {
        // Of the reference implementation's own tests.
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let at = Timestamp::from_micros(1_649_367_553 * 1_000_000);
        let key = WebhookKey::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").expect("a secret");
        let signed = key.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", at, body);
        assert_eq!(signed, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    #[test]
    fn a_secret_is_told_from_other_texts() {
        assert!(WebhookKey::parse(WebhookKey::text(&[7; 32]).expose()).is_some());
        for text in ["", "whsec_", "whsec_AAAA", "C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_!!!"] {
            assert!(WebhookKey::parse(text).is_none(), "{text}");
        }
    }
}
