//! The tokens by which services call Switchyard: `sy_svc_` and 64 characters of base64url, which are a deployment's id (16
//! bytes) and an HMAC-SHA256 over it (32 bytes).
//!
//! Nothing of a token is stored. Its key comes from the seed of the key that signs assertions, so that every process
//! of the installation can make and judge tokens, and a restart changes none: replicas outlive Switchyard. What a
//! deployment is worth is asked of `deployments` ([`ports::ServiceIdentities`]) and remembered for
//! [`web::RECALL_MAX`], which is how long a token outlives its service at most.

use std::sync::Arc;

use authority::SystemCtx;
use authority::key_format::SERVICE_TOKEN_PREFIX;
use base::{DeploymentId, ProjectId, Secret, ServiceId, SharedClock, TenantId};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use db::Db;
use ports::{AuthError, PushMessage, ServiceIdentities, ServiceIdentity, TenantDirectory, TenantStatus};
use ring::hmac;
use tokens::WebhookKey;
use web::Recall;

/// Bytes of a deployment's id.
const ID_BYTES: usize = 16;
/// Bytes of an HMAC-SHA256.
const MAC_BYTES: usize = 32;
/// What the key is for; another use derives another key.
const TOKENS: &[u8] = b"switchyard service token, version 1";
/// The same for what goes the other way.
const PUSHES: &[u8] = b"switchyard push secret, version 1";

/// Makes and verifies tokens.
pub(crate) struct TokenKey {
    tokens: hmac::Key,
    pushes: hmac::Key,
}

impl TokenKey {
    /// The key that belongs to a seed: HMAC as a key derivation over its purpose (SP 800-108).
    pub(crate) fn derive(seed: &[u8]) -> TokenKey {
        let root = hmac::Key::new(hmac::HMAC_SHA256, seed);
        let derived = |purpose| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, purpose).as_ref());
        TokenKey { tokens: derived(TOKENS), pushes: derived(PUSHES) }
    }

    pub(crate) fn mint(&self, deployment: DeploymentId) -> Secret<String> {
        let mut bytes = Vec::with_capacity(ID_BYTES + MAC_BYTES);
        bytes.extend_from_slice(deployment.as_bytes());
        bytes.extend_from_slice(hmac::sign(&self.tokens, deployment.as_bytes()).as_ref());
        let bytes = Secret::from(bytes);
        Secret::from(format!("{SERVICE_TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes.expose())))
    }

    /// What a service verifies our requests with: 32 bytes, as `whsec_` and base64.
    pub(crate) fn push_secret(&self, service: ServiceId) -> Secret<String> {
        WebhookKey::text(hmac::sign(&self.pushes, service.as_bytes()).as_ref())
    }

    /// The signature that a service verifies with it.
    pub(crate) fn sign_push(&self, service: ServiceId, message: &PushMessage<'_>) -> String {
        let secret = hmac::sign(&self.pushes, service.as_bytes());
        WebhookKey::new(secret.as_ref()).sign(message.id, message.at, message.body)
    }

    /// The deployment that a token was made for; `None` when it was not made with this key.
    pub(crate) fn verify(&self, token: &str) -> Option<DeploymentId> {
        let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix(SERVICE_TOKEN_PREFIX)?).ok()?;
        let (id, mac) = bytes.split_at_checked(ID_BYTES)?;
        // In constant time, and only a whole MAC.
        hmac::verify(&self.tokens, id, mac).ok()?;
        Some(DeploymentId::from_uuid_bytes(id.try_into().ok()?))
    }
}

/// What is known of deployments and of the names of tenants, for a moment ([`web::RECALL_MAX`]).
pub(crate) struct Known {
    db: Db,
    services: Arc<dyn ServiceIdentities>,
    tenants: Arc<dyn TenantDirectory>,
    deployments: Recall<DeploymentId, Option<ServiceIdentity>>,
    names: Recall<(ProjectId, String), Option<KnownTenant>>,
}

/// A tenant that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownTenant {
    pub(crate) id: TenantId,
    pub(crate) is_suspended: bool,
}

impl Known {
    pub(crate) fn new(
        db: Db,
        clock: SharedClock,
        services: Arc<dyn ServiceIdentities>,
        tenants: Arc<dyn TenantDirectory>,
    ) -> Known {
        let names = Recall::new(Arc::clone(&clock));
        Known { db, services, tenants, deployments: Recall::new(clock), names }
    }

