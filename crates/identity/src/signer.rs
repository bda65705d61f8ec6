//! Signs what the gateway tells the app: Ed25519 (EdDSA, RFC 8037) over a compact JWT. And makes the tokens by which
//! services call back ([`crate::service_token`]).
//!
//! The seed is sealed in the store and open in memory. Without the master key there is no signing key, and the
//! gateway serves without assertions.

use std::sync::Arc;

use authority::SystemCtx;
use base::{DeploymentId, Secret, ServiceId, SharedClock, SharedRandom};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use db::{Db, SystemTx};
use ports::{
    ASSERTION_LIFETIME, AssertionClaims, AssertionError, AssertionSigner, PushMessage, ServiceTokens,
};
use ring::digest;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use crate::service_token::TokenKey;
use crate::store::signing::{self, SigningRow};

/// Who issues assertions (`iss`).
pub const ISSUER: &str = "switchyard";
/// Bytes of an Ed25519 seed (RFC 8032).
const SEED_BYTES: usize = 32;

/// The signer of assertions.
pub struct Signer {
    clock: SharedClock,
    current: Option<Current>,
    jwks: Value,
}

struct Current {
    pair: Ed25519KeyPair,
    /// The first part of every token: the header, encoded.
    header: String,
    /// Signs the tokens of services.
    services: TokenKey,
}

impl Signer {
    /// Reads the signing key, and makes one when there is none. In a sealed store the signer has no key.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load(db: &Db, clock: SharedClock, random: &SharedRandom) -> Result<Arc<Signer>, db::Error> {
        let ctx = SystemCtx::because("read the key that signs assertions");
        let rows = db.read_system(&ctx, signing::all).await?;
        let rows = if rows.is_empty() { make(db, &clock, random).await? } else { rows };
        let current = match rows.first() {
            Some(row) => open(db, row.clone()).await?,
            None => None,
        };
        let keys: Vec<Value> = rows.iter().map(|row| jwk(&row.kid, &row.public)).collect();
        Ok(Arc::new(Signer { clock, current, jwks: json!({ "keys": keys }) }))
    }
}

/// Makes the first key. Where two processes start at once, the first one's is kept. Gives none while sealed.
async fn make(db: &Db, clock: &SharedClock, random: &SharedRandom) -> Result<Vec<SigningRow>, db::Error> {
    let seed = Secret::from(random.array::<SEED_BYTES>());
    let now = clock.now();
    let ctx = SystemCtx::because("make the key that signs assertions");
    let made = db.write_system(&ctx, move |tx: &mut SystemTx| {
        let there = signing::all(tx)?;
        if !there.is_empty() {
            return Ok(there);
        }
        let pair = pair_of(seed.expose())?;
        let public = <[u8; 32]>::try_from(pair.public_key().as_ref()).map_err(|_| broken())?;
        let kid = thumbprint(&public);
        let sealed = tx.seal(&aad(&kid), seed.expose())?;
        let row = SigningRow { kid, public, sealed };
        signing::insert(tx, &row, now)?;
        Ok(vec![row])
    });
    match made.await {
        Err(db::Error::Sealed) => Ok(Vec::new()),
        other => other,
    }
}

async fn open(db: &Db, row: SigningRow) -> Result<Option<Current>, db::Error> {
    let header = json!({ "alg": "EdDSA", "kid": row.kid, "typ": "JWT" });
    let ctx = SystemCtx::because("open the key that signs assertions");
    let opened = db.read_system(&ctx, move |tx| tx.open(&aad(&row.kid), &row.sealed).map(Secret::from));
    match opened.await {
        Ok(seed) => Ok(Some(Current {
            pair: pair_of(seed.expose())?,
            header: encoded(&header),
            services: TokenKey::derive(seed.expose()),
        })),
        Err(db::Error::Sealed) => Ok(None),
        Err(error) => Err(error),
    }
}

fn pair_of(seed: &[u8]) -> Result<Ed25519KeyPair, db::Error> {
    Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| broken())
}

fn broken() -> db::Error {
    db::Error::Decode("the signing key is damaged".to_owned())
}

/// What the sealed seed is bound to.
fn aad(kid: &str) -> Vec<u8> {
    vault::aad(&[b"identity signing key", kid.as_bytes()])
}

