//! `/api/v1/signing-keys`.

use std::sync::Arc;

use authority::permissions;
use base::{Page, Timestamp, codes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use web::{Call, Problem, Reply, Routes, Spec};

use super::State;
use crate::keyring::Standing;
use crate::signer::SigningKeyState;

const ROTATE: &str = "/api/v1/signing-keys/rotate";

pub(super) fn routes(state: &Arc<State>) -> Routes {
    Routes::new("identity").route(
        Spec::post(ROTATE, permissions::SIGNING_WRITE)
            .summary("Rotate the keys that sign tokens")
            .details(
                "The next keys, which are published already, take over: at once, or when they have been published for an \
                 hour. The old ones stay published for two hours more. It happens by itself each month. Repeating it \
                 rotates again.",
            )
            .repeatable("each repeat makes one more key, which harms nobody, up to a limit")
            .codes(&[&codes::CONFLICT]),
        Arc::clone(state),
        rotate,
    )
}

/// A key that signs tokens, as operators see it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SigningKeyView {
    /// Its id in tokens (`kid`).
    pub id: String,
    /// `EdDSA` or `ES256`.
    pub algorithm: String,
    /// Where it stands.
    pub status: Standing,
    /// When it was made, and published.
    pub created_at: Timestamp,
    /// From when on it signs; `null` for the next one, whose time is not set.
    pub signs_from: Option<Timestamp>,
}

impl From<SigningKeyState> for SigningKeyView {
    fn from(state: SigningKeyState) -> SigningKeyView {
        let SigningKeyState { kid, algorithm, standing, created_at, signs_from } = state;
        SigningKeyView { id: kid, algorithm: algorithm.to_owned(), status: standing, created_at, signs_from }
    }
}

async fn rotate(state: Arc<State>, call: Call) -> Result<Reply<Page<SigningKeyView>>, Problem> {
    let ctx = call.caller.system_ctx("rotate the keys that sign")?;
    state.signer.rotate(&ctx, false).await?;
    let keys = state.signer.states().into_iter().map(SigningKeyView::from).collect();
    Ok(Reply::ok(Page { data: keys, next_cursor: None }))
}
