//! Signed tokens: read strictly, verified with the one key and the algorithms that the caller names, and signed.
//!
//! Purpose: JSON web tokens (RFC 7519) in the compact form of JWS (RFC 7515), and public keys as JWK (RFC 7517). Everybody who
//! reads or writes such a token does it through here: identity for its own, `issuers` for those of others, `oidc` for what it
//! gives to the apps of others. [`WebhookKey`] signs what is sent to the servers of others. Pure: no clock, no store, no network.
//!
//! Invariants
//! - A token of more than [`TOKEN_BYTES_MAX`] bytes is refused before anything of it is decoded; so are more than three parts, a
//!   header beyond [`HEADER_BYTES_MAX`], nesting beyond [`DEPTH_MAX`], more than [`CLAIMS_MAX`] claims, and a name that
//!   occurs twice (TORTURE A19).
//! - The key says the algorithm, never the token: an algorithm is used only if the caller allows it **and** the key is of its
//!   kind (A1, A2). There is no algorithm with a shared secret, and none that is `none`.
//! - A header that brings a key or the address of one (`jwk`, `jku`, `x5u`, `x5c`), or that demands to be understood (`crit`), is
//!   refused; nothing is fetched (A3).
//! - Claims are reached through [`Verified`] alone; what [`Unverified`] tells is there to find the key, and trusted by nobody.
//! - Times are whole seconds, not negative, and numbers: no texts, no fractions (A5).
//!
//! Deliberately absent: encryption (JWE), tokens under shared secrets (HS256), detached and unencoded payloads, RSA below 2,048 bits and with
//! SHA-1, signatures in DER, key sets by address (`issuers` fetches those).
//!
//! Life of the main operation: [`Unverified::parse`] takes the parts apart within the limits; the caller finds the key by
//! [`Unverified::issuer`] and [`Unverified::kid`]; [`Unverified::verify`] checks header, algorithm and signature; then
//! [`Claims::check`] judges time, issuer and audience, and typed getters give the rest.

mod algorithm;
mod claims;
mod key;
mod sign;
mod token;
mod webhook;

pub use algorithm::Algorithm;
pub use claims::{AUDIENCES_MAX, Claims};
pub use key::{KEYS_MAX, Key, KeyError, KeySet, SET_BYTES_MAX};
pub use sign::{SigningKey, SigningKeyError};
pub use token::{
    CLAIMS_MAX, DEPTH_MAX, HEADER_BYTES_MAX, Invalid, KID_BYTES_MAX, Malformed, TOKEN_BYTES_MAX, Unverified,
    Verified,
};
pub use webhook::{WEBHOOK_SECRET_BYTES_MIN, WebhookKey};