/// The public key as a JWK (RFC 8037, 2).
fn jwk(kid: &str, public: &[u8; 32]) -> Value {
    json!({
        "kty": "OKP",
        "crv": "Ed25519",
        "x": URL_SAFE_NO_PAD.encode(public),
        "kid": kid,
        "alg": "EdDSA",
        "use": "sig",
    })
}

/// The key's thumbprint (RFC 7638): members in order, nothing else, SHA-256.
fn thumbprint(public: &[u8; 32]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public);
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

impl AssertionSigner for Signer {
    fn sign(&self, claims: &AssertionClaims) -> Result<String, AssertionError> {
        let current = self.current.as_ref().ok_or(AssertionError("the store is sealed"))?;
        let AssertionClaims { tenant, tenant_slug, plan, environment, audience, subject, role } = claims;
        let now = self.clock.now().seconds();
        let lifetime = i64::try_from(ASSERTION_LIFETIME.as_secs()).unwrap_or(i64::MAX);
        let mut payload = json!({
            "iss": ISSUER,
            "aud": audience,
            "tenant": tenant,
            "tenant_slug": tenant_slug,
            "plan": plan,
            "environment": environment,
            "iat": now,
            "nbf": now,
            "exp": now.saturating_add(lifetime),
        });
        if let Some(subject) = subject {
            payload["sub"] = subject.as_str().into();
        }
        if let Some(role) = role {
            payload["role"] = role.as_str().into();
        }
        let signed = format!("{}.{}", current.header, encoded(&payload));
        let signature = current.pair.sign(signed.as_bytes());
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn jwks(&self) -> Value {
        self.jwks.clone()
    }
}

impl Signer {
    /// The deployment that a service's token was made for; `None` for what is no token of this installation.
    pub(crate) fn deployment_of(&self, token: &str) -> Option<DeploymentId> {
        self.current.as_ref()?.services.verify(token)
    }
}

impl ServiceTokens for Signer {
    fn mint(&self, deployment: DeploymentId) -> Option<Secret<String>> {
        Some(self.current.as_ref()?.services.mint(deployment))
    }

    fn push_secret(&self, service: ServiceId) -> Option<Secret<String>> {
        Some(self.current.as_ref()?.services.push_secret(service))
    }

    fn sign_push(&self, service: ServiceId, message: &PushMessage<'_>) -> Option<String> {
        Some(self.current.as_ref()?.services.sign_push(service, message))
    }
}

#[cfg(test)]
mod tests {
    use base::{EnvironmentId, ManualClock, SeededRandom, Slug, TenantId, Timestamp};
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037() {
        // RFC 8037, A.2 and A.3.
        let public = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let public: [u8; 32] = public.try_into().unwrap();
        assert_eq!(thumbprint(&public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn the_signature_is_that_of_rfc_8037() {
        // RFC 8037, A.4: the seed of A.1 over the example's signing input.
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let pair = pair_of(&seed).unwrap();
        let signature = pair.sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc");
        assert_eq!(
            URL_SAFE_NO_PAD.encode(signature),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        );
    }

    #[test]
    fn an_assertion_verifies_and_holds_the_claims() {
        let clock = ManualClock::new(Timestamp::from_micros(1_000_000_000));
        let random = SeededRandom::new(9);
        let pair = pair_of(&[7; 32]).unwrap();
        let public = pair.public_key().as_ref().to_vec();
        let header = encoded(&json!({ "alg": "EdDSA" }));
        let signer = Signer {
            clock: clock.shared(),
            current: Some(Current { pair, header, services: TokenKey::derive(&[7; 32]) }),
            jwks: json!({ "keys": [] }),
        };
        let slug = |text| Slug::parse(text).unwrap();
        let claims = AssertionClaims {
            tenant: TenantId::new(&clock, &random),
            tenant_slug: slug("acme"),
            plan: slug("pro"),
            environment: EnvironmentId::new(&clock, &random),
            audience: slug("web"),
            subject: Some("key_1".to_owned()),
            role: None,
        };
        let token = signer.sign(&claims).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&ED25519, &public).verify(signed.as_bytes(), &signature).unwrap();
        let payload = URL_SAFE_NO_PAD.decode(signed.split('.').nth(1).unwrap()).unwrap();
        let payload: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(payload["aud"], "web");
        assert_eq!(payload["sub"], "key_1");
        assert_eq!(payload["iat"], 1_000);
        assert_eq!(payload["exp"], 1_060);
        assert!(payload.get("role").is_none());
    }
}
