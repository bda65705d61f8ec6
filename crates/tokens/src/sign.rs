//! Keys that sign.

use crate::{Algorithm, Key};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use std::fmt;

/// A private key that signs tokens. It does not print itself.
pub struct SigningKey {
    pair: Pair,
    public: Key,
}

enum Pair {
    Ed25519(Box<Ed25519KeyPair>),
    P256(Box<EcdsaKeyPair>),
}

/// A private key cannot be read or made, or does not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signing key is damaged")]
pub struct SigningKeyError;

impl SigningKey {
    /// An Ed25519 key from its seed of 32 bytes (RFC 8032).
    ///
    /// # Errors
    /// For a seed of another length.
    pub fn ed25519(seed: &[u8]) -> Result<Self, SigningKeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| SigningKeyError)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| SigningKeyError)?;
        Ok(Self { pair: Pair::Ed25519(Box::new(pair)), public: Key::ed25519(public) })
    }

    /// A P-256 key from what [`SigningKey::make_p256`] gave (PKCS #8).
    ///
    /// # Errors
    /// For anything else.
    pub fn p256(pkcs8: &[u8]) -> Result<Self, SigningKeyError> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random)
            .map_err(|_| SigningKeyError)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| SigningKeyError)?;
        Ok(Self { pair: Pair::P256(Box::new(pair)), public: Key::p256(public) })
    }

    /// A new P-256 key in PKCS #8, to be sealed and kept. From the system's randomness, which ring takes itself.
    ///
    /// # Errors
    /// When the system has none.
    pub fn make_p256() -> Result<Vec<u8>, SigningKeyError> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Ok(made.map_err(|_| SigningKeyError)?.as_ref().to_vec())
    }

    /// Its public key, whose id is its thumbprint.
    #[must_use]
    pub fn public(&self) -> &Key {
        &self.public
    }

    /// By which algorithm it signs.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::Ed25519(_) => Algorithm::EdDsa,
            Pair::P256(_) => Algorithm::Es256,
        }
    }

    /// A token of this kind (`typ`) with these claims, in the compact form.
    ///
    /// # Errors
    /// When the system has no randomness, which P-256 needs.
    pub fn sign(&self, typ: &str, claims: &Value) -> Result<String, SigningKeyError> {
        let header = json!({ "alg": self.algorithm().as_str(), "kid": self.public.kid(), "typ": typ });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let mut token = format!("{}.{}", encode(&header), encode(claims));
        let signature = self.signature(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// The signature over a message, as JOSE writes it: fixed lengths, no DER.
    ///
    /// # Errors
    /// As [`SigningKey::sign`].
    pub fn signature(&self, message: &[u8]) -> Result<Vec<u8>, SigningKeyError> {
        match &self.pair {
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::P256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(|_| SigningKeyError)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.public.kid()).finish_non_exhaustive()
    }
}
