//! Callers without credentials, for tests below `identity`.

use authority::{Caller, Mint, Origin, Principal, PrincipalKind, Role, ServiceGrant, TenantGrant};
use base::{EnvironmentId, KeyId, ServiceId, SessionId, TenantId, UserId};

/// An operator.
#[must_use]
pub fn operator(origin: Origin) -> Caller {
    Caller::operator(&Mint::for_identity(), Principal::new(PrincipalKind::Operator, ""), origin)
}

/// An operator of this name.
#[must_use]
pub fn named_operator(name: &str, origin: Origin) -> Caller {
    Caller::operator(&Mint::for_identity(), Principal::new(PrincipalKind::Operator, name), origin)
}

/// Somebody of that team with a role of their own.
#[must_use]
pub fn operator_as(role: Role, origin: Origin) -> Caller {
    Caller::operator_as(&Mint::for_identity(), role, Principal::new(PrincipalKind::Operator, ""), origin)
}

/// A key of a tenant with this role, in every environment. The same tenant always has the same key.
#[must_use]
pub fn member(tenant: TenantId, role: Role, origin: Origin) -> Caller {
    granted(TenantGrant { tenant, role, scopes: None, environment: None }, origin)
}

/// The same, bound to one environment.
#[must_use]
pub fn bound(tenant: TenantId, role: Role, environment: EnvironmentId, origin: Origin) -> Caller {
    granted(TenantGrant { tenant, role, scopes: None, environment: Some(environment) }, origin)
}

/// A person in a session: as a member of a tenant with a role, or (`None`) as an owner of the installation.
#[must_use]
pub fn person(user: UserId, session: SessionId, member: Option<(TenantId, Role)>, origin: Origin) -> Caller {
    let (mint, principal) = (Mint::for_identity(), Principal::new(PrincipalKind::User(user), "test"));
    let caller = match member {
        Some((tenant, role)) => {
            let grant = TenantGrant { tenant, role, scopes: None, environment: None };
            Caller::tenant(&mint, grant, principal, origin)
        }
        None => Caller::operator_as(&mint, Role::Owner, principal, origin),
    };
    caller.in_session(session)
}

/// A service of an environment, that acts for one tenant, or (`None`) for all. The same environment always has the
/// same service.
#[must_use]
pub fn service(environment: EnvironmentId, tenant: Option<TenantId>, origin: Origin) -> Caller {
    let id = ServiceId::from_uuid_bytes(*environment.as_bytes());
    let principal = Principal::new(PrincipalKind::Service(id), "test");
    Caller::service(&Mint::for_identity(), ServiceGrant { environment, tenant }, principal, origin)
}

fn granted(grant: TenantGrant, origin: Origin) -> Caller {
    let key = KeyId::from_uuid_bytes(*grant.tenant.as_bytes());
    Caller::tenant(&Mint::for_identity(), grant, Principal::new(PrincipalKind::ApiKey(key), "test"), origin)
}
