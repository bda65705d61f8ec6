//! Callers: who a credential turned out to be.

use crate::{Audience, Origin, Pattern, Permission, Principal, Role, SystemCtx, TenantCtx};
use base::{EnvironmentId, ProjectId, SessionId, Slug, TenantId};

/// The right to make authenticated callers. `identity` and the test kit may name it, and nobody else; a check of the
/// repository sees to that.
#[derive(Debug)]
pub struct Mint(());

impl Mint {
    /// For `identity`, once, when it is built.
    pub const fn for_identity() -> Self {
        Self(())
    }
}

/// Why a caller may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody is known, and somebody must be.
    #[error("a credential is needed")]
    Unauthenticated,
    /// Known, but not permitted.
    #[error("not permitted")]
    Forbidden,
    /// Permitted, were its tenant not suspended.
    #[error("the tenant is suspended")]
    Suspended,
    /// It is another's, which looks the same as not being there.
    #[error("not found")]
    NotFound,
}

/// Whose rights a caller has.
#[derive(Debug, Clone)]
enum Standing {
    Operator { role: Role },
    Tenant { tenant: TenantId, role: Role, scopes: Option<Vec<Pattern>>, environment: Option<EnvironmentId> },
    Service { environment: EnvironmentId, tenant: Option<TenantId> },
    Nobody,
}

/// What a credential of a tenant allows: the tenant, the role, and what narrows it further.
#[derive(Debug, Clone)]
pub struct TenantGrant {
    /// The one tenant.
    pub tenant: TenantId,
    /// What its role grants.
    pub role: Role,
    /// Narrows the role; `None` leaves it whole.
    pub scopes: Option<Vec<Pattern>>,
    /// The one environment in which it holds; `None` for all.
    pub environment: Option<EnvironmentId>,
}

/// What a service's token allows: the tenants of its environment, or the one of them that the request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceGrant {
    /// The one environment.
    pub environment: EnvironmentId,
    /// The one tenant that it acts for in this request; `None` for all of its environment.
    pub tenant: Option<TenantId>,
}

/// Whoever makes a request, as far as authentication could tell.
#[derive(Debug, Clone)]
pub struct Caller {
    standing: Standing,
    principal: Principal,
    origin: Origin,
    project: Option<ProjectId>,
    session: Option<SessionId>,
    suspended: bool,
}

impl Caller {
    /// Somebody of the team that runs the installation, with every right.
    pub const fn operator(_: &Mint, principal: Principal, origin: Origin) -> Self {
        Self::made(Standing::Operator { role: Role::Owner }, principal, origin)
    }

    /// Somebody of that team with a role of their own.
    pub const fn operator_as(_: &Mint, role: Role, principal: Principal, origin: Origin) -> Self {
        Self::made(Standing::Operator { role }, principal, origin)
    }

    /// A member or key of a tenant.
    pub fn tenant(_: &Mint, grant: TenantGrant, principal: Principal, origin: Origin) -> Self {
        let TenantGrant { tenant, role, scopes, environment } = grant;
        Self::made(Standing::Tenant { tenant, role, scopes, environment }, principal, origin)
    }

    /// A service of the app.
    pub const fn service(_: &Mint, grant: ServiceGrant, principal: Principal, origin: Origin) -> Self {
        let ServiceGrant { environment, tenant } = grant;
        Self::made(Standing::Service { environment, tenant }, principal, origin)
    }

    /// Somebody without a credential. Needs no mint: it grants nothing.
    pub fn nobody(origin: Origin) -> Self {
        Self::made(Standing::Nobody, Principal::nobody(), origin)
    }

    const fn made(standing: Standing, principal: Principal, origin: Origin) -> Self {
        Self { standing, principal, origin, project: None, session: None, suspended: false }
    }

    /// The same, kept to one project: it can name no environment of another. For credentials that are bound to a tenant; one
    /// that is bound to an environment besides stays there.
    #[must_use]
    pub fn in_project(self, project: ProjectId) -> Self {
        Self { project: Some(project), ..self }
    }

    /// The same, in a session that its user can end.
    #[must_use]
    pub fn in_session(self, session: SessionId) -> Self {
        Self { session: Some(session), ..self }
    }

    /// The same, of a tenant that is suspended or not: of one that is, members and keys keep what
    /// [`permissions::WHILE_SUSPENDED`](crate::permissions::WHILE_SUSPENDED) lists, and get the rest back with its end.
    #[must_use]
    pub fn of_suspended(self, suspended: bool) -> Self {
        Self { suspended, ..self }
    }

    /// Whether this caller has a permission in an environment (`None` for what belongs to none). Within a tenant it takes
    /// the role and, where there are any, the scopes; operators' permissions are never given there. A service has what
    /// [`permissions::SERVICES`](crate::permissions::SERVICES) lists, nothing else. Within a suspended tenant it takes
    /// besides that the permission is one of [`permissions::WHILE_SUSPENDED`](crate::permissions::WHILE_SUSPENDED).
    pub fn may(&self, permission: &Permission, environment: Option<&Slug>) -> bool {
        self.is_granted(permission, environment) && !self.rests(permission)
    }

    /// Whether the tenant's suspension takes the permission away for its time.
    fn rests(&self, permission: &Permission) -> bool {
        self.suspended
            && matches!(self.standing, Standing::Tenant { .. })
            && !crate::permissions::WHILE_SUSPENDED.contains(permission)
    }

