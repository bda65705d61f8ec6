//! What a client is told of its limit: `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10,
//! structured fields of RFC 9651) and the older `X-RateLimit-*` trio, whose `Reset` is a point in time.

use super::Outcome;
use crate::wire::push_number;
use base::Timestamp;
use std::time::Duration;

/// Whole seconds until it is worth asking again; at least one.
#[must_use]
pub fn retry_after_seconds(wait: Duration) -> u64 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    seconds.max(1)
}

/// Appends the header lines that tell of a limit.
pub fn push_limit_headers(out: &mut Vec<u8>, outcome: &Outcome, now: Timestamp) {
    let verdict = &outcome.verdict;
    let policy = outcome.limit.subject.policy().as_bytes();
    let resets_in = retry_after_seconds(verdict.resets_in);
    out.extend_from_slice(b"RateLimit-Policy: \"");
    out.extend_from_slice(policy);
    out.extend_from_slice(b"\";q=");
    push_number(out, u64::from(verdict.limit));
    out.extend_from_slice(b";w=");
    push_number(out, outcome.limit.rate.per.as_secs());
    out.extend_from_slice(b"\r\nRateLimit: \"");
    out.extend_from_slice(policy);
    out.extend_from_slice(b"\";r=");
    push_number(out, u64::from(verdict.remaining));
    out.extend_from_slice(b";t=");
    push_number(out, resets_in);
    out.extend_from_slice(b"\r\nX-RateLimit-Limit: ");
    push_number(out, u64::from(verdict.limit));
    out.extend_from_slice(b"\r\nX-RateLimit-Remaining: ");
    push_number(out, u64::from(verdict.remaining));
    out.extend_from_slice(b"\r\nX-RateLimit-Reset: ");
    push_number(out, u64::try_from(now.seconds()).unwrap_or(0) + resets_in);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Limit, Subject, Verdict};
    use base::{Rate, TenantId};

    #[test]
    fn headers_say_what_the_window_says() {
        let subject = Subject::Tenant(0, TenantId::from_uuid_bytes([0; 16]));
        let verdict =
            Verdict { allowed: true, limit: 60, remaining: 59, resets_in: Duration::from_millis(30_001) };
        let outcome = Outcome { limit: Limit { subject, rate: Rate::per_minute(60) }, verdict };
        let mut out = Vec::new();
        push_limit_headers(&mut out, &outcome, Timestamp::from_micros(1_000_000_000_000));
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "RateLimit-Policy: \"tenant\";q=60;w=60\r\nRateLimit: \"tenant\";r=59;t=31\r\n\
             X-RateLimit-Limit: 60\r\nX-RateLimit-Remaining: 59\r\nX-RateLimit-Reset: 1000031\r\n"
        );
        assert_eq!(retry_after_seconds(Duration::ZERO), 1);
    }
}
