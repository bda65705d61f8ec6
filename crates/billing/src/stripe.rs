//! Stripe's meter events: what is sent, and what an answer means.
//!
//! Sources: <https://docs.stripe.com/api/billing/meter-event/create>, <https://docs.stripe.com/api/v2/billing/meter-event/create>,
//! <https://docs.stripe.com/api/billing/meter-event-summary/list>. Two things count an event once: its `identifier`, which Stripe
//! remembers for a day at least and answers with an error when it comes again (which to us is a yes), and `Idempotency-Key`, under which
//! the first answer is replayed, a failure too. So the key changes with each answer that was not yes, and stays while there was none.

use std::time::Duration;

use base::Timestamp;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;

use crate::model::{Api, Delivery};
use crate::wire::{Answer, Request, Sent, Wire};

/// The version of Stripe's API that this speaks; v2 wants one to be named.
const VERSION: &str = "2025-03-31.basil";
/// Stripe remembers an identifier for a day; an hour less allows for its clock and ours.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(23 * 3_600);
/// Significant digits that Stripe takes.
const DIGITS_MAX: usize = 15;
/// Characters of Stripe's words that are kept.
const NOTE_CHARS_MAX: usize = 300;
/// Entries of one of Stripe's lists that are asked for at a time, the most that it gives.
const PAGE_ENTRIES: usize = 100;
/// Pages of Stripe's list of meters that are read.
const METER_PAGES_MAX: usize = 10;
/// What needs no escape in a form.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What an answer means for what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The sink has it.
    Accepted,
    /// The sink will never have it as it is.
    Refused(String),
    /// Nothing is to be had now; `arrived` says whether it may have been counted all the same, `answered` whether that was an
    /// answer, which would be replayed under the same key, `pause` for how long the sink wants to be left alone.
    Later { why: String, arrived: bool, answered: bool, pause: Option<Duration> },
}

/// Stripe, as one sink speaks to it.
pub(crate) struct Stripe<'a> {
    pub(crate) wire: &'a Wire,
    pub(crate) base: &'a str,
    pub(crate) api: Api,
    pub(crate) key: &'a str,
}

/// One of Stripe's meters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Meter {
    pub(crate) id: String,
    pub(crate) event_name: String,
}

#[derive(Debug, Deserialize)]
struct List<T> {
    data: Vec<T>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Debug, Deserialize)]
struct Summary {
    aggregated_value: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Failure {
    error: Words,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Words {
    code: Option<String>,
    message: Option<String>,
}

impl Stripe<'_> {
    /// Sends one event for a customer.
    pub(crate) async fn send(&self, delivery: &Delivery, customer: &str) -> Verdict {
        if let Some(why) = unfit(&delivery.report) {
            return Verdict::Refused(why);
        }
        let request = match self.event(delivery, customer) {
            Ok(request) => request,
            Err(why) => return Verdict::Refused(why),
        };
        match verdict(self.wire.send(request).await) {
            Verdict::Accepted => Verdict::Accepted,
            Verdict::Refused(why) => Verdict::Refused(self.without_key(&why)),
            Verdict::Later { why, arrived, answered, pause } => {
                Verdict::Later { why: self.without_key(&why), arrived, answered, pause }
            }
        }
    }

    /// What Stripe, or whoever stands in for it, said, should it have repeated the key: notes and errors are read by people and kept.
    fn without_key(&self, text: &str) -> String {
        text.replace(self.key, "[key]")
    }

    fn event(&self, delivery: &Delivery, customer: &str) -> Result<Request, String> {
        let Delivery { event, report, key, at, .. } = delivery;
        let (path, content_type, body) = match self.api {
            Api::V1 => {
                let at = at.seconds().to_string();
                let fields = [
                    ("event_name", event.as_str()),
                    ("identifier", key),
                    ("timestamp", &at),
                    ("payload[stripe_customer_id]", customer),
                    ("payload[value]", report),
                ];
                ("/v1/billing/meter_events", "application/x-www-form-urlencoded", form(&fields))
            }
            Api::V2 => {
                let body = json!({
                    "event_name": event,
                    "identifier": key,
                    "timestamp": at,
                    "payload": { "stripe_customer_id": customer, "value": report },
                });
                ("/v2/billing/meter_events", "application/json", body.to_string())
            }
        };
        let mut headers = self.headers()?;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let once = HeaderValue::from_str(&idempotency_key(delivery)).map_err(|error| error.to_string())?;
        headers.insert(HeaderName::from_static("idempotency-key"), once);
        Ok(Request { method: Method::POST, url: self.url(path), headers, body: Bytes::from(body) })
    }

    /// All active meters.
    pub(crate) async fn meters(&self) -> Result<Vec<Meter>, String> {
        let (mut meters, mut after) = (Vec::<Meter>::new(), String::new());
        for _ in 0..METER_PAGES_MAX {
            let path = format!("/v1/billing/meters?status=active&limit={PAGE_ENTRIES}{after}");
            let list: List<Meter> = self.get(&path).await?;
            meters.extend(list.data);
            match meters.last() {
                Some(last) if list.has_more => after = format!("&starting_after={}", escaped(&last.id)),
                _ => break,
            }
        }
        Ok(meters)
    }

    /// What Stripe has counted of a meter for a customer, from and until full minutes. It comes to that a while after an event
    /// was accepted.
    pub(crate) async fn counted(
        &self,
        meter: &str,
        customer: &str,
        (from, until): (Timestamp, Timestamp),
    ) -> Result<f64, String> {
        let path = format!(
            "/v1/billing/meters/{}/event_summaries?customer={}&start_time={}&end_time={}&limit={PAGE_ENTRIES}",
            escaped(meter),
            escaped(customer),
            from.seconds(),
            until.seconds(),
        );
        // Without a grouping window there is one summary, or none.
        let list: List<Summary> = self.get(&path).await?;
        Ok(list.data.iter().map(|summary| summary.aggregated_value).sum())
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T, String> {
        let headers = self.headers()?;
        let request = Request { method: Method::GET, url: self.url(path), headers, body: Bytes::new() };
        match self.wire.send(request).await {
            Sent::Answered(answer) if answer.status.is_success() => {
                serde_json::from_slice(&answer.body).map_err(|error| format!("an odd answer: {error}"))
            }
            Sent::Answered(answer) => Err(self.without_key(&said(&answer))),
            Sent::Never(why) | Sent::Perhaps(why) => Err(why),
        }
    }

    fn headers(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", self.key))
            .map_err(|_| "the key has characters that no header can hold".to_owned())?;
        bearer.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, bearer);
        headers.insert(HeaderName::from_static("stripe-version"), HeaderValue::from_static(VERSION));
        Ok(headers)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base.trim_end_matches('/'))
    }
}

