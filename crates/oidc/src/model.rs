//! Pure rules: clients and what may be registered, scopes, secrets, and the proof of who began (PKCE).

use std::time::Duration;

use authority::Pattern;
use base::{ClientId, EnvironmentId, Random, SessionId, TenantId, Timestamp, UserId};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Clients of one environment: as many as an app with many first-party apps has, with room.
pub const CLIENTS_MAX: u32 = 200;
/// Addresses of one list of a client.
pub const URIS_MAX: usize = 20;
/// Characters of an address of a client.
pub const URI_CHARS_MAX: usize = 2_000;
/// Characters of a client's name.
pub const NAME_CHARS_MAX: usize = 100;
/// Scopes of a client.
pub const SCOPES_MAX: usize = 32;
/// How long a code is good: the time in which a browser comes back to its app.
pub const CODE_LIFETIME: Duration = Duration::from_secs(60);
/// How long access tokens and id tokens are good.
pub const TOKEN_LIFETIME: Duration = Duration::from_mins(15);
/// How long a refresh token is good if it is not used; each use gives a new one.
pub const REFRESH_LIFETIME: Duration = Duration::from_hours(30 * 24);
/// How long a used code is remembered, so that its replay ends what came of it: longer than any of its access tokens.
pub const CODE_REMEMBERED: Duration = Duration::from_hours(1);
/// How long a browser stays signed in at most; the session behind it may end before.
pub const BROWSER_LIFETIME: Duration = Duration::from_hours(24);
/// In which time a person chooses the tenant after signing in, where the client asked for a fresh sign-in.
pub const CHOICE_TIME: Duration = Duration::from_mins(10);
/// Rows that are over and are removed with each new one: the tables do not grow with time.
pub const SWEPT: u32 = 16;

/// Random bytes of secrets, codes, tokens and cookies.
const SECRET_BYTES: usize = 32;
/// Length of a challenge of PKCE: SHA-256 in base64url.
const CHALLENGE_CHARS: usize = 43;
/// Lengths of a verifier of PKCE (RFC 7636, 4.1).
const VERIFIER_CHARS: std::ops::RangeInclusive<usize> = 43..=128;

/// Whether a client can keep a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientKind {
    /// Runs in a browser, on a phone or a desk: has no secret, proves itself by PKCE alone.
    Public,
    /// Runs on a server: has a secret, and uses PKCE as well.
    Confidential,
}

impl ClientKind {
    /// The word in the store and the API.
    pub const fn word(self) -> &'static str {
        match self {
            ClientKind::Public => "public",
            ClientKind::Confidential => "confidential",
        }
    }

    /// The kind for a stored word.
    pub fn parse(word: &str) -> Option<ClientKind> {
        [ClientKind::Public, ClientKind::Confidential].into_iter().find(|kind| kind.word() == word)
    }
}

/// An application that signs its users in here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its id, which it sends as `client_id`.
    pub id: ClientId,
    /// Where it is registered.
    pub environment: EnvironmentId,
    /// What people read at the sign-in page.
    pub name: String,
    /// Whether it has a secret.
    pub kind: ClientKind,
    /// SHA-256 of the secret, base64url; `None` for public ones.
    pub secret_hash: Option<String>,
    /// Where it may be answered, compared exactly.
    pub redirect_uris: Vec<String>,
    /// Where people may go after signing out, compared exactly.
    pub logout_uris: Vec<String>,
    /// What it may ask for.
    pub scopes: Vec<Scope>,
    /// +1 a change.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Client {
    /// Whether a secret is this client's. Takes the same time whichever is wrong.
    pub fn has_secret(&self, secret: &str) -> bool {
        self.secret_hash.as_deref().is_some_and(|hash| same(hash, &fingerprint(secret)))
    }
}

/// One authorization of a client by a person for one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its id; access tokens carry it and end with it.
    pub id: SessionId,
    /// Where.
    pub environment: EnvironmentId,
    /// Whom the person let in.
    pub client: ClientId,
    /// The person.
    pub user: UserId,
    /// The sign-in that it rests on.
    pub session: SessionId,
    /// The tenant that the person acts in.
    pub tenant: TenantId,
    /// What was granted.
    pub scopes: Scopes,
    /// When the person proved who they are.
    pub signed_in_at: Timestamp,
    /// When it was given.
    pub created_at: Timestamp,
    /// When nothing of it can be in use any more.
    pub expires_at: Timestamp,
    /// When it was ended before.
    pub ended_at: Option<Timestamp>,
}

