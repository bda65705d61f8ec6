//! Requests, replies and routes.

mod authorize;
mod clients;
mod discovery;
mod issue;
mod login;
mod logout;
mod pages;
mod person;
mod request;
mod token;
mod userinfo;

use std::sync::Arc;

use base::{EnvironmentId, ProjectId, codes};
use db::Db;
use ports::{Links, SignIn, SignInIssuers, TenantDirectory, TokenCheck, TokenSigner};
use web::{Call, Problem, Routes};

pub use clients::{ClientView, CreateClient, NewClientView, PatchClient};

use crate::ops::grants::Sources;

/// The cookie of a browser in which somebody is signed in.
pub(crate) const SESSION_COOKIE: &str = ports::BROWSER_COOKIE;
/// The cookie that makes forms of this browser good, before anybody is signed in.
pub(crate) const FORM_COOKIE: &str = "__Host-switchyard_form";
/// Both, as routes declare them.
pub(crate) const COOKIES: &[&str] = &[SESSION_COOKIE, FORM_COOKIE];
/// Bytes of a form: an id token as a hint, and the rest.
pub(crate) const FORM_BYTES_MAX: usize = 32 * 1024;

/// What the handlers work with.
pub(crate) struct State {
    pub(crate) db: Db,
    pub(crate) sources: Sources,
    pub(crate) tenants: Arc<dyn TenantDirectory>,
    pub(crate) links: Arc<dyn Links>,
    pub(crate) signer: Arc<dyn TokenSigner>,
    pub(crate) tokens: Arc<dyn TokenCheck>,
    pub(crate) sign_in: Arc<dyn SignIn>,
    pub(crate) issuers: Arc<dyn SignInIssuers>,
}

pub(crate) fn routes(state: &Arc<State>) -> Routes {
    clients::routes(state)
        .and(discovery::routes(state))
        .and(authorize::routes(state))
        .and(login::routes(state))
        .and(token::routes(state))
        .and(userinfo::routes(state))
        .and(logout::routes(state))
}

/// The environment of a call, and who the provider is there.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) environment: EnvironmentId,
    pub(crate) project: ProjectId,
    /// The issuer: the public address of the environment's API.
    pub(crate) issuer: String,
}

impl Place {
    pub(crate) fn of<B, Q>(state: &State, call: &Call<B, Q>) -> Result<Place, Problem> {
        let environment = call.environment()?;
        let issuer = state.links.api(environment.id).ok_or_else(|| {
            Problem::new(&codes::NOT_FOUND)
                .detail("This environment has no public address, so nobody can sign in there.")
        })?;
        Ok(Place { environment: environment.id, project: environment.project, issuer })
    }

    /// An address of the provider.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }
}
