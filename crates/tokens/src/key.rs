//! Public keys, alone and in sets.

use crate::{Algorithm, DEPTH_MAX, KID_BYTES_MAX};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use serde_json::{Map, Value, json};

/// Bytes that a key set may have as JSON.
pub const SET_BYTES_MAX: usize = 256 * 1_024;
/// Keys that are kept of a set; large issuers publish ten.
pub const KEYS_MAX: usize = 100;
/// Bytes of an RSA modulus: 2,048 to 8,192 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1_024;

/// A public key that may verify signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    kid: Option<String>,
    /// The one algorithm that its publisher allows; else every one of its kind.
    only: Option<Algorithm>,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Ed25519([u8; 32]),
    /// An uncompressed point: 4, x, y.
    P256([u8; 65]),
    P384(Box<[u8; 97]>),
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
}

/// Why a key is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not JSON of the form of a key or set, or too large.
    #[error("this is not a JSON web key, or not a set of them")]
    Form,
    /// A kind of key that is not accepted: a shared secret, another curve, RSA below 2,048 bits.
    #[error("this kind of key is not accepted")]
    Kind,
    /// Not meant for signatures (`use`, `key_ops`, `alg`).
    #[error("the key is not meant for signatures that are accepted")]
    Use,
}

impl Key {
    /// An Ed25519 key. Its id is its thumbprint.
    #[must_use]
    pub fn ed25519(public: [u8; 32]) -> Self {
        Self { kid: None, only: None, material: Material::Ed25519(public) }.with_thumbprint()
    }

    /// A P-256 key as an uncompressed point (4, x, y). Its id is its thumbprint.
    #[must_use]
    pub fn p256(point: [u8; 65]) -> Self {
        Self { kid: None, only: None, material: Material::P256(point) }.with_thumbprint()
    }

    fn with_thumbprint(mut self) -> Self {
        self.kid = Some(self.thumbprint());
        self
    }

    /// Reads a JSON web key. Private parts of one are not looked at; chains of certificates neither.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_jwk(jwk: &Value) -> Result<Self, KeyError> {
        let jwk = jwk.as_object().ok_or(KeyError::Form)?;
        let text = |name: &str| match jwk.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(KeyError::Form),
        };
        if text("use")?.is_some_and(|meant| meant != "sig") || !may_verify(jwk) {
            return Err(KeyError::Use);
        }
        let only = match text("alg")? {
            None => None,
            Some(name) => Some(Algorithm::parse(name).ok_or(KeyError::Use)?),
        };
        let kid = text("kid")?.map(str::to_owned);
        if kid.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
            return Err(KeyError::Form);
        }
        let material = match (text("kty")?, text("crv")?) {
            (Some("OKP"), Some("Ed25519")) => Material::Ed25519(fixed(jwk, "x")?),
            (Some("EC"), Some("P-256")) => {
                let (x, y): ([u8; 32], [u8; 32]) = (fixed(jwk, "x")?, fixed(jwk, "y")?);
                Material::P256(point([4].iter().chain(&x).chain(&y))?)
            }
            (Some("EC"), Some("P-384")) => {
                let (x, y): ([u8; 48], [u8; 48]) = (fixed(jwk, "x")?, fixed(jwk, "y")?);
                Material::P384(Box::new(point([4].iter().chain(&x).chain(&y))?))
            }
            (Some("RSA"), _) => rsa(bytes(jwk, "n")?, bytes(jwk, "e")?)?,
            _ => return Err(KeyError::Kind),
        };
        let key = Self { kid, only, material };
        match key.only {
            Some(algorithm) if !key.is_of_kind(algorithm) => Err(KeyError::Use),
            _ => Ok(key),
        }
    }

    /// Its id, as its publisher calls it.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The public key as a JSON web key, with `use` and, where there is but one, `alg`.
    #[must_use]
    pub fn to_jwk(&self) -> Value {
        let mut jwk = self.required_members();
        if let Some(kid) = &self.kid {
            jwk["kid"] = kid.as_str().into();
        }
        let algorithm = match &self.material {
            Material::Ed25519(_) => Some(Algorithm::EdDsa),
            Material::P256(_) => Some(Algorithm::Es256),
            Material::P384(_) => Some(Algorithm::Es384),
            Material::Rsa { .. } => self.only,
        };
        if let Some(algorithm) = algorithm {
            jwk["alg"] = algorithm.as_str().into();
        }
        jwk["use"] = "sig".into();
        jwk
    }

    /// Its thumbprint (RFC 7638): the members that make the key, in order, by SHA-256, in base64url.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let members = self.required_members();
        let mut named: Vec<(&String, &Value)> = members.as_object().into_iter().flatten().collect();
        named.sort_unstable_by_key(|(name, _)| *name);
        // Names and values need no escapes: they are base64url and names of the registry.
        let written: Vec<String> = named.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let canonical = format!("{{{}}}", written.join(","));
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
    }

    fn required_members(&self) -> Value {
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let curve = |name: &str, point: &[u8]| {
            let (x, y) = point.split_at(1 + point.len() / 2);
            json!({ "crv": name, "kty": "EC", "x": encoded(x.get(1..).unwrap_or_default()), "y": encoded(y) })
        };
        match &self.material {
            Material::Ed25519(x) => json!({ "crv": "Ed25519", "kty": "OKP", "x": encoded(x) }),
            Material::P256(point) => curve("P-256", point),
            Material::P384(point) => curve("P-384", point.as_slice()),
            Material::Rsa { modulus, exponent } => {
                json!({ "e": encoded(exponent), "kty": "RSA", "n": encoded(modulus) })
            }
        }
    }

    fn is_of_kind(&self, algorithm: Algorithm) -> bool {
        matches!(
            (&self.material, algorithm),
            (Material::Ed25519(_), Algorithm::EdDsa)
                | (Material::P256(_), Algorithm::Es256)
                | (Material::P384(_), Algorithm::Es384)
                | (Material::Rsa { .. }, Algorithm::Rs256 | Algorithm::Ps256)
        )
    }

    /// Whether signatures of this algorithm may be verified by the key.
    #[must_use]
    pub fn is_for(&self, algorithm: Algorithm) -> bool {
        self.is_of_kind(algorithm) && self.only.is_none_or(|only| only == algorithm)
    }

    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let plain = |by: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(by, key).verify(message, signature).is_ok()
        };
        match (&self.material, algorithm) {
            (Material::Ed25519(key), Algorithm::EdDsa) => plain(&signature::ED25519, key),
            (Material::P256(key), Algorithm::Es256) => plain(&signature::ECDSA_P256_SHA256_FIXED, key),
            (Material::P384(key), Algorithm::Es384) => {
                plain(&signature::ECDSA_P384_SHA384_FIXED, key.as_slice())
            }
            (Material::Rsa { modulus, exponent }, Algorithm::Rs256 | Algorithm::Ps256) => {
                let by = if algorithm == Algorithm::Rs256 {
                    &signature::RSA_PKCS1_2048_8192_SHA256
                } else {
                    &signature::RSA_PSS_2048_8192_SHA256
                };
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(by, message, signature).is_ok()
            }
            _ => false,
        }
    }
}

