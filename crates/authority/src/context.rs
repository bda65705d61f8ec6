//! Contexts: the proof that a transaction may see these rows.

use crate::{Denied, Origin, Principal, PrincipalKind};
use base::{EnvironmentId, TenantId};

/// The right to reach one tenant's rows, and on whose account. Only [`Caller::tenant_ctx`](crate::Caller::tenant_ctx)
/// and [`SystemCtx::for_tenant`] make one.
#[derive(Debug, Clone)]
pub struct TenantCtx {
    tenant: TenantId,
    environment: Option<EnvironmentId>,
    principal: Principal,
    origin: Origin,
}

impl TenantCtx {
    pub(crate) const fn made(
        tenant: TenantId,
        environment: Option<EnvironmentId>,
        principal: Principal,
        origin: Origin,
    ) -> Self {
        Self { tenant, environment, principal, origin }
    }

    /// The one tenant.
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The environment that the credential is bound to or that was chosen; `None` while neither is so.
    pub const fn environment(&self) -> Option<EnvironmentId> {
        self.environment
    }

    /// Who acts.
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// From where.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// On the same account to rows that do not belong to the tenant, for what must change with its own rows in one
    /// transaction. The reason is a literal, so that each place can be found and reviewed; it keeps to the tenant by
    /// the transaction's `for_tenant`.
    pub fn crossing(&self, reason: &'static str) -> SystemCtx {
        SystemCtx::made(reason, self.principal.clone(), self.origin.clone())
    }

    /// The same within an environment. A context that is bound to another one is [`Denied::NotFound`].
    pub fn in_environment(self, environment: EnvironmentId) -> Result<Self, Denied> {
        match self.environment {
            Some(bound) if bound != environment => Err(Denied::NotFound),
            Some(_) | None => Ok(Self { environment: Some(environment), ..self }),
        }
    }
}

/// The right to reach rows of all tenants, with the reason.
#[derive(Debug, Clone)]
pub struct SystemCtx {
    reason: &'static str,
    principal: Principal,
    origin: Origin,
}

impl SystemCtx {
    /// Switchyard itself crosses tenants, because of this. The reason is a literal, so that it can be found and reviewed;
    /// it is also what events show.
    pub fn because(reason: &'static str) -> Self {
        Self { reason, principal: Principal::new(PrincipalKind::System, reason), origin: Origin::default() }
    }

    pub(crate) const fn made(reason: &'static str, principal: Principal, origin: Origin) -> Self {
        Self { reason, principal, origin }
    }

    /// Why tenants are crossed.
    pub const fn reason(&self) -> &'static str {
        self.reason
    }

    /// Who acts.
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// From where.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Narrowed to one tenant, on the same account.
    pub fn for_tenant(&self, tenant: TenantId) -> TenantCtx {
        TenantCtx::made(tenant, None, self.principal.clone(), self.origin.clone())
    }
}