/// The same for each attempt until there is an answer other than yes.
fn idempotency_key(delivery: &Delivery) -> String {
    match delivery.refusals {
        0 => delivery.key.clone(),
        refusals => format!("{}.{refusals}", delivery.key),
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    pairs.join("&")
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, FORM).to_string()
}

/// Why Stripe cannot take a value.
fn unfit(report: &str) -> Option<String> {
    let digits = report.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0').count();
    (digits > DIGITS_MAX).then(|| {
        format!(
            "the value {report} has more than {DIGITS_MAX} digits, the most that Stripe takes; see `multiply`"
        )
    })
}

fn verdict(sent: Sent) -> Verdict {
    let answer = match sent {
        Sent::Answered(answer) => answer,
        Sent::Never(why) => return Verdict::Later { why, arrived: false, answered: false, pause: None },
        Sent::Perhaps(why) => return Verdict::Later { why, arrived: true, answered: false, pause: None },
    };
    if answer.status.is_success() || is_duplicate(&answer) {
        return Verdict::Accepted;
    }
    let (why, pause) = (said(&answer), answer.pause);
    match answer.status {
        // The same request is still being worked on.
        StatusCode::CONFLICT => Verdict::Later { why, arrived: true, answered: false, pause },
        // Not about this event but about the sink: its key, its address, its rate.
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS => Verdict::Later { why, arrived: false, answered: true, pause },
        status if status.is_client_error() => Verdict::Refused(why),
        _ => Verdict::Later { why, arrived: true, answered: true, pause },
    }
}

/// Whether Stripe says that it has the event already: ours, since keys are.
fn is_duplicate(answer: &Answer) -> bool {
    if !answer.status.is_client_error() {
        return false;
    }
    let Words { code, message } = words(answer);
    code.as_deref() == Some("duplicate_meter_event")
        || message.is_some_and(|message| message.contains("already exists with identifier"))
}

fn words(answer: &Answer) -> Words {
    serde_json::from_slice::<Failure>(&answer.body).unwrap_or_default().error
}

/// Stripe's own words, cut.
fn said(answer: &Answer) -> String {
    let Words { code, message } = words(answer);
    let text = match (code, message) {
        (Some(code), Some(message)) => format!("{} {code}: {message}", answer.status.as_u16()),
        (None, Some(text)) | (Some(text), None) => format!("{} {text}", answer.status.as_u16()),
        (None, None) => format!("status {}", answer.status.as_u16()),
    };
    text.chars().filter(|c| !c.is_control()).take(NOTE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Verdict {
        let status = StatusCode::from_u16(status).expect("a status");
        verdict(Sent::Answered(Answer { status, body: Bytes::from(body.to_owned()), pause: None }))
    }

    #[test]
    fn an_event_that_stripe_has_already_is_accepted() {
        let v1 = r#"{"error": {"type": "invalid_request_error", "message": "An event already exists with identifier x."}}"#;
        let v2 = r#"{"error": {"type": "invalid_request", "code": "duplicate_meter_event", "message": "There is one."}}"#;
        for (status, body) in [(200, "{}"), (400, v1), (400, v2)] {
            assert_eq!(answer(status, body), Verdict::Accepted);
        }
    }

    #[test]
    fn what_is_about_the_event_is_told_from_what_is_about_the_sink() {
        let words = r#"{"error": {"code": "meter_event_no_customer_defined", "message": "No customer."}}"#;
        let refused = Verdict::Refused("400 meter_event_no_customer_defined: No customer.".to_owned());
        assert_eq!(answer(400, words), refused);
        for (status, may_have_arrived, counts_as_answer) in [
            (401, false, true),
            (403, false, true),
            (404, false, true),
            (429, false, true),
            (409, true, false),
            (500, true, true),
            (503, true, true),
            (302, true, true),
        ] {
            let Verdict::Later { arrived, answered, .. } = answer(status, "") else {
                panic!("{status} is not the end");
            };
            assert_eq!((arrived, answered), (may_have_arrived, counts_as_answer), "{status}");
        }
    }

    #[test]
    fn values_beyond_what_stripe_takes_are_not_sent() {
        assert_eq!(unfit("123456789012345"), None);
        assert_eq!(unfit("0.000000000001"), None);
        assert!(unfit("1234567890123456").is_some());
        assert!(unfit("-1234567890.123456").is_some());
    }

    #[test]
    fn forms_are_escaped() {
        assert_eq!(
            form(&[("payload[value]", "1.5"), ("a", "b c&d=é")]),
            "payload%5Bvalue%5D=1.5&a=b%20c%26d%3D%C3%A9"
        );
    }
}