    /// Whose deployment this is, while it counts.
    pub(crate) async fn service(
        &self,
        deployment: DeploymentId,
    ) -> Result<Option<ServiceIdentity>, db::Error> {
        let changes = self.db.changes();
        if let Some(known) = self.deployments.get(&deployment, changes) {
            return Ok(known);
        }
        let ctx = SystemCtx::because("authenticate a service");
        let services = Arc::clone(&self.services);
        let found = self.db.read_system(&ctx, move |tx| services.of_deployment(tx, deployment)).await?;
        self.deployments.put(deployment, found.clone(), changes);
        Ok(found)
    }

    /// The tenant of a project that an id or slug names; one that was cancelled is no more.
    pub(crate) async fn tenant(
        &self,
        project: ProjectId,
        name: &str,
    ) -> Result<Option<KnownTenant>, AuthError> {
        let changes = self.db.changes();
        let key = (project, name.to_owned());
        if let Some(known) = self.names.get(&key, changes) {
            return Ok(known);
        }
        let found = self.tenants.find(name, Some(project)).await.map_err(|_| AuthError::Unavailable)?;
        let found = found.filter(|tenant| match tenant.status {
            TenantStatus::Active | TenantStatus::Suspended => tenant.project == project,
            TenantStatus::Cancelled => false,
        });
        let known = found.map(|tenant| KnownTenant {
            id: tenant.id,
            is_suspended: tenant.status == TenantStatus::Suspended,
        });
        self.names.put(key, known, changes);
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use base::{ManualClock, SeededRandom, Timestamp};

    use super::*;

    fn deployment(seed: u64) -> DeploymentId {
        DeploymentId::new(&ManualClock::new(Timestamp::EPOCH), &SeededRandom::new(seed))
    }

    #[test]
    fn a_token_names_its_deployment_and_is_the_same_each_time() {
        let key = TokenKey::derive(&[7; 32]);
        let token = key.mint(deployment(1));
        assert_eq!(token.expose().len(), SERVICE_TOKEN_PREFIX.len() + 64);
        assert_eq!(key.verify(token.expose()), Some(deployment(1)));
        assert_eq!(TokenKey::derive(&[7; 32]).mint(deployment(1)).expose(), token.expose());
        assert_ne!(key.mint(deployment(2)).expose(), token.expose());
    }

    #[test]
    fn a_token_of_another_installation_or_with_any_other_character_is_none() {
        let key = TokenKey::derive(&[7; 32]);
        let token = key.mint(deployment(1)).expose().clone();
        assert_eq!(TokenKey::derive(&[8; 32]).verify(&token), None);
        for at in SERVICE_TOKEN_PREFIX.len()..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let wrong = String::from_utf8(bytes).expect("ASCII");
            assert_eq!(key.verify(&wrong), None, "at {at}");
        }
        for short in ["", "sy_svc_", &token[..token.len() - 1], &token[..30], &token.replace("sy_svc_", "")] {
            assert_eq!(key.verify(short), None, "{short}");
        }
    }

    #[test]
    fn redaction_knows_tokens() {
        let token = TokenKey::derive(&[9; 32]).mint(deployment(3));
        let line = format!("calling with {} now", token.expose());
        let shown = telemetry::redact(&line);
        assert!(!shown.contains(&token.expose()[SERVICE_TOKEN_PREFIX.len()..]), "{shown}");
        assert!(shown.ends_with(" now"), "{shown}");
    }

    #[test]
    fn a_push_secret_is_a_services_own_and_no_token() {
        let key = TokenKey::derive(&[9; 32]);
        let service = |seed| ServiceId::from_uuid_bytes([seed; 16]);
        let secret = key.push_secret(service(1)).expose().clone();
        assert_eq!(secret.len(), "whsec_".len() + 44);
        assert_eq!(key.push_secret(service(1)).expose(), &secret);
        assert_ne!(key.push_secret(service(2)).expose(), &secret);
        let message = PushMessage { id: "job_1", at: Timestamp::EPOCH, body: b"{}" };
        let signed = WebhookKey::parse(&secret).map(|key| key.sign("job_1", Timestamp::EPOCH, b"{}"));
        assert_eq!(Some(key.sign_push(service(1), &message)), signed);
        assert!(!telemetry::redact(&secret).contains(&secret[6..20]));
    }
}