impl Grant {
    /// Whether it holds at a time.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended_at.is_none() && now < self.expires_at
    }
}

/// What a client may be told or do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// OpenID Connect at all: an id token, userinfo.
    OpenId,
    /// The name.
    Profile,
    /// The address.
    Email,
    /// Refresh tokens.
    OfflineAccess,
    /// What it may do at the API in the person's name, no more than the person may.
    Api(Pattern),
}

impl Scope {
    /// Reads one; `None` for what nobody knows.
    pub fn parse(text: &str) -> Option<Scope> {
        Some(match text {
            "openid" => Scope::OpenId,
            "profile" => Scope::Profile,
            "email" => Scope::Email,
            "offline_access" => Scope::OfflineAccess,
            _ => Scope::Api(Pattern::parse(text).ok()?),
        })
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scope::OpenId => f.pad("openid"),
            Scope::Profile => f.pad("profile"),
            Scope::Email => f.pad("email"),
            Scope::OfflineAccess => f.pad("offline_access"),
            Scope::Api(pattern) => write!(f, "{pattern}"),
        }
    }
}

/// Granted scopes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scopes(pub Vec<Scope>);

impl Scopes {
    /// Those of a text with spaces between, each once; what nobody knows is left out (RFC 6749, 3.3).
    pub fn parse(text: &str) -> Scopes {
        let mut known: Vec<Scope> = Vec::new();
        for scope in text.split(' ').filter_map(Scope::parse) {
            if !known.contains(&scope) && known.len() < SCOPES_MAX {
                known.push(scope);
            }
        }
        Scopes(known)
    }

    /// Whether it is among them.
    pub fn has(&self, scope: &Scope) -> bool {
        self.0.contains(scope)
    }

    /// Those that are in `others` as well.
    #[must_use]
    pub fn within(self, others: &[Scope]) -> Scopes {
        Scopes(self.0.into_iter().filter(|scope| others.contains(scope)).collect())
    }
}

impl std::fmt::Display for Scopes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts: Vec<String> = self.0.iter().map(Scope::to_string).collect();
        f.pad(&texts.join(" "))
    }
}

/// A new secret: 256 random bits in base64url, behind a prefix by which scanners and people know it.
pub fn secret(random: &dyn Random, prefix: &str) -> String {
    let bytes = random.array::<SECRET_BYTES>();
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// What is stored of a secret.
pub fn fingerprint(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, secret.as_bytes()))
}

/// Whether two texts are the same, in time that does not tell where they differ: hashes of them are compared.
pub fn same(one: &str, other: &str) -> bool {
    fingerprint(one) == fingerprint(other)
}

/// Whether a text can be a challenge of PKCE by S256.
pub fn is_challenge(text: &str) -> bool {
    text.len() == CHALLENGE_CHARS
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Whether a verifier is the one of a challenge (RFC 7636, 4.6).
pub fn verifies(verifier: &str, challenge: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    VERIFIER_CHARS.contains(&verifier.len())
        && verifier.bytes().all(plain)
        && same(&fingerprint(verifier), challenge)
}

/// The left half of a token's SHA-256 (`at_hash`, OpenID Connect Core, 3.1.3.6).
pub fn half_hash(token: &str) -> String {
    let hash = digest::digest(&digest::SHA256, token.as_bytes());
    URL_SAFE_NO_PAD.encode(hash.as_ref().get(..16).unwrap_or_default())
}

/// What is wrong with an address that people are to be sent to; `None` when nothing is.
///
/// `https` to anywhere, `http` to this machine (native apps, development), and for public clients a scheme of their own with a
/// dot in it (RFC 8252, 7.1). No fragment, no user, no star.
pub fn fault_of_uri(uri: &str, kind: ClientKind) -> Option<&'static str> {
    let visible = uri.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}*'".contains(&byte));
    if !visible || uri.is_empty() || uri.len() > URI_CHARS_MAX {
        return Some("an absolute address of at most 2000 plain characters is expected, without stars");
    }
    if uri.contains('#') {
        return Some("an address without a fragment is expected");
    }
    let Some((scheme, rest)) = uri.split_once(':') else {
        return Some("an absolute address is expected, such as https://app.example.com/callback");
    };
    match scheme {
        "https" | "http" => {
            let Some(host) = host_of(rest) else {
                return Some("an address with a host is expected, such as https://app.example.com/callback");
            };
            let here =
                host == "localhost" || host.ends_with(".localhost") || host == "127.0.0.1" || host == "[::1]";
            (scheme == "http" && !here).then_some("http is for this machine only; use https")
        }
        own => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
            let fits = own.contains('.') && own.bytes().all(plain) && kind == ClientKind::Public;
            (!fits).then_some("https, or for a public client a scheme such as com.example.app, is expected")
        }
    }
}

