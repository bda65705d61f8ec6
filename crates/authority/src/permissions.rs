//! THE table of permissions. A route declares one of these; a test walks all routes and proves that each refuses every
//! role that lacks it. A line is added together with the first route that needs it.

use crate::{Audience, Permission, Role, Verb};
use std::fmt::Write;

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $verb:ident $resource:literal for $audience:ident;)+) => {
        $($(#[$doc])* pub const $name: Permission =
            Permission { verb: Verb::$verb, resource: $resource, audience: Audience::$audience };)+
        /// Every permission, in the order of this file.
        pub static ALL: &[Permission] = &[$($name),+];
    };
}

permissions! {
    /// Who I am and what I may.
    ME_READ = Read "me" for Tenant;

    /// Projects.
    PROJECTS_READ = Read "projects" for Operator;
    /// Making and changing projects.
    PROJECTS_WRITE = Write "projects" for Operator;
    /// Environments: their base domains and rules of resolution.
    ENVIRONMENTS_READ = Read "environments" for Operator;
    /// Making and changing environments.
    ENVIRONMENTS_WRITE = Write "environments" for Operator;
    /// The project file that is in force.
    CONFIGURATION_READ = Read "configuration" for Operator;
    /// Applying a project file, which can change everything that it manages.
    CONFIGURATION_WRITE = Write "configuration" for Operator;

    /// Tenants; within a tenant, itself.
    TENANTS_READ = Read "tenants" for Tenant;
    /// Making tenants, changing plan and status.
    TENANTS_WRITE = Write "tenants" for Operator;
    /// Erasing tenants.
    TENANTS_DELETE = Delete "tenants" for Operator;
    /// A tenant's own host names.
    DOMAINS_READ = Read "domains" for Tenant;
    /// Adding host names.
    DOMAINS_WRITE = Write "domains" for Tenant;
    /// Removing host names.
    DOMAINS_DELETE = Delete "domains" for Tenant;

    /// API keys, without their secrets.
    KEYS_READ = Read "keys" for Tenant;
    /// Making and rotating API keys.
    KEYS_WRITE = Write "keys" for Tenant;
    /// Revoking API keys.
    KEYS_DELETE = Delete "keys" for Tenant;
    /// Members and their roles.
    MEMBERS_READ = Read "members" for Tenant;
    /// Inviting members and changing roles below owner.
    MEMBERS_WRITE = Write "members" for Tenant;
    /// Removing members below owner.
    MEMBERS_DELETE = Delete "members" for Tenant;
    /// Making somebody an owner, or no longer one.
    OWNERS_WRITE = Write "owners" for Tenant;

    /// Custom roles of a project.
    ROLES_READ = Read "roles" for Tenant;
    /// Making and changing custom roles.
    ROLES_WRITE = Write "roles" for Operator;
    /// Removing custom roles.
    ROLES_DELETE = Delete "roles" for Operator;
    /// The installation's keys that sign tokens: making the next one.
    SIGNING_WRITE = Write "signing" for Operator;
    /// Users of a project, their sessions and the outbox; a person's own need no more than a session.
    USERS_READ = Read "users" for Operator;
    /// Disabling users, ending their sessions.
    USERS_WRITE = Write "users" for Operator;
    /// A person's own password, second factor and sessions.
    ME_WRITE = Write "me" for Tenant;
    /// Acting as a tenant for a limited time, with a reason.
    IMPERSONATION_WRITE = Write "impersonation" for Operator;
    /// Trusted issuers of tokens.
    ISSUERS_READ = Read "issuers" for Operator;
    /// Trusting issuers, and changing how their claims are mapped.
    ISSUERS_WRITE = Write "issuers" for Operator;
    /// No longer trusting an issuer.
    ISSUERS_DELETE = Delete "issuers" for Operator;
    /// Applications that sign their users in here.
    CLIENTS_READ = Read "clients" for Operator;
    /// Making and changing such applications, and their secrets.
    CLIENTS_WRITE = Write "clients" for Operator;
    /// Removing such applications.
    CLIENTS_DELETE = Delete "clients" for Operator;

    /// Plans and their limits.
    PLANS_READ = Read "plans" for Tenant;
    /// Making and changing plans.
    PLANS_WRITE = Write "plans" for Operator;
    /// Removing plans.
    PLANS_DELETE = Delete "plans" for Operator;
    /// A tenant's limits and what it used of them.
    USAGE_READ = Read "usage" for Tenant;
    /// Telling usage, holding and taking parts of quotas. Within a tenant, its own.
    USAGE_WRITE = Write "usage" for Tenant;
    /// Overriding limits of a tenant.
    LIMITS_WRITE = Write "limits" for Operator;
    /// Where usage is sent for billing, and what became of it.
    BILLING_READ = Read "billing" for Operator;
    /// Setting where usage is sent.
    BILLING_WRITE = Write "billing" for Operator;
    /// No longer sending usage somewhere.
    BILLING_DELETE = Delete "billing" for Operator;

    /// Routes of the gateway.
    ROUTES_READ = Read "routes" for Operator;
    /// Making and changing routes.
    ROUTES_WRITE = Write "routes" for Operator;
    /// Removing routes.
    ROUTES_DELETE = Delete "routes" for Operator;
    /// Services and their replicas.
    SERVICES_READ = Read "services" for Operator;
    /// Changing, restarting and scaling services.
    SERVICES_WRITE = Write "services" for Operator;
    /// Removing services.
    SERVICES_DELETE = Delete "services" for Operator;
    /// Deployments.
    DEPLOYMENTS_READ = Read "deployments" for Operator;
    /// Making deployments and rolling back.
    DEPLOYMENTS_WRITE = Write "deployments" for Operator;

    /// Queues and their figures; within a tenant, those of its own jobs.
    QUEUES_READ = Read "queues" for Tenant;
    /// Making, changing, pausing and resuming queues.
    QUEUES_WRITE = Write "queues" for Operator;
    /// Removing queues.
    QUEUES_DELETE = Delete "queues" for Operator;
    /// Jobs; within a tenant, its own.
    JOBS_READ = Read "jobs" for Tenant;
    /// Making jobs, working them off, and deciding what becomes of them.
    JOBS_WRITE = Write "jobs" for Tenant;
    /// Schedules, their next times and what came of them.
    SCHEDULES_READ = Read "schedules" for Operator;
    /// Setting, pausing, resuming and running schedules.
    SCHEDULES_WRITE = Write "schedules" for Operator;
    /// Removing schedules.
    SCHEDULES_DELETE = Delete "schedules" for Operator;

    /// Logs of services and requests; within a tenant, its own requests.
    LOGS_READ = Read "logs" for Tenant;
    /// The record of changes; within a tenant, its own.
    EVENTS_READ = Read "events" for Tenant;
    /// Verifying the chains of events.
    AUDIT_READ = Read "audit" for Operator;
    /// The state of the installation: health, readiness in detail, metrics.
    STATUS_READ = Read "status" for Operator;
    /// Stopping the installation.
    STATUS_WRITE = Write "status" for Operator;
    /// Backups.
    BACKUPS_READ = Read "backups" for Operator;
    /// Making, verifying and restoring backups.
    BACKUPS_WRITE = Write "backups" for Operator;
    /// Removing backups.
    BACKUPS_DELETE = Delete "backups" for Operator;
}

