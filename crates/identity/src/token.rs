//! Judges tokens: ours here, others' by whoever knows their issuers.
//!
//! From memory alone. A token is taken apart within the limits of [`tokens`], and who it claims to come from decides who
//! judges it. Ours are good when an Ed25519 key of ours signed them as access tokens for us, their times hold, and neither
//! their session nor anything else that they stand on was revoked since. A signature is verified once; times and revocations
//! are looked at each time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use authority::{Pattern, Role, key_format};
use base::{ClientId, Email, EnvironmentId, ProjectId, SessionId, SharedClock, TenantId, Timestamp, UserId};
use parking_lot::Mutex;
use ports::{
    BoxFuture, EnvironmentDirectory, TokenCheck, TokenIdentity, TokenSource, TokenTenant, TokenVerdict,
};
use serde_json::Value;
use tokens::{Algorithm, Claims, Invalid, Malformed, TOKEN_BYTES_MAX, Unverified};

use crate::revocations::{Revocations, Target};
use crate::signer::{ISSUER, Signer};

/// The kind of an access token (RFC 9068).
pub const ACCESS_TOKEN_TYP: &str = "at+jwt";
/// For whom access tokens are.
pub const AUDIENCE: &str = "switchyard";
/// The longest life of a token of ours: revocations are remembered a little longer.
pub const TOKEN_LIFETIME_MAX: Duration = Duration::from_hours(1);
/// What clocks of several processes may differ by.
pub const LEEWAY: Duration = Duration::from_secs(30);
/// Longest reason or name that is taken over from a token, in characters.
const TEXT_CHARS_MAX: usize = 200;
/// Tokens of ours that are remembered as signed rightly, of about 1 KiB each; when there are more, all are forgotten and
/// verified again.
const SIGNED_MAX: usize = 16_384;
/// How a JSON object begins in base64url.
const OBJECT_BEGINS: &str = "ey";

/// Judges tokens of ours, and hands those of others on.
pub struct Tokens {
    signer: Arc<Signer>,
    revocations: Arc<Revocations>,
    environments: Arc<dyn EnvironmentDirectory>,
    clock: SharedClock,
    external: Option<Arc<dyn TokenCheck>>,
    /// By SHA-256 of their whole text.
    signed: Mutex<HashMap<[u8; 32], Arc<Own>>>,
}

/// A token of ours that is signed rightly.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    /// What everybody may know of it.
    pub(crate) identity: Arc<TokenIdentity>,
    signed_at: Timestamp,
    /// Of the project whose user it is; `None` for operators.
    pub(crate) project: Option<ProjectId>,
    pub(crate) session: Option<SessionId>,
    /// The authorization that an application got it by, which ends like a session.
    grant: Option<SessionId>,
    /// The application, which may be removed.
    client: Option<ClientId>,
    /// What narrows the role: the patterns of a token that an application got for its user. `None` leaves it whole.
    pub(crate) scopes: Option<Vec<Pattern>>,
    /// What the person is called in events: the address, or the name.
    pub(crate) called: String,
}

/// What becomes of a text that may be a token.
pub(crate) enum Judged {
    /// Ours and valid.
    Own(Arc<Own>),
    /// Ours and not valid, or beyond what any token may be.
    Refused(&'static str),
    /// Not ours.
    Other,
    /// No token at all.
    Foreign,
}

impl Tokens {
    /// A judge. `external` judges the tokens of other issuers; without it they are nobody's.
    pub(crate) fn new(
        signer: Arc<Signer>,
        revocations: Arc<Revocations>,
        environments: Arc<dyn EnvironmentDirectory>,
        clock: SharedClock,
        external: Option<Arc<dyn TokenCheck>>,
    ) -> Tokens {
        Tokens { signer, revocations, environments, clock, external, signed: Mutex::default() }
    }

    /// Judges a token of ours, whatever its project.
    pub(crate) fn judge(&self, token: &str) -> Judged {
        if token.len() > TOKEN_BYTES_MAX {
            return out_of_bounds(token, Malformed::TooLarge);
        }
        let hash = key_format::hash(token.as_bytes());
        let known = self.signed.lock().get(&hash).cloned();
        let own = match known {
            Some(own) => own,
            None => match self.read(token) {
                Ok(own) => self.remember(hash, own),
                Err(judged) => return judged,
            },
        };
        let over = own.identity.expires_at + LEEWAY <= self.clock.now();
        if over || self.is_revoked(&own) {
            Judged::Refused(Invalid::Expired.words())
        } else {
            Judged::Own(own)
        }
    }

    fn remember(&self, hash: [u8; 32], own: Own) -> Arc<Own> {
        let own = Arc::new(own);
        let mut signed = self.signed.lock();
        if signed.len() >= SIGNED_MAX {
            signed.clear();
        }
        signed.insert(hash, Arc::clone(&own));
        own
    }

