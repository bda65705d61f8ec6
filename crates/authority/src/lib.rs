//! Who may do what: principals, roles, the one table of permissions, and the contexts through which data is reached.
//!
//! Purpose: a route names a [`Permission`]; a credential becomes a [`Caller`]; the caller either [may](Caller::may) or
//! may not; and whoever wants rows asks it for a [`TenantCtx`] or a [`SystemCtx`], without which no transaction opens.
//!
//! Invariants:
//! - An authenticated [`Caller`] is made with a [`Mint`], which only `identity` (and the test kit) may name; a check of
//!   the repository sees to that.
//! - A [`TenantCtx`] comes from [`Caller::tenant_ctx`], which refuses every tenant but the caller's own as
//!   [`Denied::NotFound`], or from [`SystemCtx::for_tenant`]. There is no other way.
//! - A service of the app has the permissions of [`permissions::SERVICES`] and its environment, whatever it sends.
//! - A [`SystemCtx`] carries the reason for crossing tenants, so that each place that does can be found and reviewed.
//! - A permission with [`Audience::Operator`] is never granted within a tenant, whatever its roles say.
//!
//! Deliberately absent: I/O, storage of roles or keys, HTTP. Which credential stands for which caller is the business
//! of `identity`; which status a [`Denied`] becomes, that of `web`.
//!
//! Life of the main operation: `identity` verifies a key and mints `Caller::tenant(…)`; `web` asks
//! `caller.may(&permission, environment)` for the route; the handler takes `caller.tenant_ctx(tenant)` and opens
//! a transaction with it; the store binds that tenant to every statement and records principal and origin in the
//! events of the change.

pub mod key_format;
pub mod permissions;

mod caller;
mod context;
mod pattern;
mod permission;
mod principal;
mod role;

pub use caller::{Caller, Denied, Mint, ServiceGrant, TenantGrant};
pub use context::{SystemCtx, TenantCtx};
pub use pattern::{PATTERNS_MAX, Pattern, PatternError};
pub use permission::{Audience, Permission, Verb};
pub use principal::{Origin, Principal, PrincipalKind};
pub use role::{Role, RoleError};
