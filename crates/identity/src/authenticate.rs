//! Turns the headers of a request into its caller.
//!
//! Every failure looks the same from outside (A10): which of malformed, unknown, expired or revoked it was is
//! told to nobody. Keys are found by their SHA-256: a comparison of hashes of 256 random bits tells nothing
//! about the key, and it is made in constant time all the same. Tokens are judged from memory ([`crate::Tokens`]); whether
//! their tenant still is, and is not suspended, is remembered for a moment as it is for keys.

use std::net::IpAddr;
use std::sync::Arc;

use authority::key_format::{self, KeyFormatError, KeyKind};
use authority::{Caller, Mint, Origin, Principal, PrincipalKind, ServiceGrant, SystemCtx, TenantGrant};
use base::{RequestId, Secret, SharedClock};
use db::{Db, SystemTx};
use http::{HeaderMap, HeaderName, header};
use ports::{
    AuthError, Authenticate, BoxFuture, EnvironmentDirectory, EnvironmentRecord, KeyUse, TenantDirectory,
    TenantStatus, TokenCheck as _, TokenSource, TokenTenant, TokenVerdict,
};

use web::Recall;

use crate::model::{Key, KeyState};
use crate::service_token::Known;
use crate::signer::Signer;
use crate::store::{keys, operators};
use crate::token::{Judged, Own, Tokens};
use crate::uses::KeyUses;

/// Longest credential that is looked at, in bytes: that of a token.
const CREDENTIAL_BYTES_MAX: usize = tokens::TOKEN_BYTES_MAX;
/// What is kept of a client's self-description, in bytes.
const AGENT_BYTES_MAX: usize = 256;
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// For whom a service acts: an id or slug.
const TENANT: HeaderName = HeaderName::from_static("switchyard-tenant");
/// In which environment; tells whose issuers are trusted.
const ENVIRONMENT: HeaderName = HeaderName::from_static("switchyard-environment");
/// Longest name of a tenant that is looked at, in bytes: a slug has at most 63, an id 30.
const TENANT_BYTES_MAX: usize = 64;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Authenticates by keys and by the tokens of services.
pub struct Authenticator {
    pub(crate) db: Db,
    pub(crate) clock: SharedClock,
    pub(crate) tenants: Arc<dyn TenantDirectory>,
    pub(crate) environments: Arc<dyn EnvironmentDirectory>,
    pub(crate) signer: Arc<Signer>,
    pub(crate) known: Known,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) uses: Arc<KeyUses>,
    pub(crate) recent: Recent,
    pub(crate) mint: Mint,
}

/// Credentials that were found a moment ago ([`web::RECALL_MAX`]), by their hash. What is not found is not kept, so that
/// guesses take no room.
pub(crate) struct Recent {
    operators: Recall<[u8; 32], [u8; 32]>,
    keys: Recall<[u8; 32], Found>,
}

/// A key, and whether its tenant is suspended.
#[derive(Clone)]
struct Found {
    key: Arc<Key>,
    is_suspended: bool,
}

impl Recent {
    pub(crate) fn new(clock: &SharedClock) -> Recent {
        Recent { operators: Recall::new(Arc::clone(clock)), keys: Recall::new(Arc::clone(clock)) }
    }
}

impl Authenticate for Authenticator {
    fn caller<'a>(
        &'a self,
        headers: &'a HeaderMap,
        peer: Option<IpAddr>,
    ) -> BoxFuture<'a, Result<Caller, AuthError>> {
        Box::pin(async move {
            let text = credential(headers)?;
            if text.expose().starts_with(key_format::SERVICE_TOKEN_PREFIX) {
                return self.service(text.expose(), headers, origin(headers, peer)).await;
            }
            let kind = match key_format::check(text.expose()) {
                Ok(kind) => kind,
                Err(KeyFormatError::Foreign) => {
                    return self.token(text.expose(), headers, origin(headers, peer)).await;
                }
                Err(KeyFormatError::Malformed | KeyFormatError::Checksum) => return Err(AuthError::Invalid),
            };
            let hash = key_format::hash(text.expose().as_bytes());
            let origin = origin(headers, peer);
            match kind {
                KeyKind::Operator => self.operator(hash, origin).await,
                KeyKind::Live | KeyKind::Test => self.tenant(hash, origin).await,
            }
        })
    }
}

