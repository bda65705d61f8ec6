//! Requests that come by way of the gateway: it vouches for whom it asks.
//!
//! The member surface is reached through the gateway alone, over a loopback connection. The socket's other end is then always
//! this machine, so the gateway says for whom it asks, with a secret that it and the server were given when the
//! process started. A request without it is answered as if nothing were there: another process of the machine that finds the
//! port gets neither the surface nor an address of its choice.

use base::Secret;
use http::{HeaderMap, HeaderName};
use std::net::IpAddr;

/// `Switchyard-Vouch: <secret> <address of the client>`, set by the gateway, which lets nobody else's header of this name by.
pub const VOUCH: HeaderName = HeaderName::from_static("switchyard-vouch");

/// For whom the gateway asks; `None` when it is not the gateway. The header is taken away, so that nobody logs it.
pub(crate) fn vouched(headers: &mut HeaderMap, secret: &Secret<String>) -> Option<IpAddr> {
    let value = headers.remove(VOUCH)?;
    let (given, address) = value.to_str().ok()?.split_once(' ')?;
    base::same(given.as_bytes(), secret.expose().as_bytes()).then(|| address.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn only_who_has_the_secret_says_for_whom_it_asks() {
        let secret = Secret::new("s3cret".to_owned());
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(VOUCH, HeaderValue::from_static(value));
            let address = vouched(&mut headers, &secret);
            assert!(headers.is_empty());
            address.map(|address| address.to_string())
        };
        assert_eq!(of("s3cret 203.0.113.9").as_deref(), Some("203.0.113.9"));
        assert_eq!(of("s3cret 2001:db8::1").as_deref(), Some("2001:db8::1"));
        for value in ["s3cre 203.0.113.9", "s3cretx 203.0.113.9", " 203.0.113.9", "s3cret", "s3cret x"] {
            assert_eq!(of(value), None, "{value}");
        }
        assert_eq!(vouched(&mut HeaderMap::new(), &secret), None);
    }
}
