//! The OpenID provider: an app's own users sign in here, by OpenID Connect, so that the app needs no service for it.
//!
//! # Purpose
//! Applications (*clients*) are registered in an environment. A browser that one of them sends to
//! `https://api.<base_domain>/oauth2/authorize` comes back with a code, which the client turns into an id token for
//! itself, an access token that the gateway and the API take, and, where it may, a refresh token.
//!
//! # Invariants
//! - An address that is not registered, letter by letter, is never redirected to. Whatever else is wrong goes back to the client.
//! - Code and refresh token are good once. Shown a second time they end the grant: every token that came of it.
//! - PKCE by S256 always, for confidential clients too: a code is worth nothing to who did not begin (TORTURE A13).
//! - The issuer and every link come from [`ports::Links`], never from a header.
//! - What is secret is stored as its hash: client secrets, codes, refresh tokens, cookies.
//! - A cookie (`__Host-`) is made anew at each sign-in; forms bear a word that only this browser's cookie makes good (A18).
//! - A token's tenant and role are those of the membership at the moment; a grant lives no longer than the sign-in behind it.
//!
//! # Deliberately absent
//! Implicit and hybrid flows, `response_mode`s but `query`, PKCE by `plain`, request objects, dynamic registration, consent (clients
//! are the operator's own), pairwise subjects, front- and back-channel logout, CORS (a client in a browser goes by its own
//! backend), passwords (accounts check them behind [`ports::SignIn`]) and signing keys ([`ports::TokenSigner`]).
//!
//! # Life of the main operation
//! `authorize` reads the request and the client. Without a session the page asks for address and password; `login` has them
//! checked by `SignIn`, gives the browser its cookie, and goes on as if it had been there. One tenant is taken, of several the
//! person chooses. Grant and code are written in one transaction, and the browser goes back with code, state and issuer. `token`
//! finds the client, then the grant, asks for the session as it is now, signs, uses the code up, and answers.

mod api;
mod browsers;
mod cli;
mod error;
pub mod model;
mod ops;
mod store;

use std::sync::Arc;

use base::{SharedClock, SharedRandom, TenantId};
use db::{Db, Migration, MigrationSet, SystemTx};
use module::{EventDoc, Manifest, Module};
use ports::{
    Links, SignIn, SignInIssuers, TenantDirectory, TenantRows, TokenCheck, TokenRevocations, TokenSigner,
};

pub use api::{ClientView, CreateClient, NewClientView, PatchClient};
pub use browsers::Browsers;
pub use cli::verbs;
pub use error::Error;
pub use model::{
    CLIENTS_MAX, CODE_LIFETIME, ClientKind, NAME_CHARS_MAX, REFRESH_LIFETIME, SCOPES_MAX, TOKEN_LIFETIME,
    URI_CHARS_MAX, URIS_MAX,
};

/// What the installation knows of this capability before it is built.
pub const MANIFEST: Manifest = Manifest {
    name: "oidc",
    summary: "the OpenID provider for an app's own users",
    migrations: MigrationSet {
        capability: "oidc",
        migrations: &[Migration {
            number: 1,
            name: "oidc",
            sql: include_str!("../migrations/0001_oidc.sql"),
        }],
        tenant_tables: &[],
        system_tables: &[
            ("oidc_clients", "clients belong to an environment and serve all of its tenants"),
            ("oidc_grants", "found by id before the tenant is known; no route lists them"),
            ("oidc_codes", "found by hash, before anybody is known"),
            ("oidc_refresh_tokens", "found by hash, before anybody is known"),
            ("oidc_browsers", "found by hash, before anybody is known"),
        ],
    },
    events: &[
        EventDoc { kind: "client.created", doc: "An environment got a client of the provider." },
        EventDoc { kind: "client.updated", doc: "A client of the provider changed." },
        EventDoc { kind: "client.secret_replaced", doc: "A client of the provider got another secret." },
        EventDoc { kind: "client.removed", doc: "An environment lost a client of the provider." },
        EventDoc { kind: "grant.created", doc: "A person signed in to a client for a tenant." },
        EventDoc { kind: "grant.ended", doc: "What a person let a client do ended before its time." },
    ],
    metrics: &[],
    sections: &[],
    permissions: &[
        authority::permissions::CLIENTS_READ,
        authority::permissions::CLIENTS_WRITE,
        authority::permissions::CLIENTS_DELETE,
    ],
    codes: &[],
};

/// What this capability needs of others.
pub struct Deps {
    /// The store.
    pub db: Db,
    /// Where times come from.
    pub clock: SharedClock,
    /// Where secrets come from.
    pub random: SharedRandom,
    /// Names and states of tenants.
    pub tenants: Arc<dyn TenantDirectory>,
    /// The public addresses.
    pub links: Arc<dyn Links>,
    /// Signs tokens.
    pub signer: Arc<dyn TokenSigner>,
    /// Judges access tokens.
    pub tokens: Arc<dyn TokenCheck>,
    /// Calls tokens back.
    pub revocations: Arc<dyn TokenRevocations>,
    /// Checks passwords, and knows sessions.
    pub sign_in: Arc<dyn SignIn>,
    /// By which issuers people may sign in besides.
    pub issuers: Arc<dyn SignInIssuers>,
}

/// Builds the routes, and what removes a tenant's rows.
#[must_use]
pub fn build(deps: Deps) -> Module {
    let Deps { db, clock, random, tenants, links, signer, tokens, revocations, sign_in, issuers } = deps;
    let sources = ops::grants::Sources { clock, random, revocations };
    let state = Arc::new(api::State { db, sources, tenants, links, signer, tokens, sign_in, issuers });
    Module::new("oidc", api::routes(&state)).rows(Arc::new(Rows))
}

/// Grants for a tenant go with it.
struct Rows;

impl TenantRows for Rows {
    fn remove(&self, tx: &mut SystemTx, tenant: TenantId) -> Result<(), db::Error> {
        store::grants::delete_of_tenant(tx, tenant)
    }
}