impl Authenticator {
    async fn operator(&self, hash: [u8; 32], origin: Origin) -> Result<Caller, AuthError> {
        let changes = self.db.changes();
        let known = match self.recent.operators.get(&hash, changes) {
            Some(known) => Some(known),
            None => {
                let ctx = SystemCtx::because("authenticate an operator");
                let found = self.db.read_system(&ctx, move |tx| operators::find(tx, &hash)).await;
                found.map_err(unavailable)?.inspect(|known| self.recent.operators.put(hash, *known, changes))
            }
        };
        match known {
            Some(known) if base::same(&known, &hash) => {
                let principal = Principal::new(PrincipalKind::Operator, "");
                Ok(Caller::operator(&self.mint, principal, origin))
            }
            Some(_) | None => Err(AuthError::Invalid),
        }
    }

    async fn tenant(&self, hash: [u8; 32], origin: Origin) -> Result<Caller, AuthError> {
        let changes = self.db.changes();
        let Found { key, is_suspended } = match self.recent.keys.get(&hash, changes) {
            Some(found) => found,
            None => {
                let found = self.key(hash).await?;
                self.recent.keys.put(hash, found.clone(), changes);
                found
            }
        };
        let now = self.clock.now();
        if !base::same(&key.hash, &hash) || key.state(now) != KeyState::Active {
            return Err(AuthError::Invalid);
        }
        // Whoever sends a key from elsewhere has stolen it, and learns nothing of it.
        if !key.allows(origin.ip) {
            return Err(AuthError::Invalid);
        }
        self.uses.used(key.tenant, key.id, now);
        Ok(self.mint_tenant(&key, origin).of_suspended(is_suspended))
    }

    /// The key of a hash, of a tenant that there is.
    async fn key(&self, hash: [u8; 32]) -> Result<Found, AuthError> {
        let ctx = SystemCtx::because("authenticate a key");
        let found = self.db.read_system(&ctx, move |tx: &mut SystemTx| keys::by_hash(tx, &hash)).await;
        let key = found.map_err(unavailable)?.ok_or(AuthError::Invalid)?;
        let tenant =
            self.tenants.one(key.environment, key.tenant).await.map_err(|_| AuthError::Unavailable)?;
        match tenant.map(|tenant| tenant.status) {
            Some(status @ (TenantStatus::Active | TenantStatus::Suspended)) => {
                Ok(Found { key: Arc::new(key), is_suspended: status == TenantStatus::Suspended })
            }
            Some(TenantStatus::Cancelled) | None => Err(AuthError::Invalid),
        }
    }

    /// The service of a token, narrowed to the tenant that the request names.
    async fn service(&self, token: &str, headers: &HeaderMap, origin: Origin) -> Result<Caller, AuthError> {
        let deployment = self.signer.deployment_of(token).ok_or(AuthError::Invalid)?;
        let service = self.known.service(deployment).await.map_err(unavailable)?.ok_or(AuthError::Invalid)?;
        let environments = self.environments.shared();
        let environment = environments.iter().find(|one| one.id == service.environment);
        let environment = environment.ok_or(AuthError::Invalid)?;
        let tenant = match acting_for(headers)? {
            Some(name) => {
                let found = self.known.tenant(environment.project, name).await?;
                // The app's own code goes on for a suspended tenant: what it was about is finished, nothing is lost.
                Some(found.ok_or(AuthError::UnknownTenant)?.id)
            }
            None => None,
        };
        let principal = Principal::new(PrincipalKind::Service(service.id), service.name.to_string());
        let grant = ServiceGrant { environment: environment.id, tenant };
        Ok(Caller::service(&self.mint, grant, principal, origin))
    }

