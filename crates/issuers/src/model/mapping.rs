//! What a token of an issuer says in our words.

use std::time::Duration;

use authority::Role;
use base::{Email, EnvironmentId, IssuerId, Slug, TenantId, Timestamp};
use ports::{TokenIdentity, TokenSource, TokenTenant};
use serde_json::Value;
use tokens::{Claims, Invalid, Verified};

use super::{Rules, TenantBy};

/// What the clocks of an issuer and ours may differ by.
pub const LEEWAY: Duration = Duration::from_secs(30);
/// Characters of a person's id at an issuer (OpenID Connect Core 1.0, 2).
pub const SUBJECT_CHARS_MAX: usize = 255;

/// Kinds of tokens that are credentials: those of sessions and APIs, but not those of logout, events or proofs, which issuers sign
/// by the same keys.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

/// Judges a token whose signature is right, and maps it.
///
/// # Errors
/// [`Invalid`], the first thing that does not hold.
pub fn judge(
    rules: &Rules,
    (id, name, environment): (IssuerId, &Slug, Option<EnvironmentId>),
    verified: &Verified,
    now: Timestamp,
) -> Result<TokenIdentity, Invalid> {
    let known = verified.typ().is_none_or(|typ| TYPES.contains(&typ.to_ascii_lowercase().as_str()));
    if !known {
        return Err(Invalid::Header);
    }
    let claims = verified.claims();
    let expires_at = times_and_audience(rules, claims, now)?;
    if !rules.authorized_parties.is_empty() {
        let party = claims.text("azp")?.ok_or(Invalid::Audience)?;
        if !rules.authorized_parties.iter().any(|one| one == party) {
            return Err(Invalid::Audience);
        }
    }
    let user = text(claims, &rules.user)?.filter(|user| !user.is_empty()).ok_or(Invalid::Claim)?;
    if user.chars().count() > SUBJECT_CHARS_MAX || user.chars().any(char::is_control) {
        return Err(Invalid::Claim);
    }
    let tenant = tenant(rules, claims)?;
    // A role without a tenant is a role nowhere.
    let role = if tenant.is_some() { role(rules, claims) } else { None };
    Ok(TokenIdentity {
        source: TokenSource::External(id),
        subject: format!("{name}|{user}"),
        email: proven_email(rules, claims)?.map(|email| email.to_string()),
        environment,
        tenant,
        role,
        operator: false,
        impersonator: None,
        expires_at,
    })
}

fn times_and_audience(rules: &Rules, claims: &Claims, now: Timestamp) -> Result<Timestamp, Invalid> {
    let audiences: Vec<&str> = rules.audiences.iter().map(String::as_str).collect();
    if audiences.is_empty() && !(rules.without_audience && claims.get("aud").is_none()) {
        return Err(Invalid::Audience);
    }
    claims.check(now, LEEWAY, &rules.url, &audiences)
}

/// The address, if the issuer says that it is the person's.
pub(crate) fn proven_email(rules: &Rules, claims: &Claims) -> Result<Option<Email>, Invalid> {
    if claims.flag("email_verified")? != Some(true) {
        return Ok(None);
    }
    Ok(text(claims, &rules.email)?.and_then(|email| Email::parse(email).ok()))
}

fn tenant(rules: &Rules, claims: &Claims) -> Result<Option<TokenTenant>, Invalid> {
    let Some(named) = text(claims, &rules.tenant)? else { return Ok(None) };
    let tenant = match rules.tenant_by {
        TenantBy::Slug => TokenTenant::Slug(Slug::parse(named).map_err(|_| Invalid::Claim)?),
        TenantBy::Id => TokenTenant::Id(TenantId::parse(named).map_err(|_| Invalid::Claim)?),
        TenantBy::External => TokenTenant::Slug(rules.tenants.get(named).ok_or(Invalid::Claim)?.clone()),
    };
    Ok(Some(tenant))
}

fn role(rules: &Rules, claims: &Claims) -> Option<Role> {
    let meaning = |word: &Value| rules.roles.get(word.as_str()?).cloned();
    let said = match claims.at(&rules.role) {
        Some(Value::Array(words)) => words.iter().find_map(meaning),
        Some(word) => meaning(word),
        None => None,
    };
    said.or_else(|| rules.default_role.clone())
}

fn text<'c>(claims: &'c Claims, path: &str) -> Result<Option<&'c str>, Invalid> {
    match claims.at(path) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Invalid::Claim),
    }
}
