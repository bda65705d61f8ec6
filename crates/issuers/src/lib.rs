//! Issuers: whose tokens a project trusts besides ours, what their claims mean here, and signing in by them.
//!
//! # Purpose
//! A team that has its users at Clerk, Auth0 or any provider of OpenID Connect keeps them there: its tokens pass the gateway and the
//! API with tenant, user and role as the issuer's definition maps them, and people may sign in here by it.
//!
//! # Invariants
//! * A token is judged from memory; nobody's request makes us wait for an issuer, but for keys that were never seen, and then for
//!   [`WAIT_MAX`] at most.
//! * Keys are those of one issuer of one project: the same address in two projects, the same key id at two issuers, have nothing to do with
//!   each other (TORTURE A6). What a token brings or names as a key is never looked at (A3).
//! * An issuer is asked for its keys once in [`COOLDOWN`], whatever tokens come (A4); what was known stays in use for [`AGE_MAX`]
//!   while it cannot be reached, over restarts too.
//! * The definition says the algorithms; it cannot name one with a shared secret, nor none (A1, A2).
//! * A token names at most one tenant. A role without a tenant is none; words that are not mapped mean none, and nobody becomes an owner
//!   unless the definition says so.
//! * A sign-in ends in the browser that began it, once, for whom the issuer's own word (`sub`) names; the first time for an address that
//!   the issuer says is verified (A13). Where it goes on is a path of this host, whatever the request says.
//! * Nothing is fetched over plain http but from this machine; what an issuer's documents name on other hosts must be public.
//!
//! # Deliberately absent
//! Our own tokens (identity), our own provider (oidc), introspection of opaque tokens, keys of shared secrets, encrypted tokens, logout by the
//! issuer's front or back channel.
//!
//! # Life of the main operation
//! `Authorization: Bearer eyJ…` arrives at the gateway. Identity sees that `iss` is not ours and asks [`Registry`]: the issuer of this
//! address that the environment trusts is found in memory, header and algorithm are judged, the key is found by its id, signature, times
//! and audience are verified ([`tokens`]), and [`model::judge`] maps the claims. An id that is not known asks the issuer, if the last
//! time is long enough ago, and the answer waits for it.

mod api;
mod cli;
mod error;
mod fetch;
mod keys;
pub mod model;
pub mod ops;
mod registry;
mod section;
mod signin;
mod store;

use std::sync::Arc;

use db::{Migration, MigrationSet};
use lifecycle::TaskKind;
use module::{EventDoc, Manifest, Module, Task};
use ports::{Browsers, Links, ProjectOf, SignIn};
use tokio::sync::Semaphore;

pub use api::{CreateIssuer, IssuerView, KeysView, PutSecret};
pub use cli::verbs;
pub use error::Error;
pub use fetch::{Fetch, FetchError};
pub use keys::{AGE_MAX, COOLDOWN, FRESH, RETRY};
pub use ops::Sources;
pub use registry::{Registry, WAIT_MAX};
pub use section::{IssuersApply, SECTION};
pub use store::Issuer;

/// What the installation knows of this capability before it is built.
pub const MANIFEST: Manifest = Manifest {
    name: "issuers",
    summary: "issuers of tokens that a project trusts, and signing in by them",
    migrations: MigrationSet {
        capability: "issuers",
        migrations: &[Migration {
            number: 1,
            name: "issuers",
            sql: include_str!("../migrations/0001_issuers.sql"),
        }],
        tenant_tables: &[],
        system_tables: &[
            ("issuers_issuers", "issuers belong to a project; people of many tenants come by one"),
            ("issuers_keys", "public keys of issuers, which belong to a project"),
            ("issuers_returned", "sign-ins that came back, before anybody knows whose they are"),
        ],
    },
    events: &[
        EventDoc { kind: "issuer.trusted", doc: "Tokens of an issuer are trusted." },
        EventDoc { kind: "issuer.updated", doc: "What an issuer's tokens mean changed." },
        EventDoc { kind: "issuer.secret_changed", doc: "The secret for sign-in was set or taken away." },
        EventDoc { kind: "issuer.removed", doc: "Tokens of an issuer are trusted no longer." },
    ],
    metrics: &[],
    sections: &[SECTION],
    permissions: &[
        authority::permissions::ISSUERS_READ,
        authority::permissions::ISSUERS_WRITE,
        authority::permissions::ISSUERS_DELETE,
    ],
    codes: &[],
};

/// What this capability needs of others.
pub struct Deps {
    /// The store, times and ids.
    pub sources: Sources,
    /// The issuers in memory, loaded before ([`Registry::load`]), since identity needs them first.
    pub registry: Arc<Registry>,
    /// By which codes are exchanged.
    pub fetch: Fetch,
    /// The project of an environment that a transaction may just have made.
    pub projects: Arc<dyn ProjectOf>,
    /// Where issuers send browsers back to.
    pub links: Arc<dyn Links>,
    /// Who knows the people.
    pub sign_in: Arc<dyn SignIn>,
    /// Who keeps people signed in in their browsers.
    pub browsers: Arc<dyn Browsers>,
}

/// Builds routes, the task that keeps keys fresh, and the part of the project file.
#[must_use]
pub fn build(deps: Deps) -> Module {
    let Deps { sources, registry, fetch, projects, links, sign_in, browsers } = deps;
    let state = Arc::new(api::State {
        db: sources.db.clone(),
        sources: sources.clone(),
        registry: Arc::clone(&registry),
    });
    let sign_in = Arc::new(signin::State {
        db: sources.db.clone(),
        clock: Arc::clone(&sources.clock),
        random: Arc::clone(&sources.random),
        registry: Arc::clone(&registry),
        exchange: fetch,
        links,
        sign_in,
        browsers,
        room: Semaphore::new(signin::EXCHANGES_MAX),
    });
    let routes = signin::routes(api::routes(&state), &sign_in);
    let task = Task::new(TaskKind::Reconciler, "issuers.keys", move |stop| Arc::clone(&registry).run(stop));
    Module::new("issuers", routes).task(task).section(Arc::new(IssuersApply { sources, projects }))
}
