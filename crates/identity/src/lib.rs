//! Who may act: API keys, members and their roles, access tokens, the operators' key, the tokens of services, and the
//! signature under what apps are told.
//!
//! # Purpose
//! A credential comes in with a request and leaves this crate as an [`authority::Caller`], which every other
//! crate trusts. A person or key gets rights here, and only here.
//!
//! # Invariants
//! * A key's text exists in its maker's reply and nowhere else: the store has its SHA-256, lists its prefix.
//! * Nobody hands out more than they have ([`model::Rights`]), neither to a key nor to a member, by a role's name or by
//!   patterns, and nobody takes a role away that is above their own.
//! * A tenant that has an owner keeps one, whatever happens at the same time: transactions are serializable.
//! * A failed authentication says nothing but that it failed.
//! * A token is judged from memory ([`Tokens`]). What takes rights away revokes what was signed before, in the same
//!   transaction ([`Revocations`]): in force in every process within a second.
//! * A signing key is published for an hour before it signs, and for two hours after ([`PUBLISHED_BEFORE`],
//!   [`PUBLISHED_AFTER`]); no token of ours lives for longer than one ([`TOKEN_LIFETIME_MAX`]).
//! * The operators' key is never written over; the store knows its hash alone.
//! * A service's token says nothing but its deployment, signed; it ends with that, within a second.
//! * [`authority::Mint`] is named here (and in the test kit) only.
//!
//! # Deliberately absent
//! Passwords, sessions and invitations (`accounts`), tokens of others (`issuers`), sign-in for applications (`oidc`). An
//! Ed25519 key that replaces the one from which the tokens of services come: replicas outlive rotations. A suspended
//! tenant's credentials still authenticate here: the gateway refuses its traffic, while its members can see why.
//!
//! # Life of the main operation
//! `Authorization: Bearer sy_live_…`: the format and checksum are judged without a look-up
//! ([`authority::key_format`]), the SHA-256 finds the row (or what was read of it in the last half second), hashes are compared in constant time, expiry,
//! revocation and the client's address are judged, the tenant by its directory; the caller gets the key's tenant, role, scopes
//! and environment. The use is noted in memory and written within 30 s ([`KeyUses`]). Any other text is judged as a token.

mod api;
mod authenticate;
mod cli;
mod directory;
mod error;
mod keyring;
mod memberships;
pub mod model;
mod operator_key;
pub mod ops;
mod revocations;
mod service_token;
mod signer;
mod store;
mod token;
mod uses;

use std::path::PathBuf;
use std::sync::Arc;

use authority::Mint;
use base::{SharedClock, SharedRandom};
use db::{Db, Migration, MigrationSet};
use lifecycle::TaskKind;
use module::{EventDoc, Manifest, Module, Task};
use ports::{EnvironmentDirectory, Invitations, ServiceIdentities, TenantDirectory, TenantOf, TokenCheck};
use service_token::Known;

pub use api::{
    CreateKey, InviteMember, KeyView, MeView, MemberView, NewKeyView, PatchMember, PutRole, RoleView,
    RotateKey, SigningKeyView,
};
pub use authenticate::Authenticator;
use authenticate::Recent;
pub use cli::verbs;
pub use directory::{Directory, Rows};
pub use error::Error;
pub use keyring::{PUBLISHED_AFTER, PUBLISHED_BEFORE, SIGNS_FOR, Standing};
pub use memberships::{MEMBERSHIPS_MAX, Members};
pub use model::KEYS_MAX;
pub use operator_key::{OPERATOR_KEY_FILE, OperatorKey, OperatorKeyError, RESET_FILE};
pub use revocations::{KEPT, Revocations};
pub use signer::{ISSUER, SIGNING_KEYS_MAX, Signer, SigningKeyState};
pub use token::{ACCESS_TOKEN_TYP, AUDIENCE, LEEWAY, TOKEN_LIFETIME_MAX, Tokens};
pub use uses::{FLUSH_EVERY, KeyUses, USES_MAX};