    /// Takes a token apart and verifies it, if it is ours.
    fn read(&self, token: &str) -> Result<Own, Judged> {
        let unverified = match Unverified::parse(token) {
            Ok(unverified) => unverified,
            Err(Malformed::Form) => return Err(Judged::Foreign),
            Err(malformed) => return Err(out_of_bounds(token, malformed)),
        };
        if unverified.issuer() != Some(ISSUER) {
            return Err(Judged::Other);
        }
        self.own(unverified).map_err(|invalid| Judged::Refused(invalid.words()))
    }

    fn own(&self, unverified: Unverified<'_>) -> Result<Own, Invalid> {
        let algorithm = unverified.check_header(&[Algorithm::EdDsa])?;
        let kid = unverified.kid().ok_or(Invalid::Header)?;
        let key = self.signer.verifying(kid, algorithm).ok_or(Invalid::Signature)?;
        let verified = unverified.verify(&key, &[Algorithm::EdDsa])?;
        let is_access = verified.typ().is_some_and(|typ| typ.eq_ignore_ascii_case(ACCESS_TOKEN_TYP));
        if !is_access || verified.claims().text("aud").map_err(|_| Invalid::Audience)? != Some(AUDIENCE) {
            return Err(Invalid::Audience);
        }
        let times = self.times(verified.claims())?;
        read(verified.claims(), times)
    }

    /// When the token ends, and when it was signed, as exactly as it says.
    fn times(&self, claims: &Claims) -> Result<(Timestamp, Timestamp), Invalid> {
        let expires_at = claims.check(self.clock.now(), LEEWAY, ISSUER, &[AUDIENCE])?;
        let second = claims.time("iat")?.ok_or(Invalid::Claim)?;
        if expires_at.since(second) > TOKEN_LIFETIME_MAX {
            return Err(Invalid::Claim);
        }
        let micros = match claims.get("iat_us") {
            None => 0,
            Some(value) => {
                value.as_i64().filter(|micros| (0..1_000_000).contains(micros)).ok_or(Invalid::Claim)?
            }
        };
        Ok((expires_at, Timestamp::from_micros(second.micros() + micros)))
    }

    fn is_revoked(&self, own: &Own) -> bool {
        let Own { identity, project, session, client, signed_at, .. } = own;
        if client.is_some_and(|client| self.revocations.removed(client)) {
            return true;
        }
        if session.iter().chain(&own.grant).any(|session| self.revocations.ended(*session)) {
            return true;
        }
        let TokenSource::Own { user, .. } = identity.source else { return true };
        let tenant = match identity.tenant {
            Some(TokenTenant::Id(tenant)) => Some(tenant),
            Some(TokenTenant::Slug(_)) | None => None,
        };
        let cuts = |target: &Target| self.revocations.cuts(target, *signed_at);
        let member = || Some(Target::Member(tenant?, identity.email.as_ref()?.to_ascii_lowercase()));
        let role = || match (&identity.role, project) {
            (Some(role @ Role::Custom(_)), Some(project)) => Some(Target::role(*project, role)),
            _ => None,
        };
        cuts(&Target::User(user, None))
            || (tenant.is_some() && cuts(&Target::User(user, tenant)))
            || member().is_some_and(|target| cuts(&target))
            || role().is_some_and(|target| cuts(&target))
    }

    /// The verdict on a token of ours in an environment; `None` for one that others are to judge.
    fn verdict(&self, environment: EnvironmentId, token: &str) -> Option<TokenVerdict> {
        match self.judge(token) {
            Judged::Own(own) => {
                let environments = self.environments.shared();
                let project = environments.iter().find(|one| one.id == environment).map(|one| one.project);
                let fits = own.project.is_none() || own.project == project;
                let here = own.identity.environment.is_none_or(|bound| bound == environment);
                Some(match (fits, here) {
                    (true, true) => TokenVerdict::Valid(Arc::clone(&own.identity)),
                    (true, false) => TokenVerdict::Refused("the token is of another environment"),
                    (false, _) => TokenVerdict::Refused("the token is of another project"),
                })
            }
            Judged::Refused(words) => Some(TokenVerdict::Refused(words)),
            Judged::Foreign => Some(TokenVerdict::Foreign),
            Judged::Other => None,
        }
    }
}

impl TokenCheck for Tokens {
    fn check(&self, environment: EnvironmentId, token: &str) -> TokenVerdict {
        match (self.verdict(environment, token), &self.external) {
            (Some(verdict), _) => verdict,
            (None, Some(external)) => external.check(environment, token),
            (None, None) => TokenVerdict::Foreign,
        }
    }

