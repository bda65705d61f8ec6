//! Signed webhooks, as Standard Webhooks has them ([`tokens::WebhookKey`]).

use base::{Random, Secret, SharedRandom, Timestamp};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::{Value, json};
use tokens::WebhookKey;

use crate::model::{Delivery, Secrets, Sink};
use crate::stripe::Verdict;
use crate::wire::{Request, Sent, Wire};

/// Bytes of a secret that is made here.
const SECRET_BYTES: usize = 32;

/// A new signing secret.
pub(crate) fn new_secret(random: &SharedRandom) -> Secret<String> {
    let random: &dyn Random = &**random;
    WebhookKey::text(&random.array::<SECRET_BYTES>())
}

/// Whether a text is a signing secret.
pub(crate) fn is_secret(text: &str) -> bool {
    WebhookKey::parse(text).is_some()
}

/// The value of `webhook-signature` for a message: one signature for each secret in force.
fn signatures(secrets: &Secrets, id: &str, at: Timestamp, body: &[u8]) -> Option<String> {
    let all = [Some(&secrets.now), secrets.before.as_ref()].into_iter().flatten();
    let signed = all.map(|secret| Some(WebhookKey::parse(secret.expose())?.sign(id, at, body)));
    Some(signed.collect::<Option<Vec<_>>>()?.join(" "))
}

/// A batch as it is sent: the same bytes whenever it is sent again.
pub(crate) fn body(sink: &Sink, deliveries: &[Delivery]) -> Value {
    let record = |one: &Delivery| {
        json!({
            "id": one.key,
            "tenant": one.tenant,
            "customer": one.customer,
            "meter": one.meter,
            "event": one.event,
            "value": one.report,
            "events": one.events,
            "at": one.at,
        })
    };
    json!({
        "type": "usage.batch",
        "sink": sink.name,
        "environment": sink.environment,
        "data": deliveries.iter().map(record).collect::<Vec<_>>(),
    })
}

/// Sends a batch whole.
pub(crate) async fn send(
    wire: &Wire,
    sink: &Sink,
    secrets: &Secrets,
    (batch, at): (i64, Timestamp),
    deliveries: &[Delivery],
) -> Verdict {
    let body = body(sink, deliveries).to_string();
    let id = format!("{}-{batch}", sink.id);
    let headers =
        signatures(secrets, &id, at, body.as_bytes()).and_then(|signature| headers(&id, at, &signature));
    let Some(headers) = headers else {
        let why = "the secret is not `whsec_` and base64; set another".to_owned();
        return Verdict::Later { why, arrived: false, answered: false, pause: None };
    };
    let url = sink.definition.url().to_owned();
    match wire.send(Request { method: Method::POST, url, headers, body: Bytes::from(body) }).await {
        Sent::Answered(answer) if answer.status.is_success() => Verdict::Accepted,
        Sent::Answered(answer) => {
            let why = format!("status {}", answer.status.as_u16());
            Verdict::Later { why, arrived: true, answered: true, pause: answer.pause }
        }
        Sent::Never(why) => Verdict::Later { why, arrived: false, answered: false, pause: None },
        Sent::Perhaps(why) => Verdict::Later { why, arrived: true, answered: false, pause: None },
    }
}

fn headers(id: &str, at: Timestamp, signature: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(HeaderName::from_static("webhook-id"), HeaderValue::from_str(id).ok()?);
    headers.insert(HeaderName::from_static("webhook-timestamp"), HeaderValue::from(at.seconds()));
    headers.insert(HeaderName::from_static("webhook-signature"), HeaderValue::from_str(signature).ok()?);
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_secret_in_force_signs() {
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let at = Timestamp::from_micros(1_649_367_553 * 1_000_000);
        let secret = || Secret::new("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".to_owned());
        let id = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
        let one = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";
        let now = Secrets { now: secret(), before: None };
        assert_eq!(signatures(&now, id, at, body).as_deref(), Some(one));
        let both = Secrets { now: secret(), before: Some(secret()) };
        assert_eq!(signatures(&both, id, at, body), Some(format!("{one} {one}")));
    }

    #[test]
    fn what_is_made_is_a_secret() {
        assert!(is_secret(new_secret(&base::SeededRandom::shared(1)).expose()));
    }
}