    /// Whoever a token speaks for.
    async fn token(&self, token: &str, headers: &HeaderMap, origin: Origin) -> Result<Caller, AuthError> {
        match self.tokens.judge(token) {
            Judged::Own(own) => self.own(&own, origin).await,
            Judged::Other => self.external(token, headers, origin).await,
            Judged::Refused(_) | Judged::Foreign => Err(AuthError::Invalid),
        }
    }

    /// A user of ours: of the team, or in the token's tenant.
    async fn own(&self, own: &Own, origin: Origin) -> Result<Caller, AuthError> {
        let Own { identity, project, session, scopes, called, .. } = own;
        let TokenSource::Own { user, .. } = identity.source else { return Err(AuthError::Invalid) };
        let role = identity.role.clone().ok_or(AuthError::Invalid)?;
        let principal = match &identity.impersonator {
            Some(words) => Principal::new(PrincipalKind::Operator, words.clone()),
            None => Principal::new(PrincipalKind::User(user), called.clone()),
        };
        let caller = match (&identity.tenant, *project) {
            (None, None) if identity.operator => Caller::operator_as(&self.mint, role, principal, origin),
            (Some(TokenTenant::Id(tenant)), Some(project)) => {
                let tenant =
                    self.known.tenant(project, &tenant.to_string()).await?.ok_or(AuthError::Invalid)?;
                // Of the team, who acts as the tenant is not held up by what the team has decided.
                let rests = tenant.is_suspended && identity.impersonator.is_none();
                let environment = identity.environment;
                let grant = TenantGrant { tenant: tenant.id, role, scopes: scopes.clone(), environment };
                Caller::tenant(&self.mint, grant, principal, origin).in_project(project).of_suspended(rests)
            }
            _ => return Err(AuthError::Invalid),
        };
        Ok(match session {
            Some(session) => caller.in_session(*session),
            None => caller,
        })
    }

    /// A user of an issuer that the project of the call trusts.
    async fn external(&self, token: &str, headers: &HeaderMap, origin: Origin) -> Result<Caller, AuthError> {
        let environments = self.environments.shared();
        let place = place(headers, &environments, self.environments.current().as_ref());
        let place = place.ok_or(AuthError::Invalid)?;
        let TokenVerdict::Valid(identity) = self.tokens.wait(place.id, token).await else {
            return Err(AuthError::Invalid);
        };
        let TokenSource::External(issuer) = identity.source else { return Err(AuthError::Invalid) };
        let name = match &identity.tenant {
            Some(TokenTenant::Id(tenant)) => tenant.to_string(),
            Some(TokenTenant::Slug(slug)) => slug.to_string(),
            None => return Err(AuthError::Invalid),
        };
        let tenant = self.known.tenant(place.project, &name).await?.ok_or(AuthError::Invalid)?;
        let role = identity.role.clone().ok_or(AuthError::Invalid)?;
        let principal = Principal::new(PrincipalKind::External(issuer), identity.subject.clone());
        let environment = identity.environment;
        let grant = TenantGrant { tenant: tenant.id, role, scopes: None, environment };
        let caller = Caller::tenant(&self.mint, grant, principal, origin).in_project(place.project);
        Ok(caller.of_suspended(tenant.is_suspended))
    }

    fn mint_tenant(&self, key: &Key, origin: Origin) -> Caller {
        let principal = Principal::new(PrincipalKind::ApiKey(key.id), key.name.clone());
        let grant = TenantGrant {
            tenant: key.tenant,
            role: key.role.clone(),
            scopes: key.scopes.clone(),
            environment: Some(key.environment),
        };
        Caller::tenant(&self.mint, grant, principal, origin)
    }
}

fn unavailable(error: db::Error) -> AuthError {
    tracing::warn!(%error, "credentials cannot be checked");
    AuthError::Unavailable
}