    fn wait<'a>(&'a self, environment: EnvironmentId, token: &'a str) -> BoxFuture<'a, TokenVerdict> {
        match (self.verdict(environment, token), &self.external) {
            (Some(verdict), _) => Box::pin(std::future::ready(verdict)),
            (None, Some(external)) => external.wait(environment, token),
            (None, None) => Box::pin(std::future::ready(TokenVerdict::Foreign)),
        }
    }

    fn generation(&self) -> u64 {
        // Each only grows, so that their sum changes when one of them does.
        let external = self.external.as_ref().map_or(0, |external| external.generation());
        self.revocations.generation().wrapping_add(self.signer.generation()).wrapping_add(external)
    }
}

/// A text that breaks the limits. One that looks like a token is refused (TORTURE A19); any other may mean something to
/// the application.
fn out_of_bounds(token: &str, malformed: Malformed) -> Judged {
    let mut parts = token.splitn(3, '.');
    let mut begins = || parts.next().is_some_and(|part| part.starts_with(OBJECT_BEGINS));
    if begins() && begins() {
        return Judged::Refused(match malformed {
            Malformed::TooLarge => "the token is too large",
            Malformed::Form | Malformed::Content => "the token does not hold what one holds",
        });
    }
    Judged::Foreign
}

/// What a token of ours says, its signature and times being right.
fn read(claims: &Claims, (expires_at, signed_at): (Timestamp, Timestamp)) -> Result<Own, Invalid> {
    let id = |name| claims.text(name);
    let impersonator = impersonator(claims)?;
    let subject = claims.required("sub")?;
    let user = match UserId::parse(subject) {
        Ok(user) => user,
        // Whoever holds the operators' key acts as a tenant without being a user.
        Err(_) if impersonator.is_some() => UserId::from_uuid_bytes([0; 16]),
        Err(_) => return Err(Invalid::Claim),
    };
    let session = parsed(id("sid")?, |text| SessionId::parse(text).ok())?;
    let grant = parsed(id("grant")?, |text| SessionId::parse(text).ok())?;
    let client = parsed(id("client")?, |text| ClientId::parse(text).ok())?;
    let tenant = parsed(id("tenant")?, |text| TenantId::parse(text).ok())?;
    let project = parsed(id("project")?, |text| ProjectId::parse(text).ok())?;
    let environment = parsed(id("environment")?, |text| EnvironmentId::parse(text).ok())?;
    let operator = claims.flag("operator")?.unwrap_or(false);
    if operator == project.is_some() || (operator && (tenant.is_some() || environment.is_some())) {
        return Err(Invalid::Claim);
    }
    let role = claims.get("role").map(|role| serde_json::from_value::<Role>(role.clone()));
    let role = role.transpose().map_err(|_| Invalid::Claim)?;
    let email = claims.text("email")?;
    let email = parsed(email, |text| Email::parse(text).ok())?.map(|email| email.to_string());
    // A membership is called back by its address.
    if project.is_some() && impersonator.is_none() && email.is_none() {
        return Err(Invalid::Claim);
    }
    let name = claims.text("name")?.unwrap_or_default();
    let called = email.clone().unwrap_or_else(|| name.chars().take(TEXT_CHARS_MAX).collect());
    let identity = TokenIdentity {
        source: TokenSource::Own { user, session },
        subject: subject.to_owned(),
        email,
        environment,
        tenant: tenant.map(TokenTenant::Id),
        role,
        operator,
        impersonator,
        expires_at,
    };
    Ok(Own {
        identity: Arc::new(identity),
        signed_at,
        project,
        session,
        grant,
        client,
        scopes: scopes(claims)?,
        called,
    })
}

fn parsed<T>(text: Option<&str>, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Invalid> {
    text.map(|text| parse(text).ok_or(Invalid::Claim)).transpose()
}

/// Who acts as the tenant, and why (`act`).
fn impersonator(claims: &Claims) -> Result<Option<String>, Invalid> {
    let Some(act) = claims.get("act") else { return Ok(None) };
    let text = |name: &str| act.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (Some(who), Some(reason)) = (text("sub"), text("reason")) else { return Err(Invalid::Claim) };
    let cut = |text: &str| text.chars().take(TEXT_CHARS_MAX).collect::<String>();
    let who = who.strip_prefix("operator ").unwrap_or(who);
    Ok(Some(format!("{} as tenant: {}", cut(who), cut(reason))))
}

/// A token that an application got for its user may at our API what its scope names in patterns, such as `read:usage`.
fn scopes(claims: &Claims) -> Result<Option<Vec<Pattern>>, Invalid> {
    if claims.text("client")?.is_none() {
        return Ok(None);
    }
    let words = claims.text("scope")?.unwrap_or_default().split(' ');
    Ok(Some(words.filter_map(|word| Pattern::parse(word).ok()).take(authority::PATTERNS_MAX).collect()))
}