/// `key_ops`, where it is given, must name verifying.
fn may_verify(jwk: &Map<String, Value>) -> bool {
    match jwk.get("key_ops") {
        None | Some(Value::Null) => true,
        Some(Value::Array(ops)) => ops.iter().any(|op| op == "verify"),
        Some(_) => false,
    }
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, KeyError> {
    let text = jwk.get(name).and_then(Value::as_str).ok_or(KeyError::Form)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Form)
}

fn fixed<const N: usize>(jwk: &Map<String, Value>, name: &str) -> Result<[u8; N], KeyError> {
    bytes(jwk, name)?.try_into().map_err(|_| KeyError::Form)
}

fn point<'b, const N: usize>(bytes: impl Iterator<Item = &'b u8>) -> Result<[u8; N], KeyError> {
    bytes.copied().collect::<Vec<u8>>().try_into().map_err(|_| KeyError::Form)
}

fn rsa(modulus: Vec<u8>, exponent: Vec<u8>) -> Result<Material, KeyError> {
    // Some publishers put a zero byte in front, as DER would.
    let modulus = match modulus.split_first() {
        Some((0, rest)) => rest.to_vec(),
        _ => modulus,
    };
    let strong = MODULUS_BYTES.contains(&modulus.len()) && modulus.first().is_some_and(|byte| *byte >= 0x80);
    if !strong || !(1..=8).contains(&exponent.len()) || exponent.first() == Some(&0) {
        return Err(KeyError::Kind);
    }
    Ok(Material::Rsa { modulus, exponent })
}

/// The keys that an issuer publishes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

impl KeySet {
    /// Reads a key set. Keys of kinds that are not accepted are left out, as RFC 7517 (section 5) demands; the first
    /// [`KEYS_MAX`] of the others are kept.
    ///
    /// # Errors
    /// [`KeyError::Form`] for what is no key set, or is larger than [`SET_BYTES_MAX`].
    pub fn parse(json: &[u8]) -> Result<Self, KeyError> {
        if json.len() > SET_BYTES_MAX {
            return Err(KeyError::Form);
        }
        let set = shape::parse_json(json, DEPTH_MAX).map_err(|_| KeyError::Form)?;
        let listed = set.get("keys").and_then(Value::as_array).ok_or(KeyError::Form)?;
        Ok(Self { keys: listed.iter().filter_map(|jwk| Key::from_jwk(jwk).ok()).take(KEYS_MAX).collect() })
    }

    /// These keys.
    #[must_use]
    pub fn of(keys: Vec<Key>) -> Self {
        Self { keys }
    }

    /// The key by which a token of this algorithm and key id is to be verified. Without an id, the only key of the set
    /// that the algorithm fits; where several fit, none.
    #[must_use]
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut fitting =
            self.keys.iter().filter(|key| key.is_for(algorithm) && (kid.is_none() || key.kid() == kid));
        let first = fitting.next()?;
        fitting.next().is_none().then_some(first)
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }
}
