//! People: who they are, how they prove it, and the sessions that follow.
//!
//! # Purpose
//! A person signs in with a password and a second factor, or by an issuer that has proven the address, and goes on with
//! tokens. People come by invitation: the first owner by the link that the first start prints, the team by its owners,
//! a tenant's people by the tenant's. Other capabilities sign people in through `ports::SignIn`, invite them through
//! `ports::Invitations`, and write to them through `ports::Mailer`.
//!
//! # Invariants
//! * A password is stored as argon2id, tokens and links as SHA-256, secrets of second factors and letters sealed.
//! * An unknown account, a disabled one and a wrong password take the same work and get the same answer (A10).
//! * A link works once, for the address and membership that it was made for (A16); looking at its page uses nothing up.
//! * A code of the second factor works once, as does a recovery code (A17): in the transaction of the sign-in.
//! * An old refresh token ends its session.
//! * Nobody can lock somebody else out: tries are slowed down by address of the network ([`model::Realm`]s are one).
//! * Who comes by an issuer is known by `iss` and `sub`; an address links an account once, and one that was given to another
//!   person of the issuer opens nothing (A13).
//! * What an issuer of one environment proves holds there alone: the link is found by no other's word, and tokens of the
//!   session name the environment (A12).
//! * Links are made of the configured addresses, never of a header (A14).
//! * What an access token says is what one transaction read; whoever ends a session or changes a role calls the tokens
//!   back in the same transaction.
//! * Nobody acts as a tenant without the tenant's own record saying who, why and until when (Z16).
//!
//! # Deliberately absent
//! Signing up by oneself (people are invited), cookies (the provider has its own), roles (identity's), sending mail (an
//! outbox keeps it), WebAuthn.
//!
//! # Life of the main operation
//! `POST /api/v1/auth/login`: the try is counted; the address is looked for in the realms of the listener; the password
//! is hashed in turn, with a stored hash or without; in one transaction the code is used up and the session begins; in a
//! second the memberships are read and the family of refresh tokens is made; the access token is signed from what that
//! read.

mod api;
mod cli;
mod error;
mod hasher;
mod letters;
pub mod model;
mod ops;
mod people;
mod resets;
mod setup;
mod store;
mod sweep;

use std::sync::Arc;

use base::{SharedClock, SharedRandom};
use db::{Db, Migration, MigrationSet};
use lifecycle::TaskKind;
use module::{EventDoc, Manifest, Module, Task};
use ports::{EnvironmentDirectory, Memberships, TenantDirectory, TokenRevocations, TokenSigner};

pub use api::{
    AcceptInvitation, FactorView, IdentityView, Impersonate, ImpersonationView, InvitationView, InviteUser,
    LetterView, Login, NewFactorView, PatchUser, PersonView, RecoveryCodesView, Refresh, SessionView, SignUp,
    TenantView, TokensView, UserView,
};
pub use cli::verbs;
pub use error::Error;
pub use letters::{Inviter, InviterDeps, Outbox, Rows};
pub use people::Accounts;
pub use setup::setup_link;

