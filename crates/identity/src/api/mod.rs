//! Requests, replies and routes of keys, members, roles, the caller itself and the public keys.

mod keys;
mod me;
mod members;
mod roles;
mod signing;

use std::sync::Arc;

use authority::Caller;
use base::{Slug, codes};
use db::Db;
use ports::{EnvironmentDirectory, EnvironmentRecord, Invitations, TenantDirectory, TenantOf};
use web::{Call, ETag, Problem, Routes};

use crate::error::Error;
use crate::memberships::Members;
use crate::model::Rights;
use crate::ops::Sources;
use crate::revocations::Revocations;
use crate::signer::Signer;

pub use keys::{CreateKey, KeyView, NewKeyView, RotateKey};
pub use me::MeView;
pub use members::{InviteMember, MemberView, PatchMember};
pub use roles::{PutRole, RoleView};
pub use signing::SigningKeyView;

/// What the handlers work with.
pub(crate) struct State {
    pub(crate) db: Db,
    pub(crate) sources: Sources,
    pub(crate) tenants: Arc<dyn TenantDirectory>,
    pub(crate) environments: Arc<dyn EnvironmentDirectory>,
    pub(crate) signer: Arc<Signer>,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) places: Arc<dyn TenantOf>,
    pub(crate) memberships: Members,
    /// Invites people by mail; `None` where nobody is told.
    pub(crate) invitations: Option<Arc<dyn Invitations>>,
}

pub(crate) fn routes(state: &Arc<State>) -> Routes {
    keys::routes(state)
        .and(members::routes(state))
        .and(roles::routes(state))
        .and(signing::routes(state))
        .and(me::routes(state))
}

impl State {
    /// What the caller may hand out.
    fn rights<B, Q>(&self, call: &Call<B, Q>) -> Rights {
        let all = self.environments.all();
        let bound = call.caller.environment().map(|id| name_of(&all, id));
        let project = call.environment.as_ref().map(|environment| environment.project);
        let own = all.iter().filter(|one| project.is_none_or(|project| project == one.project));
        let slugs = own.map(|environment| environment.slug.clone()).collect();
        Rights::new(Caller::clone(&call.caller), bound, slugs)
    }
}

/// The name of the environment that a credential is bound to. One that is not known here (yet) gets a name that
/// no environment of the project has, and so hands out nothing in any of them.
fn name_of(all: &[EnvironmentRecord], id: base::EnvironmentId) -> Slug {
    let found = all.iter().find(|environment| environment.id == id);
    found.map_or_else(
        || Slug::parse("unknown").expect("a literal DNS label"),
        |environment| environment.slug.clone(),
    )
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let said = error.to_string();
        match error {
            Error::NotFound => Problem::new(&codes::NOT_FOUND),
            Error::Invalid { pointer, detail } => Problem::new(&codes::INVALID).fault(pointer, detail),
            Error::ScopeExceeds => Problem::new(&codes::SCOPE_EXCEEDS).detail(
                "A key may allow no more than whoever makes or rotates it; give it a smaller role or fewer scopes.",
            ),
            Error::RoleExceeds(role) => Problem::new(&codes::ROLE_EXCEEDS).detail(format!(
                "The role {role} allows more than you may; ask a member who has it, such as an owner."
            )),
            Error::LastOwner => Problem::new(&codes::LAST_OWNER)
                .detail("Make another member an owner first; then this one can go or get another role."),
            Error::MemberExists => Problem::new(&codes::CONFLICT)
                .fault("/email", "this person is a member already; change the role instead"),
            Error::KeyEnded => Problem::new(&codes::CONFLICT)
                .detail("The key is expired or revoked, so there is nothing to rotate; make a new one."),
            Error::Accepted => Problem::new(&codes::CONFLICT)
                .detail("The person has accepted already; whoever forgot a password asks for a new one at sign-in."),
            Error::RoleInUse => Problem::new(&codes::CONFLICT)
                .detail("Members or keys have this role; give them another one first, then it can go."),
            Error::TooMany { .. } => {
                Problem::new(&codes::CONFLICT).detail(format!("{said}; remove what is not used any more."))
            }
            Error::Stale { revision } => Problem::new(&codes::PRECONDITION_FAILED)
                .detail("It has changed since the revision that `If-Match` names; read it again.")
                .header(http::header::ETAG, &ETag::text(revision)),
            Error::Store(error) => error.into(),
        }
    }
}
