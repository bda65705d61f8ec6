//! Cookies, for the few routes that browsers of people reach themselves.
//!
//! No route gets a cookie that it did not declare by [`crate::Spec::cookies`], and none that declares one takes a change from
//! a page of another site: what the browser says of the page it comes from is looked at before the body is read.

use crate::problem::Problem;
use base::codes;
use http::{HeaderMap, HeaderName, header};
use std::time::Duration;

/// What the name of a cookie of ours begins with: browsers keep such a one for this host, this whole path and secure
/// connections (and loopback) alone, whatever another host below the same domain sets.
pub const COOKIE_PREFIX: &str = "__Host-";
/// Characters of a cookie's value: secrets of a few dozen, and where a browser goes on after signing in elsewhere. Browsers
/// keep 4,096 bytes of a cookie with its name and attributes (RFC 6265, 6.1).
pub const COOKIE_CHARS_MAX: usize = 3_000;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A cookie to be kept by the browser: for this host only, out of reach of scripts, over secure connections and loopback only,
/// and sent along only when a person comes here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookie {
    name: &'static str,
    value: String,
    max_age: Option<Duration>,
    strict: bool,
}

impl Cookie {
    /// A cookie that ends with the browser. `name` starts with [`COOKIE_PREFIX`]; the value is of letters, digits, `-`, `_`,
    /// `.` and `~`, and at most [`COOKIE_CHARS_MAX`] long. Another is not sent at all.
    #[must_use]
    pub fn new(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: value.into(), max_age: None, strict: false }
    }

    /// Makes the browser forget it.
    #[must_use]
    pub fn gone(name: &'static str) -> Self {
        Self::new(name, "").max_age(Duration::ZERO)
    }

    /// The browser forgets it after so long.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// It is not sent along when a link of another site leads here either.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// The header's value; `None` for what a cookie cannot hold.
    pub(crate) fn header(&self) -> Option<String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        let fits = self.value.len() <= COOKIE_CHARS_MAX && self.value.bytes().all(plain);
        (fits && self.name.starts_with(COOKIE_PREFIX)).then(|| {
            let same_site = if self.strict { "Strict" } else { "Lax" };
            let age = self.max_age.map_or(String::new(), |age| format!("; Max-Age={}", age.as_secs()));
            format!("{}={}; Path=/; Secure; HttpOnly; SameSite={same_site}{age}", self.name, self.value)
        })
    }
}

/// The cookies of a request that its route declared.
#[derive(Clone, Default)]
pub struct Cookies(Vec<(&'static str, String)>);

/// Names only: values are credentials.
impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Cookies {
    /// The value; `None` when it was not sent, was sent twice, is too long, or was not declared.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn of(headers: &HeaderMap, declared: &[&'static str]) -> Self {
        if declared.is_empty() {
            return Self::default();
        }
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let pairs: Vec<(&str, &str)> = lines
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.trim(), value.trim()))
            .collect();
        let single = |name: &'static str| {
            let mut found = pairs.iter().filter(|(key, _)| *key == name);
            let (_, value) = found.next()?;
            let fits = value.len() <= COOKIE_CHARS_MAX && found.next().is_none();
            fits.then(|| (name, (*value).to_owned()))
        };
        Self(declared.iter().filter_map(|name| single(name)).collect())
    }
}

/// Whether a change comes from a page of ours, or from no page at all.
///
/// # Errors
/// `forbidden` when the browser says that it comes from elsewhere.
pub(crate) fn from_own_page(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let own = match (text(&FETCH_SITE), text(&header::ORIGIN)) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            authority.is_some() && authority == text(&header::HOST)
        }
        (None, None) => true,
    };
    let refusal = || Problem::new(&codes::FORBIDDEN).detail("This form was sent by a page of another site.");
    if own { Ok(()) } else { Err(refusal()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")))
            .collect()
    }

    #[test]
    fn a_cookie_is_bound_to_this_host() {
        let cookie = Cookie::new("__Host-session", "a-b_c").max_age(Duration::from_secs(60)).strict();
        assert_eq!(
            cookie.header().as_deref(),
            Some("__Host-session=a-b_c; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=60")
        );
        assert!(Cookie::gone("__Host-session").header().expect("a value").ends_with("Lax; Max-Age=0"));
        for bad in [Cookie::new("session", "a"), Cookie::new("__Host-a", "x; Domain=example.com")] {
            assert_eq!(bad.header(), None, "{bad:?}");
        }
    }

    #[test]
    fn a18_only_declared_cookies_are_read_and_none_that_came_twice() {
        let sent = headers(&[("cookie", "a=0; __Host-one=1;__Host-two=2; __Host-two=3")]);
        let read = Cookies::of(&sent, &["__Host-one", "__Host-two"]);
        assert_eq!((read.get("__Host-one"), read.get("__Host-two"), read.get("a")), (Some("1"), None, None));
        assert_eq!(Cookies::of(&sent, &[]).get("__Host-one"), None);
        assert!(!format!("{read:?}").contains('1'), "a value is a credential");
    }

    #[test]
    fn a_form_of_another_site_is_refused() {
        for own in [
            headers(&[]),
            headers(&[("sec-fetch-site", "same-origin"), ("origin", "null")]),
            headers(&[("origin", "https://api.example.com"), ("host", "api.example.com")]),
        ] {
            assert!(from_own_page(&own).is_ok(), "{own:?}");
        }
        for foreign in [
            headers(&[("sec-fetch-site", "same-site")]),
            headers(&[("sec-fetch-site", "cross-site"), ("origin", "https://a"), ("host", "a")]),
            headers(&[("origin", "https://acme.example.com"), ("host", "api.example.com")]),
            headers(&[("origin", "null"), ("host", "api.example.com")]),
        ] {
            assert!(from_own_page(&foreign).is_err(), "{foreign:?}");
        }
    }
}