/// What the installation knows of this capability before it is built.
pub const MANIFEST: Manifest = Manifest {
    name: "identity",
    summary: "keys, members and roles, authentication, assertions",
    migrations: MigrationSet {
        capability: "identity",
        migrations: &[
            Migration { number: 1, name: "identity", sql: include_str!("../migrations/0001_identity.sql") },
            Migration { number: 2, name: "tokens", sql: include_str!("../migrations/0002_tokens.sql") },
        ],
        tenant_tables: &["identity_keys", "identity_members"],
        system_tables: &[
            ("identity_operator_keys", "operators belong to the installation"),
            (
                "identity_signing_keys",
                "one key signs for all tenants; the audience and tenant are in what it signs",
            ),
            ("identity_revocations", "tokens are judged before their tenant is known; holds ids and times"),
            ("identity_roles", "custom roles belong to a project; its tenants share them"),
        ],
    },
    events: &[
        EventDoc { kind: "key.created", doc: "An API key was made; holds its prefix, role and scopes." },
        EventDoc { kind: "key.rotated", doc: "A key got a successor and ends when the overlap is over." },
        EventDoc { kind: "key.revoked", doc: "A key ended." },
        EventDoc { kind: "key.changed", doc: "What the custom role of a tenant's keys grants changed." },
        EventDoc { kind: "member.joined", doc: "An invited person accepted." },
        EventDoc { kind: "role.created", doc: "A custom role was made; holds its patterns." },
        EventDoc { kind: "role.changed", doc: "What a custom role grants changed, for all who have it." },
        EventDoc { kind: "role.removed", doc: "A custom role that nobody had is gone." },
        EventDoc { kind: "member.invited", doc: "A person was invited with a role." },
        EventDoc { kind: "member.changed", doc: "A member got another role." },
        EventDoc { kind: "member.removed", doc: "A membership ended." },
        EventDoc {
            kind: "signing_key.rotated",
            doc: "The next signing keys take over; holds their ids and times.",
        },
        EventDoc { kind: "operator_key.created", doc: "The operators' key was made at the first start." },
        EventDoc { kind: "operator_key.reset", doc: "The operators' key was lost and a new one made." },
    ],
    metrics: &[],
    sections: &[],
    permissions: &[
        authority::permissions::ME_READ,
        authority::permissions::KEYS_READ,
        authority::permissions::KEYS_WRITE,
        authority::permissions::KEYS_DELETE,
        authority::permissions::MEMBERS_READ,
        authority::permissions::MEMBERS_WRITE,
        authority::permissions::MEMBERS_DELETE,
        authority::permissions::ROLES_READ,
        authority::permissions::ROLES_WRITE,
        authority::permissions::ROLES_DELETE,
        authority::permissions::SIGNING_WRITE,
    ],
    codes: &[&base::codes::SCOPE_EXCEEDS, &base::codes::ROLE_EXCEEDS, &base::codes::LAST_OWNER],
};

/// What this capability needs of others.
pub struct Deps {
    /// The store.
    pub db: Db,
    /// Where times come from.
    pub clock: SharedClock,
    /// Where ids and keys come from.
    pub random: SharedRandom,
    /// Tenants, to find the one of a path and to judge whether one still is.
    pub tenants: Arc<dyn TenantDirectory>,
    /// Environments, to find the one of a key.
    pub environments: Arc<dyn EnvironmentDirectory>,
    /// Whose deployments the tokens of services stand for.
    pub services: Arc<dyn ServiceIdentities>,
    /// The signer, loaded before ([`Signer::load`]).
    pub signer: Arc<Signer>,
    /// Revoked tokens, loaded before ([`Revocations::load`]).
    pub revocations: Arc<Revocations>,
    /// Tells where a tenant is, inside a transaction.
    pub places: Arc<dyn TenantOf>,
    /// Invites people by mail; `None` where nobody is told.
    pub invitations: Option<Arc<dyn Invitations>>,
    /// Judges tokens of issuers that projects trust; `None` where there are none.
    pub external: Option<Arc<dyn TokenCheck>>,
}