/// The environment that a call names, by name or id; where it names none, the one that this process runs, or the only one.
fn place<'a>(
    headers: &HeaderMap,
    all: &'a [EnvironmentRecord],
    current: Option<&EnvironmentRecord>,
) -> Option<&'a EnvironmentRecord> {
    let is_current = |one: &&EnvironmentRecord| current.is_some_and(|current| current.id == one.id);
    match headers.get(ENVIRONMENT) {
        Some(name) => {
            let name = name.to_str().ok()?;
            let called = |one: &&EnvironmentRecord| one.slug.as_str() == name || one.id.to_string() == name;
            let of_current = |one: &&EnvironmentRecord| {
                called(one) && current.is_none_or(|current| current.project == one.project)
            };
            all.iter().find(of_current).or_else(|| all.iter().find(called))
        }
        None => all.iter().find(is_current).or_else(|| all.first().filter(|_| all.len() == 1)),
    }
}

/// The tenant that a service names; `None` when it acts for all of its environment. What cannot be a name is no tenant's.
fn acting_for(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let mut values = headers.get_all(TENANT).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let name = value.to_str().ok().map(str::trim);
    let name = name.filter(|name| values.next().is_none() && name.len() <= TENANT_BYTES_MAX);
    name.map(Some).ok_or(AuthError::UnknownTenant)
}

/// The one credential of a request. Two that differ are refused: which of them was meant cannot be told.
fn credential(headers: &HeaderMap) -> Result<Secret<String>, AuthError> {
    let mut found: Option<&str> = None;
    let bearers = headers.get_all(header::AUTHORIZATION).iter().map(|value| {
        let text = value.to_str().ok()?;
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let plain = headers.get_all(API_KEY).iter().map(|value| value.to_str().ok().map(str::trim));
    for text in bearers.chain(plain) {
        let text = text.filter(|text| text.len() <= CREDENTIAL_BYTES_MAX).ok_or(AuthError::Invalid)?;
        if found.is_some_and(|before| before != text) {
            return Err(AuthError::Invalid);
        }
        found = Some(text);
    }
    found.map(|text| Secret::from(text.to_owned())).ok_or(AuthError::Missing)
}

/// From where a request came. The request's id is the one that the server gave it, not the client's.
fn origin(headers: &HeaderMap, peer: Option<IpAddr>) -> Origin {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let agent = text(&header::USER_AGENT).map(|agent| agent.chars().take(AGENT_BYTES_MAX).collect());
    let request = text(&REQUEST_ID).and_then(|id| RequestId::parse(id).ok());
    Origin { ip: peer, agent, request }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    fn read(pairs: &[(&'static str, &'static str)]) -> Result<String, AuthError> {
        credential(&headers(pairs)).map(|text| text.expose().clone())
    }

    #[test]
    fn one_credential_is_read_from_either_header() {
        assert_eq!(read(&[]), Err(AuthError::Missing));
        assert_eq!(read(&[("authorization", "Bearer abc")]).unwrap(), "abc");
        assert_eq!(read(&[("authorization", "bearer  abc ")]).unwrap(), "abc");
        assert_eq!(read(&[("x-api-key", "abc")]).unwrap(), "abc");
        assert_eq!(read(&[("authorization", "Bearer abc"), ("x-api-key", "abc")]).unwrap(), "abc");
    }

    #[test]
    fn what_is_ambiguous_or_foreign_is_invalid() {
        for pairs in [
            &[("authorization", "Bearer abc"), ("x-api-key", "xyz")][..],
            &[("x-api-key", "abc"), ("x-api-key", "xyz")][..],
            &[("authorization", "Basic YTpi")][..],
            &[("authorization", "abc")][..],
            &[("authorization", "Basic YTpi"), ("x-api-key", "abc")][..],
        ] {
            assert_eq!(read(pairs), Err(AuthError::Invalid), "{pairs:?}");
        }
        let mut long = HeaderMap::new();
        long.insert(API_KEY, HeaderValue::from_str(&"a".repeat(8_193)).unwrap());
        assert!(credential(&long).is_err());
    }

    #[test]
    fn the_origin_holds_the_socket_and_a_short_agent() {
        let map = headers(&[("user-agent", "curl/8"), ("x-forwarded-for", "9.9.9.9")]);
        let origin = origin(&map, Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(origin.ip, Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(origin.agent.as_deref(), Some("curl/8"));
        assert_eq!(origin.request, None);
    }
}
