//! Hiding secrets in captured text. A net, not a wall: whoever logs a secret on purpose has a bug.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, Input, MatchKind};

/// What stands where a secret was.
pub const REDACTED: &str = "[redacted]";

/// Shorter values are not searched for: they would hide harmless text everywhere.
const VALUE_BYTES_MIN: usize = 6;

/// Characters that a token has at least after its prefix.
const TOKEN_CHARS_MIN: usize = 12;

/// What follows a word that starts a secret.
#[derive(Clone, Copy)]
enum Rule {
    /// A prefix of a token: it is hidden up to its end, the prefix stays.
    Token,
    /// The same, of a token in base64, which may hold `+`, `/` and `=`.
    Base64,
    /// A scheme of an `Authorization` header: the next word is hidden.
    Scheme,
    /// `eyJ…`: a JSON web token.
    WebToken,
    /// `://`: the password of a URL.
    Url,
    /// `-----BEGIN`: a private key in PEM.
    Pem,
    /// A name like `password`: the value after `=` or `:` is hidden.
    Name,
    /// A header whose whole value is secret.
    Header,
}

const WORDS: &[(&str, Rule)] = &[
    ("sy_live_", Rule::Token),
    ("sy_test_", Rule::Token),
    ("sy_op_", Rule::Token),
    ("sy_operator_", Rule::Token),
    ("sy_svc_", Rule::Token),
    ("whsec_", Rule::Base64),
    ("sk_live_", Rule::Token),
    ("rk_live_", Rule::Token),
    ("github_pat_", Rule::Token),
    ("ghp_", Rule::Token),
    ("xoxb-", Rule::Token),
    ("xoxp-", Rule::Token),
    ("AKIA", Rule::Token),
    ("bearer ", Rule::Scheme),
    ("basic ", Rule::Scheme),
    ("eyJ", Rule::WebToken),
    ("://", Rule::Url),
    ("-----BEGIN", Rule::Pem),
    ("authorization", Rule::Header),
    ("cookie", Rule::Header),
    ("password", Rule::Name),
    ("passwd", Rule::Name),
    ("secret", Rule::Name),
    ("token", Rule::Name),
    ("api_key", Rule::Name),
    ("api-key", Rule::Name),
    ("apikey", Rule::Name),
    ("private_key", Rule::Name),
    ("credential", Rule::Name),
];

static FINDER: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasickBuilder::new()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::LeftmostFirst)
        .build(WORDS.iter().map(|(word, _)| word))
        .expect("a short constant list always builds")
});

/// Whether a field or header of this name is secret as a whole.
#[must_use]
pub fn is_sensitive_name(name: &str) -> bool {
    FINDER
        .find_iter(name)
        .any(|found| matches!(WORDS[found.pattern().as_usize()].1, Rule::Name | Rule::Header))
}

/// Hides what looks like a secret: Switchyard's and other well-known keys, bearer and basic credentials, JSON web
/// tokens, passwords in URLs, private keys in PEM, values of names like `password=`. Text without any is returned as
/// it is.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut kept_from = 0;
    let mut at = 0;
    while let Some(found) = FINDER.find(Input::new(text).range(at..)) {
        let word = &WORDS[found.pattern().as_usize()];
        match secret_at(text, found.start(), found.end(), word.1) {
            Some(secret) if text[secret.start..].starts_with(REDACTED) => at = secret.start + REDACTED.len(),
            Some(secret) if !secret.is_empty() => {
                out.push_str(&text[kept_from..secret.start]);
                out.push_str(REDACTED);
                kept_from = secret.end;
                at = secret.end;
            }
            _ => at = found.end(),
        }
    }
    if kept_from == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[kept_from..]);
    Cow::Owned(out)
}

/// Where the secret lies that a word at `start..end` announces.
fn secret_at(text: &str, start: usize, end: usize, rule: Rule) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    match rule {
        Rule::Token => {
            let stop = run(bytes, end, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
            (stop - end >= TOKEN_CHARS_MIN).then_some(end..stop)
        }
        Rule::Base64 => {
            let stop = run(bytes, end, |byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+' | b'/' | b'=')
            });
            (stop - end >= TOKEN_CHARS_MIN).then_some(end..stop)
        }
        Rule::Scheme => {
            let stop =
                run(bytes, end, |byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b','));
            (stop - end >= TOKEN_CHARS_MIN).then_some(end..stop)
        }
        Rule::WebToken => {
            let stop =
                run(bytes, end, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
            let token = &text[start..stop];
            (token.starts_with("eyJ") && token.matches('.').count() >= 2).then_some(start..stop)
        }
        Rule::Url => {
            let stop = run(bytes, end, |byte| {
                byte > b' ' && !matches!(byte, b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>')
            });
            let at_sign = end + text.get(end..stop)?.rfind('@')?;
            let colon = end + text[end..at_sign].find(':')?;
            Some(colon + 1..at_sign)
        }
        Rule::Pem => {
            let rest = &text[start..];
            let line = rest.find("KEY-----")?;
            if line > 48 || !rest[..line].contains("PRIVATE") {
                return None;
            }
            let stop = rest.find("-----END").map_or(text.len(), |to| start + to);
            Some(start + line + "KEY-----".len()..stop)
        }
        Rule::Name => value_after(bytes, end, false),
        Rule::Header => value_after(bytes, end, true),
    }
}