/// A built identity: its module, and what others are handed of it.
pub struct Identity {
    /// Routes and tasks.
    pub module: Module,
    /// For the servers of the API.
    pub authenticator: Arc<Authenticator>,
    /// For the gateway: what notes the use of keys.
    pub uses: Arc<KeyUses>,
    /// For the gateway: keys.
    pub directory: Arc<Directory>,
    /// For the gateway: judges tokens.
    pub tokens: Arc<Tokens>,
}

/// Builds routes, tasks and the authenticator.
pub fn build(deps: Deps) -> Identity {
    let Deps {
        db,
        clock,
        random,
        tenants,
        environments,
        services,
        signer,
        revocations,
        places,
        invitations,
        external,
    } = deps;
    let uses = Arc::new(KeyUses::default());
    let tokens = Arc::new(Tokens::new(
        Arc::clone(&signer),
        Arc::clone(&revocations),
        Arc::clone(&environments),
        Arc::clone(&clock),
        external,
    ));
    let authenticator = Arc::new(Authenticator {
        db: db.clone(),
        clock: Arc::clone(&clock),
        tenants: Arc::clone(&tenants),
        environments: Arc::clone(&environments),
        signer: Arc::clone(&signer),
        known: Known::new(db.clone(), Arc::clone(&clock), services, Arc::clone(&tenants)),
        tokens: Arc::clone(&tokens),
        uses: Arc::clone(&uses),
        recent: Recent::new(&clock),
        mint: Mint::for_identity(),
    });
    let state = Arc::new(api::State {
        db: db.clone(),
        sources: ops::Sources { clock: Arc::clone(&clock), random },
        tenants,
        environments,
        signer: Arc::clone(&signer),
        revocations: Arc::clone(&revocations),
        memberships: Members::new(Arc::clone(&places), clock),
        places,
        invitations,
    });
    let directory = Arc::new(Directory::new(db.clone()));
    let module = Module::new("identity", api::routes(&state))
        .task(flush(&uses, &db))
        .task(follow(&revocations))
        .task(rotate(&signer))
        .rows(Arc::new(Rows));
    Identity { module, authenticator, uses, directory, tokens }
}

fn flush(uses: &Arc<KeyUses>, db: &Db) -> Task {
    let (uses, db) = (Arc::clone(uses), db.clone());
    Task::new(TaskKind::Flusher, "identity.key_uses", move |stop| {
        let (uses, db) = (Arc::clone(&uses), db.clone());
        async move { uses.run(db, stop).await }
    })
}

fn follow(revocations: &Arc<Revocations>) -> Task {
    let revocations = Arc::clone(revocations);
    Task::new(TaskKind::Reconciler, "identity.revocations", move |stop| {
        let revocations = Arc::clone(&revocations);
        async move { revocations.run(stop).await }
    })
}

fn rotate(signer: &Arc<Signer>) -> Task {
    let signer = Arc::clone(signer);
    Task::new(TaskKind::Reconciler, "identity.signing_keys", move |stop| {
        let signer = Arc::clone(&signer);
        async move { signer.run(stop).await }
    })
}

/// Makes the operators' key at the first start, or finds it ([`OperatorKey`] says which). To be called once
/// before the servers listen.
///
/// # Errors
/// [`OperatorKeyError`], each with what to do.
pub async fn operator_key(
    db: &Db,
    data_dir: PathBuf,
    clock: &SharedClock,
    random: &SharedRandom,
) -> Result<OperatorKey, OperatorKeyError> {
    operator_key::ensure(db, &data_dir, clock, random).await
}