/// The host of what follows `https:`; `None` where there is none, or a user stands before it.
fn host_of(rest: &str) -> Option<&str> {
    let rest = rest.strip_prefix("//")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let authority = rest.get(..end)?;
    let (host, port) = match authority.rfind(':').filter(|_| !authority.ends_with(']')) {
        Some(at) => (authority.get(..at)?, Some(authority.get(at + 1..)?)),
        None => (authority, None),
    };
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_fits = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        }
    };
    (port_fits && host_fits).then_some(host)
}

/// Scheme and authority of a web address, for a page's policy; of an address with a scheme of its own, the scheme.
pub fn origin_of(uri: &str) -> String {
    match uri.split_once("://") {
        Some((scheme @ ("https" | "http"), rest)) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            format!("{scheme}://{}", rest.get(..end).unwrap_or_default())
        }
        _ => uri.split_once(':').map(|(scheme, _)| format!("{scheme}:")).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_whole_and_safe() {
        use ClientKind::{Confidential, Public};
        for good in [
            "https://app.example.com/callback",
            "https://app.example.com:8443/cb?x=1",
            "http://localhost:3000/cb",
            "http://127.0.0.1/cb",
            "http://[::1]:9000/cb",
            "http://acme.localhost/cb",
        ] {
            assert_eq!(fault_of_uri(good, Confidential), None, "{good}");
        }
        assert_eq!(fault_of_uri("com.example.app:/cb", Public), None);
        for bad in [
            "",
            "/cb",
            "http://app.example.com/cb",
            "http://localhost.evil.example/cb",
            "http://localhost@evil.example/cb",
            "https://user@app.example.com/",
            "https://*.example.com/cb",
            "https://app.example.com/cb#x",
            "https:///cb",
            "https:app",
            "https://app.example.com:99999/",
            "javascript:alert(1)",
            "data:text/html,x",
            "https://app.example.com/\u{e9}",
            "https://app.example.com/ x",
        ] {
            assert!(fault_of_uri(bad, Public).is_some(), "{bad}");
        }
        assert!(fault_of_uri("com.example.app:/cb", Confidential).is_some());
    }

    #[test]
    fn rfc7636_the_example_of_its_appendix() {
        let (verifier, challenge) =
            ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert!(is_challenge(challenge) && verifies(verifier, challenge));
        assert!(!verifies(challenge, challenge), "no plain");
        assert!(!verifies("short", challenge) && !verifies(&"a".repeat(129), challenge));
    }

    #[test]
    fn core_a_3_the_half_hash_of_a_known_token() {
        // OpenID Connect Core 1.0, A.3: `at_hash` of this access token.
        assert_eq!(half_hash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"), "77QmUPtjPfzWtF2AnpK9RQ");
    }

    #[test]
    fn scopes_are_known_ones_once() {
        let scopes = Scopes::parse("openid openid email unknown read:usage write:nothing");
        assert_eq!(scopes.to_string(), "openid email read:usage");
        assert_eq!(scopes.within(&[Scope::OpenId]).to_string(), "openid");
    }

    #[test]
    fn an_origin_is_scheme_and_host() {
        assert_eq!(origin_of("https://app.example.com:8443/cb?x"), "https://app.example.com:8443");
        assert_eq!(origin_of("com.example.app:/cb"), "com.example.app:");
    }
}