/// The value after `name`, the rest of the name's word, quotes, and `=` or `:`. A header's value goes to the end of
/// its line or string; another ends at the next delimiter.
fn value_after(bytes: &[u8], end: usize, whole: bool) -> Option<Range<usize>> {
    let name_end = run(bytes, end, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let mut at = run(bytes, name_end, |byte| matches!(byte, b'"' | b'\'' | b'\\' | b' '));
    if !matches!(bytes.get(at), Some(b'=' | b':')) {
        return None;
    }
    at = run(bytes, at + 1, |byte| matches!(byte, b' ' | b'=' | b'\\'));
    if let Some(quote @ (b'"' | b'\'')) = bytes.get(at).copied() {
        return Some(at + 1..quoted_end(bytes, at + 1, quote));
    }
    let stop = run(bytes, at, |byte| match byte {
        b'\n' | b'\r' | b'"' => false,
        b' ' | b'\t' | b',' | b';' | b'&' | b'\'' | b')' | b'}' | b']' => whole,
        _ => true,
    });
    Some(at..stop)
}

fn quoted_end(bytes: &[u8], from: usize, quote: u8) -> usize {
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        match *byte {
            b'\\' => at += 2,
            byte if byte == quote => return at,
            _ => at += 1,
        }
    }
    // A backslash may be the last byte or stand before a longer character: the end of the text is a border.
    bytes.len()
}

/// The first place at or after `from` whose byte is not accepted. Bytes of longer characters are either all accepted
/// or stop the run at their first one, so the place is a character's border.
fn run(bytes: &[u8], from: usize, accepts: impl Fn(u8) -> bool) -> usize {
    bytes[from..].iter().position(|byte| !accepts(*byte)).map_or(bytes.len(), |more| from + more)
}

/// Hides known values (a service's secrets) as well as what [`redact`] finds. Build one a service, use it for every
/// line.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    values: Option<AhoCorasick>,
}

impl Redactor {
    /// For these values; those under 6 bytes are left out. When they are too many to build a searcher for (some
    /// hundred MB), only the general rules work.
    pub fn new<V: AsRef<str>>(values: impl IntoIterator<Item = V>) -> Redactor {
        let mut values: Vec<String> = values
            .into_iter()
            .map(|value| value.as_ref().trim().to_owned())
            .filter(|value| value.len() >= VALUE_BYTES_MIN)
            .collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values.dedup();
        if values.is_empty() {
            return Redactor::default();
        }
        Redactor {
            values: AhoCorasickBuilder::new().match_kind(MatchKind::LeftmostLongest).build(values).ok(),
        }
    }

    /// The text without the values and without what looks like a secret.
    #[must_use]
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some(values) = self.values.as_ref().filter(|values| values.is_match(text)) else {
            return redact(text);
        };
        let replacements = vec![REDACTED; values.patterns_len()];
        let text = values.replace_all(text, &replacements);
        Cow::Owned(redact(&text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(redact(text), expected);
        assert_eq!(redact(expected), expected, "redacting twice changes nothing");
    }

    #[test]
    fn keys_and_credentials_are_hidden() {
        check("key sy_live_0123456789abcdef0123 used", "key sy_live_[redacted] used");
        check("signed with whsec_ab+/cdefghijklmnop+/==, twice", "signed with whsec_[redacted], twice");
        check("GET /x?token=abc&y=1", "GET /x?token=[redacted]&y=1");
        check("Authorization: Bearer abcdefghijklmnop", "Authorization: [redacted]");
        check("sent bearer abcdefghijklmnop, twice", "sent bearer [redacted], twice");
        check("postgres://app:hunter2@db:5432/x", "postgres://app:[redacted]@db:5432/x");
        check(r#"{"password":"a\"b","n":1}"#, r#"{"password":"[redacted]","n":1}"#);
        check("DB_PASSWORD='x y' next", "DB_PASSWORD='[redacted]' next");
        check("jwt eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl!", "jwt [redacted]!");
        check(
            "-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----",
            "-----BEGIN EC PRIVATE KEY-----[redacted]-----END EC PRIVATE KEY-----",
        );
    }

    #[test]
    fn harmless_text_is_borrowed() {
        for text in ["plain", "basic idea", "see https://example.com/a@b", "secrets are hidden", "größe=1"]
        {
            assert!(matches!(redact(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn names_are_told() {
        assert!(is_sensitive_name("http.Authorization"));
        assert!(is_sensitive_name("db_password"));
        assert!(!is_sensitive_name("tenant.id"));
    }

    #[test]
    fn known_values_are_hidden() {
        let redactor = Redactor::new(["correct horse", "abc", "correct horse battery"]);
        assert_eq!(redactor.redact("it is correct horse battery, abc"), "it is [redacted], abc");
        assert_eq!(redactor.redact("password=abc"), "password=[redacted]");
        assert!(matches!(Redactor::default().redact("plain"), Cow::Borrowed("plain")));
    }

    proptest! {
        #[test]
        fn any_text_survives(text in ".*", tail in ".*") {
            for word in ["password=\"", "://a:", "bearer ", "-----BEGIN PRIVATE KEY-----", "cookie: ", "eyJ"] {
                let joined = format!("{text}{word}{tail}");
                let _ = redact(&joined);
            }
        }
    }
}
