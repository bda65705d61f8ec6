//! Doors between capabilities.
//!
//! Capabilities never depend on each other. What one needs of another goes through a trait of this crate: the
//! one who has it implements the trait, the server hands the implementation over when it builds the modules.
//! A port is small, speaks plain records, and says nothing of how its side stores them.
//!
//! Invariants
//! - A record is a copy taken at one moment. Followers learn of changes from the event log and read again;
//!   nothing here calls back, except [`ServiceDirectory::watch`], whose state lives in memory only.
//! - Pages are ordered by id and resumed by the last id seen, so that a follower can load a million rows in
//!   bounded steps while others write.
//! - No port takes a tenant's data across: directories that span tenants ([`TenantDirectory`],
//!   [`KeyDirectory`]) are for the platform's own planes (gateway, authentication), never for a handler's reply.
//!
//! Deliberately absent: writes. A capability changes its own rows only; what others may want to know it puts
//! into the event log. Two exceptions: [`SectionApply`], by which the project file is applied to all capabilities in
//! a single transaction, and [`Enqueue`], by which a change and the work that follows from it are one transaction.

mod access;
mod directory;
mod identity;
mod jobs;
mod section;
mod service;
mod tenancy;
mod usage;

pub use access::{
    ASSERTION_LIFETIME, AssertionClaims, AssertionError, AssertionSigner, AuthError, Authenticate, LogSink,
};
pub use directory::{
    EnvironmentDirectory, EnvironmentRecord, Isolation, KeyDirectory, KeyRecord, PlanDirectory, PlanRecord,
    ResolveBy, TenantDirectory, TenantRecord, TenantStatus,
};
pub use identity::{
    BROWSER_COOKIE, Browsers, Credentials, Invitations, Links, Mail, Mailer, Membership, Memberships,
    NEXT_BYTES_MAX, Offered, Owners, Proven, SignIn, SignInError, SignInIssuers, SignedIn, SigningAlgorithm,
    TokenCheck, TokenIdentity, TokenRevocations, TokenSigner, TokenSource, TokenTenant, TokenVerdict,
};
pub use jobs::{
    Cancelled, Canceller, Enqueue, EnqueueError, JobFailure, JobHandler, NewJob, Progress, QueueRef,
    SharedEnqueue, Work,
};
pub use section::{ApplyError, Change, ChangeKind, ManagedBy, SectionApply, name_fault, named, read_section};
pub use service::{
    Endpoint, HealthCheck, PushMessage, ServiceDirectory, ServiceIdentities, ServiceIdentity, ServiceRecord,
    ServiceTokens,
};
pub use tenancy::{
    HealthSign, KeyUse, PlanLookup, PlanUse, PlanUsers, ProjectOf, TenantHealth, TenantOf, TenantPlace,
    TenantRows,
};
pub use usage::{
    ExternalIds, Grace, LimitCensus, MeterLimit, MeterPeriod, MeterVerdict, OVER_MAX, OverLimit, PlanLimits,
    PlanMeter, PlannedLimit, RouteMeters, TenantTerms, TenantTermsOf, UsageEntry, UsageLedger, UsageTotal,
};

/// A boxed future, as object-safe async methods return it.
pub type BoxFuture<'a, T> = futures_util::future::BoxFuture<'a, T>;

/// The other side of a port could not answer, for a reason that is logged where it happened. Worth a retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is unavailable")]
pub struct Unavailable {
    /// What could not be read, such as `tenants`. Never data.
    pub what: &'static str,
}

impl Unavailable {
    /// Names what could not be read.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        Self { what }
    }
}
