//! Signatures of what is sent, as Standard Webhooks has them (<https://www.standardwebhooks.com>, version 1.0.0): an
//! HMAC-SHA256 over `id.timestamp.body`, under a secret that both sides have.

use base::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use ring::hmac;

/// Names the message: the same when it is sent again, so that the receiver can tell.
pub const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
/// When it was sent, in seconds since the epoch.
pub const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// `v1,` and the signature in base64.
pub const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// How a secret begins; base64 follows.
const SECRET_PREFIX: &str = "whsec_";
/// Bytes that a secret has at least and at most.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Signs messages with one secret.
pub struct WebhookSigner(hmac::Key);

impl WebhookSigner {
    /// Reads `whsec_` and base64 of 24 to 64 bytes; `None` for anything else.
    #[must_use]
    pub fn parse(secret: &str) -> Option<WebhookSigner> {
        let bytes = base::Secret::from(STANDARD.decode(secret.strip_prefix(SECRET_PREFIX)?).ok()?);
        let fits = SECRET_BYTES.contains(&bytes.expose().len());
        fits.then(|| WebhookSigner(hmac::Key::new(hmac::HMAC_SHA256, bytes.expose())))
    }

    /// The three headers of a message. `id` is of visible ASCII without a dot.
    #[must_use]
    pub fn headers(&self, id: &str, at: Timestamp, body: &[u8]) -> HeaderMap {
        let seconds = at.seconds().to_string();
        let signature = self.sign(id, &seconds, body);
        let pairs = [(WEBHOOK_ID, id), (WEBHOOK_TIMESTAMP, &seconds), (WEBHOOK_SIGNATURE, &signature)];
        let valid =
            pairs.into_iter().filter_map(|(name, text)| Some((name, HeaderValue::from_str(text).ok()?)));
        valid.collect()
    }

    fn sign(&self, id: &str, seconds: &str, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
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
        let signer = WebhookSigner::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").expect("a secret");
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let at = Timestamp::from_micros(1_649_367_553 * 1_000_000);
        let headers = signer.headers("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", at, body);
        assert_eq!(headers[WEBHOOK_ID], "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk");
        assert_eq!(headers[WEBHOOK_TIMESTAMP], "1649367553");
        assert_eq!(headers[WEBHOOK_SIGNATURE], "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for text in ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKY!"]
        {
            assert!(WebhookSigner::parse(text).is_none(), "{text}");
        }
    }
}