    fn is_granted(&self, permission: &Permission, environment: Option<&Slug>) -> bool {
        match &self.standing {
            Standing::Operator { role } => role.allows(permission, environment),
            Standing::Tenant { role, scopes, .. } => {
                permission.audience == Audience::Tenant
                    && role.allows(permission, environment)
                    && scopes
                        .as_ref()
                        .is_none_or(|all| all.iter().any(|one| one.allows(permission, environment)))
            }
            Standing::Service { .. } => crate::permissions::SERVICES.contains(permission),
            Standing::Nobody => false,
        }
    }

    /// [`Caller::may`] as a result: [`Denied::Unauthenticated`] for nobody, [`Denied::Suspended`] for who would be permitted
    /// otherwise, else [`Denied::Forbidden`].
    pub fn require(&self, permission: &Permission, environment: Option<&Slug>) -> Result<(), Denied> {
        match (&self.standing, self.is_granted(permission, environment)) {
            (_, true) if self.rests(permission) => Err(Denied::Suspended),
            (_, true) => Ok(()),
            (Standing::Nobody, false) => Err(Denied::Unauthenticated),
            (Standing::Operator { .. } | Standing::Tenant { .. } | Standing::Service { .. }, false) => {
                Err(Denied::Forbidden)
            }
        }
    }

    /// The way to one tenant's rows. Operators reach every tenant; members and keys their own, and for them any other is
    /// [`Denied::NotFound`], whether it exists or not. A service reaches the tenants of its environment's project, of
    /// which `wanted` has to be one: whoever asks has found it there (`Call::tenant_ctx` of `web` does).
    pub fn tenant_ctx(&self, wanted: TenantId) -> Result<TenantCtx, Denied> {
        let environment = match &self.standing {
            Standing::Operator { .. } => None,
            Standing::Tenant { tenant, environment, .. } if *tenant == wanted => *environment,
            Standing::Service { environment, tenant } if tenant.is_none_or(|own| own == wanted) => {
                Some(*environment)
            }
            Standing::Tenant { .. } | Standing::Service { .. } => return Err(Denied::NotFound),
            Standing::Nobody => return Err(Denied::Unauthenticated),
        };
        Ok(TenantCtx::made(wanted, environment, self.principal.clone(), self.origin.clone()))
    }

    /// The way to rows of all tenants: operators alone, with the reason.
    pub fn system_ctx(&self, reason: &'static str) -> Result<SystemCtx, Denied> {
        match &self.standing {
            Standing::Operator { .. } => {
                Ok(SystemCtx::made(reason, self.principal.clone(), self.origin.clone()))
            }
            Standing::Tenant { .. } | Standing::Service { .. } => Err(Denied::Forbidden),
            Standing::Nobody => Err(Denied::Unauthenticated),
        }
    }

    /// The way to rows of all tenants within one environment: operators, and a service that acts for all tenants of it.
    /// Whoever has it keeps to `environment`. Another environment is [`Denied::NotFound`] for a service.
    pub fn environment_ctx(
        &self,
        environment: EnvironmentId,
        reason: &'static str,
    ) -> Result<SystemCtx, Denied> {
        match &self.standing {
            Standing::Service { environment: own, tenant: None } if *own == environment => {
                Ok(SystemCtx::made(reason, self.principal.clone(), self.origin.clone()))
            }
            Standing::Service { tenant: None, .. } => Err(Denied::NotFound),
            Standing::Service { .. }
            | Standing::Operator { .. }
            | Standing::Tenant { .. }
            | Standing::Nobody => self.system_ctx(reason),
        }
    }

    /// The one tenant that is acted for: that of the credential, or the one that a service's request names; `None` for
    /// operators, services that act for all, and nobody.
    pub const fn tenant_id(&self) -> Option<TenantId> {
        match &self.standing {
            Standing::Tenant { tenant, .. } => Some(*tenant),
            Standing::Service { tenant, .. } => *tenant,
            Standing::Operator { .. } | Standing::Nobody => None,
        }
    }

    /// The environment that the credential is bound to.
    pub const fn environment(&self) -> Option<EnvironmentId> {
        match &self.standing {
            Standing::Tenant { environment, .. } => *environment,
            Standing::Service { environment, .. } => Some(*environment),
            Standing::Operator { .. } | Standing::Nobody => None,
        }
    }

    /// The one project whose environments the credential may name; `None` when nothing but its environment or its standing
    /// says so.
    pub const fn project(&self) -> Option<ProjectId> {
        self.project
    }

    /// The session of the user who calls; `None` for credentials without one.
    pub const fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// The role; `None` for services and nobody.
    pub const fn role(&self) -> Option<&Role> {
        match &self.standing {
            Standing::Operator { role } | Standing::Tenant { role, .. } => Some(role),
            Standing::Service { .. } | Standing::Nobody => None,
        }
    }

    /// What narrows the role; `None` leaves it whole.
    pub fn scopes(&self) -> Option<&[Pattern]> {
        match &self.standing {
            Standing::Tenant { scopes, .. } => scopes.as_deref(),
            Standing::Operator { .. } | Standing::Service { .. } | Standing::Nobody => None,
        }
    }

    /// Whether the team that runs the installation calls.
    pub const fn is_operator(&self) -> bool {
        matches!(self.standing, Standing::Operator { .. })
    }

    /// Whether a service of the app calls.
    pub const fn is_service(&self) -> bool {
        matches!(self.standing, Standing::Service { .. })
    }

    /// Whether nobody is known.
    pub const fn is_nobody(&self) -> bool {
        matches!(self.standing, Standing::Nobody)
    }

    /// Who.
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// From where.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }
}
