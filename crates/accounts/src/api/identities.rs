//! `/api/v1/auth/identities`: by which external issuers a person signs in.

use std::sync::Arc;

use authority::{SystemCtx, permissions};
use base::{Timestamp, codes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, Problem, Reply, Routes, Spec, Surface};

use super::{State, person};
use crate::error::Error;
use crate::model::{Identity, IdentityId};
use crate::ops::identities;
use crate::store;

pub(super) fn routes(state: &Arc<State>) -> Routes {
    Routes::new("accounts")
        .route(
            Spec::get("/api/v1/auth/identities", permissions::ME_READ)
                .summary("List the issuers that I sign in by")
                .surface(Surface::Both),
            Arc::clone(state),
            list,
        )
        .route(
            Spec::delete("/api/v1/auth/identities/{l}", permissions::ME_WRITE)
                .summary("Sign in by an issuer no longer")
                .details(
                    "Ends the link; sessions that began by it go on until they are ended. Where the issuer links people by \
                     their address, the next sign-in there links again. The only one of somebody without a password \
                     stays: 409.",
                )
                .codes(&[&codes::CONFLICT])
                .surface(Surface::Both),
            Arc::clone(state),
            unlink,
        )
}

/// Who a person is at an external issuer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct IdentityView {
    /// The id of the link.
    pub id: IdentityId,
    /// The issuer's name, as it was when the link was made.
    pub issuer: String,
    /// Its address (`iss`).
    pub url: String,
    /// Its word for the person (`sub`).
    pub subject: String,
    /// The address that it last named as the person's.
    pub email: Option<String>,
    /// When the link was made.
    pub created_at: Timestamp,
    /// When the person last came by it.
    pub used_at: Timestamp,
}

/// All links of a person: there is one at an issuer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct IdentitiesView {
    /// By the issuer's address.
    pub(crate) data: Vec<IdentityView>,
    /// Always `null`: it is one page.
    pub(crate) next_cursor: Option<String>,
}

impl From<Identity> for IdentityView {
    fn from(identity: Identity) -> IdentityView {
        let url = identity.url().to_owned();
        let Identity { id, user: _, issuer: _, subject, name, email, created_at, used_at } = identity;
        IdentityView { id, issuer: name, url, subject, email, created_at, used_at }
    }
}

async fn list(state: Arc<State>, call: Call) -> Result<Reply<IdentitiesView>, Problem> {
    let user = person(&call)?;
    let ctx = SystemCtx::because("list a person's own links with issuers");
    let read: Result<_, Error> =
        state.accounts.db.read_system(&ctx, move |tx| Ok(store::identities::of_user(tx, user)?)).await;
    let data = read?.into_iter().map(IdentityView::from).collect();
    Ok(Reply::ok(IdentitiesView { data, next_cursor: None }))
}

async fn unlink(state: Arc<State>, call: Call) -> Result<Reply<()>, Problem> {
    let user = person(&call)?;
    let id = call.path.id::<IdentityId>("l")?;
    let ctx = SystemCtx::because("end a person's own link with an issuer");
    state.accounts.db.write_system(&ctx, move |tx| identities::unlink(tx, user, id)).await?;
    Ok(Reply::no_content())
}
