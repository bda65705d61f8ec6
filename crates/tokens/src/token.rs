//! A token in its compact form.

use crate::{Algorithm, Claims, Key};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Bytes that a token may have. Those of large issuers have two thousand.
pub const TOKEN_BYTES_MAX: usize = 8 * 1_024;
/// Bytes that a header may have, decoded.
pub const HEADER_BYTES_MAX: usize = 1_024;
/// Levels of objects and lists that claims may have.
pub const DEPTH_MAX: usize = 16;
/// Claims that a token may have at its top.
pub const CLAIMS_MAX: usize = 100;
/// Bytes that a key's id may have.
pub const KID_BYTES_MAX: usize = 256;

/// Members of a header that bring a key, say where one is, or change what is signed.
const REFUSED_MEMBERS: [&str; 7] = ["jwk", "jku", "x5u", "x5c", "crit", "b64", "zip"];

/// Why a text is no token at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than [`TOKEN_BYTES_MAX`], or its header than [`HEADER_BYTES_MAX`].
    #[error("the token is too large")]
    TooLarge,
    /// Not three parts, each not empty and in base64url without padding.
    #[error("the token does not have the form of one")]
    Form,
    /// Header or claims are no JSON object, nest too deeply, are too many, or name something twice.
    #[error("the token does not hold what one holds")]
    Content,
}

/// Why a token is not accepted. The words may be shown to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The algorithm is not one that is allowed here, or not the key's.
    #[error("the token is signed by an algorithm that is not accepted")]
    Algorithm,
    /// The header brings a key, the address of one, or something that must be understood.
    #[error("the token's header holds what is not accepted")]
    Header,
    /// The signature is not the key's.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim is missing or of the wrong type.
    #[error("a claim of the token is missing or of the wrong type")]
    Claim,
    /// It is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    TooEarly,
    /// Somebody else made it.
    #[error("the token is of another issuer")]
    Issuer,
    /// It is meant for somebody else.
    #[error("the token is meant for another audience")]
    Audience,
}

impl Invalid {
    /// The words, as `Display` gives them.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Algorithm => "the token is signed by an algorithm that is not accepted",
            Self::Header => "the token's header holds what is not accepted",
            Self::Signature => "the token's signature is wrong",
            Self::Claim => "a claim of the token is missing or of the wrong type",
            Self::Expired => "the token has expired",
            Self::TooEarly => "the token is not valid yet",
            Self::Issuer => "the token is of another issuer",
            Self::Audience => "the token is meant for another audience",
        }
    }
}

/// A token taken apart, its signature not looked at: nothing in it is to be believed.
#[derive(Debug, Clone)]
pub struct Unverified<'t> {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    signed: &'t str,
    signature: Vec<u8>,
}

/// A token whose signature is right. Its times, issuer and audience are the caller's to check ([`Claims::check`]).
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    typ: Option<String>,
    kid: Option<String>,
    algorithm: Algorithm,
    claims: Claims,
}

impl<'t> Unverified<'t> {
    /// Takes a token apart within the limits. What is wrong with its header shows at [`Unverified::verify`], so that a
    /// token can be told to be of a certain issuer even then.
    ///
    /// # Errors
    /// [`Malformed`] when it has not the form of one. Nothing large is decoded before that is known.
    pub fn parse(token: &'t str) -> Result<Self, Malformed> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Malformed::TooLarge);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Malformed::Form);
        };
        // Four characters hold three bytes.
        if header.len() / 4 * 3 > HEADER_BYTES_MAX {
            return Err(Malformed::TooLarge);
        }
        if header.is_empty() || claims.is_empty() {
            return Err(Malformed::Form);
        }
        let signed = token.get(..token.len() - signature.len() - 1).ok_or(Malformed::Form)?;
        Ok(Self { header: object(header)?, claims: object(claims)?, signed, signature: decoded(signature)? })
    }

    /// Who is said to have made it (`iss`).
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// The id of the key by which it is said to be signed (`kid`); `None` when there is none, or one that is no text of at
    /// most [`KID_BYTES_MAX`] printable ASCII characters.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        let kid = self.header.get("kid").and_then(Value::as_str)?;
        let plain = kid.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        (kid.len() <= KID_BYTES_MAX && plain).then_some(kid)
    }

    /// The algorithm that it names; `None` for none that is ever accepted.
    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.header.get("alg").and_then(Value::as_str).and_then(Algorithm::parse)
    }

    /// Its kind (`typ`), such as `JWT` or `at+jwt`.
    #[must_use]
    pub fn typ(&self) -> Option<&str> {
        self.header.get("typ").and_then(Value::as_str)
    }

    /// A claim that is a text, unverified: to find the key, or to tell kinds of tokens apart.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// Whether its header is one that may be accepted at all, before a key is looked for: an algorithm of `allowed`, a
    /// proper `kid` if any, and nothing that brings keys or demands to be understood.
    ///
    /// # Errors
    /// [`Invalid::Algorithm`] and [`Invalid::Header`].
    pub fn check_header(&self, allowed: &[Algorithm]) -> Result<Algorithm, Invalid> {
        let algorithm =
            self.algorithm().filter(|algorithm| allowed.contains(algorithm)).ok_or(Invalid::Algorithm)?;
        let refused = REFUSED_MEMBERS.iter().any(|name| self.header.contains_key(*name));
        let odd_kid = self.header.contains_key("kid") && self.kid().is_none();
        let odd_typ = self.header.get("typ").is_some_and(|typ| !typ.is_string());
        if refused || odd_kid || odd_typ { Err(Invalid::Header) } else { Ok(algorithm) }
    }

    /// Verifies the signature by this key, by one of the algorithms that the caller allows.
    ///
    /// # Errors
    /// [`Invalid::Algorithm`], [`Invalid::Header`] and [`Invalid::Signature`].
    pub fn verify(self, key: &Key, allowed: &[Algorithm]) -> Result<Verified, Invalid> {
        let algorithm = self.check_header(allowed)?;
        if !key.is_for(algorithm) {
            return Err(Invalid::Algorithm);
        }
        if !key.verifies(algorithm, self.signed.as_bytes(), &self.signature) {
            return Err(Invalid::Signature);
        }
        let typ = self.typ().map(str::to_owned);
        let kid = self.kid().map(str::to_owned);
        Ok(Verified { typ, kid, algorithm, claims: Claims::new(self.claims) })
    }
}

impl Verified {
    /// What the token says.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Its kind (`typ`), which distinguishes tokens of one issuer: compare it without regard to case (RFC 7515, 4.1.9).
    #[must_use]
    pub fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    /// The key's id, as the token names it.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// By which algorithm it is signed.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The claims alone.
    #[must_use]
    pub fn into_claims(self) -> Claims {
        self.claims
    }
}

fn decoded(part: &str) -> Result<Vec<u8>, Malformed> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Malformed::Form)
}

fn object(part: &str) -> Result<Map<String, Value>, Malformed> {
    match shape::parse_json(&decoded(part)?, DEPTH_MAX) {
        Ok(Value::Object(members)) if members.len() <= CLAIMS_MAX => Ok(members),
        _ => Err(Malformed::Content),
    }
}