/// What the installation knows of this capability before it is built.
pub const MANIFEST: Manifest = Manifest {
    name: "accounts",
    summary: "people, sign-in, sessions, invitations, second factors",
    migrations: MigrationSet {
        capability: "accounts",
        migrations: &[
            Migration { number: 1, name: "accounts", sql: include_str!("../migrations/0001_accounts.sql") },
            Migration {
                number: 2,
                name: "identities",
                sql: include_str!("../migrations/0002_identities.sql"),
            },
            Migration {
                number: 3,
                name: "environments",
                sql: include_str!("../migrations/0003_environments.sql"),
            },
        ],
        tenant_tables: &[],
        system_tables: &[
            ("accounts_users", "a person belongs to a project or the team, and to several tenants"),
            ("accounts_recovery_codes", "of a person"),
            ("accounts_sessions", "of a person"),
            ("accounts_refresh", "of a session; the tenant is what its tokens are for"),
            ("accounts_links", "found by their hash before anybody is known"),
            ("accounts_identities", "of a person"),
            ("accounts_impersonations", "of operators; the tenant is whom they act as"),
            ("accounts_outbox", "letters of the installation, read by operators"),
        ],
    },
    events: &[
        EventDoc { kind: "user.created", doc: "A person got an account." },
        EventDoc {
            kind: "user.changed",
            doc: "A person's name or role changed, or the person was disabled.",
        },
        EventDoc { kind: "user.removed", doc: "An account was removed." },
        EventDoc { kind: "session.started", doc: "A person signed in; says how and from where." },
        EventDoc { kind: "session.ended", doc: "A session ended; says why." },
        EventDoc { kind: "session.reused", doc: "An old refresh token was used, so that one was stolen." },
        EventDoc { kind: "password.changed", doc: "A person changed their password." },
        EventDoc { kind: "password.reset", doc: "A person set a new password by a mailed link." },
        EventDoc { kind: "factor.enabled", doc: "A person turned the second factor on." },
        EventDoc { kind: "factor.disabled", doc: "A person turned the second factor off." },
        EventDoc { kind: "factor.recovery_used", doc: "A recovery code was used; says how many are left." },
        EventDoc {
            kind: "identity.linked",
            doc: "A person came by an external issuer for the first time, and belongs to it from now on.",
        },
        EventDoc { kind: "identity.unlinked", doc: "A person signs in by an external issuer no longer." },
        EventDoc { kind: "invitation.accepted", doc: "A person accepted an invitation." },
        EventDoc {
            kind: "impersonation.started",
            doc: "An operator acts as the tenant; says who, why and until when.",
        },
        EventDoc { kind: "impersonation.ended", doc: "An operator stopped acting as the tenant." },
    ],
    metrics: &[],
    sections: &[],
    permissions: &[
        authority::permissions::ME_WRITE,
        authority::permissions::USERS_READ,
        authority::permissions::USERS_WRITE,
        authority::permissions::IMPERSONATION_WRITE,
    ],
    codes: &[&base::codes::SIGN_IN_FAILED, &base::codes::CODE_NEEDED, &base::codes::LINK_INVALID],
};

/// What this capability needs of others.
pub struct Deps {
    /// The store.
    pub db: Db,
    /// Where times come from.
    pub clock: SharedClock,
    /// Where ids and tokens come from.
    pub random: SharedRandom,
    /// Tenants, to find one by name.
    pub tenants: Arc<dyn TenantDirectory>,
    /// Environments, whose names roles are compared in.
    pub environments: Arc<dyn EnvironmentDirectory>,
    /// Who belongs to which tenant.
    pub memberships: Arc<dyn Memberships>,
    /// Calls tokens back.
    pub revocations: Arc<dyn TokenRevocations>,
    /// Signs tokens.
    pub signer: Arc<dyn TokenSigner>,
    /// Writes letters; made before.
    pub inviter: Inviter,
}

/// Built accounts: the module, and what others are handed of it.
pub struct Built {
    /// Routes and tasks.
    pub module: Module,
    /// Signs people in (`ports::SignIn`).
    pub accounts: Arc<Accounts>,
}

/// Builds routes and tasks.
#[must_use]
pub fn build(deps: Deps) -> Built {
    let Deps { db, clock, random, tenants, environments, memberships, revocations, signer, inviter } = deps;
    let sources = ops::Sources { clock: Arc::clone(&clock), random: Arc::clone(&random) };
    let resets = resets::Resets::new();
    let accounts = Arc::new(Accounts {
        db: db.clone(),
        tools: ops::Tools { sources: sources.clone(), memberships, revocations },
        hasher: hasher::Hasher::new(random),
        throttle: model::throttle::Throttle::new(clock),
        signer,
        tenants,
        environments,
        inviter: inviter.clone(),
    });
    let state = Arc::new(api::State { accounts: Arc::clone(&accounts), resets: resets.clone() });
    let (store, with) = (db.clone(), sources.clone());
    let letters = Task::new(TaskKind::Worker, "accounts.resets", move |stop| {
        resets.clone().run(store.clone(), with.clone(), inviter.clone(), stop)
    });
    let sweep = Task::new(TaskKind::Worker, "accounts.sweep", move |stop| {
        sweep::run(db.clone(), sources.clone(), stop)
    });
    let module = Module::new("accounts", api::routes(&state)).task(letters).task(sweep).rows(Arc::new(Rows));
    Built { module, accounts }
}