/// What a service of the app may, by the token that Switchyard gives it: the app's part of the API, within its
/// environment. Not keys, members or domains: what an app's bug could give away of those, no token takes back.
pub static SERVICES: &[Permission] = &[
    ME_READ,
    TENANTS_READ,
    QUEUES_READ,
    QUEUES_WRITE,
    JOBS_READ,
    JOBS_WRITE,
    SCHEDULES_READ,
    SCHEDULES_WRITE,
    SCHEDULES_DELETE,
    USAGE_READ,
    USAGE_WRITE,
];

/// What members and keys of a suspended tenant keep: to see who they are, that they are suspended and since when, what
/// they used and owe, and to end their sessions. Nothing else is read or written for them; nothing is lost either.
pub static WHILE_SUSPENDED: &[Permission] =
    &[ME_READ, ME_WRITE, TENANTS_READ, PLANS_READ, USAGE_READ, EVENTS_READ];

/// Whether any permission has this resource.
pub fn is_resource(name: &str) -> bool {
    ALL.iter().any(|permission| permission.resource == name)
}

/// The matrix of permissions, services and built-in roles as text, for the snapshot of the surface. A cell is `yes`, `no`,
/// or `dev+test` where the answer depends on the environment; operators hold every permission.
pub fn matrix() -> String {
    let development = base::Slug::parse("development").expect("a literal slug");
    let production = base::Slug::parse("production").expect("a literal slug");
    let cell = |role: &Role, permission: &Permission| {
        let audience = permission.audience == Audience::Tenant;
        match (
            audience,
            role.allows(permission, Some(&production)),
            role.allows(permission, Some(&development)),
        ) {
            (true, true, _) => "yes",
            (true, false, true) => "dev+test",
            (false, ..) | (true, false, false) => "no",
        }
    };
    let mut text = format!("{:<22} {:<9} {:<9}", "permission", "operator", "service");
    for role in &Role::BUILT_IN {
        let _ = write!(text, " {:<9}", role.to_string());
    }
    for permission in ALL {
        let service = if SERVICES.contains(permission) { "yes" } else { "no" };
        let _ = write!(text, "\n{:<22} {:<9} {service:<9}", permission.to_string(), "yes");
        for role in &Role::BUILT_IN {
            let _ = write!(text, " {:<9}", cell(role, permission));
        }
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}
