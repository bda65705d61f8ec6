//! Signatures of what is pushed to services, as Standard Webhooks has them (<https://www.standardwebhooks.com>, version
//! 1.0.0): an HMAC-SHA256 over `id.timestamp.body`, under a secret that both sides have.

use base::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// How a secret begins; base64 follows.
pub(crate) const SECRET_PREFIX: &str = "whsec_";

/// The value of `webhook-signature` for a message under a secret, `v1,` and base64; `None` when the secret is not
/// `whsec_` and base64. For receivers too, and for tests.
#[must_use]
pub fn push_signature(secret: &str, id: &str, at: Timestamp, body: &[u8]) -> Option<String> {
    let key = base::Secret::from(STANDARD.decode(secret.strip_prefix(SECRET_PREFIX)?).ok()?);
    Some(signature(&hmac::Key::new(hmac::HMAC_SHA256, key.expose()), id, at, body))
}

/// The same with the key itself.
pub(crate) fn signature(key: &hmac::Key, id: &str, at: Timestamp, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(key);
    for part in [id.as_bytes(), b".", at.seconds().to_string().as_bytes(), b".", body] {
        context.update(part);
    }
    format!("v1,{}", STANDARD.encode(context.sign().as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_published_vector() {
        // Of the reference implementation's own tests.
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let at = Timestamp::from_micros(1_649_367_553 * 1_000_000);
        let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let signed = push_signature(secret, "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", at, body);
        assert_eq!(signed.as_deref(), Some("v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="));
    }

    #[test]
    fn what_is_no_secret_signs_nothing() {
        for text in ["", "C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_C2FVs!"] {
            assert_eq!(push_signature(text, "msg_1", Timestamp::EPOCH, b""), None, "{text}");
        }
    }
}
