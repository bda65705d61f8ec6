//! The first owner's link.

use authority::SystemCtx;
use base::{SharedClock, SharedRandom};
use db::Db;
use ports::Links;

use crate::model::{LinkKind, Realm};
use crate::ops::Sources;
use crate::ops::links::{self, Bound};
use crate::store::users;

/// What the first owner's link is bound to: there is one at a time.
const FIRST: &str = "first";

/// A one-time link by which the first owner makes an account, good for 24 h and until the next one is made; `None` once
/// the team has anybody. To be shown to whoever starts the installation, and to nobody else.
///
/// # Errors
/// When the store fails.
pub async fn setup_link(
    db: &Db,
    clock: &SharedClock,
    random: &SharedRandom,
    addresses: &dyn Links,
) -> Result<Option<String>, db::Error> {
    let sources = Sources { clock: clock.clone(), random: random.clone() };
    let ctx = SystemCtx::because("make the first owner's link");
    let made = db.write_system(&ctx, move |tx| {
        if users::any(tx, Realm::Operators)? {
            return Ok::<_, db::Error>(None);
        }
        let bound =
            Bound { kind: LinkKind::Setup, subject: FIRST, realm: Realm::Operators, email: "", tenant: None };
        links::replace(tx, &sources, &bound).map(Some)
    });
    let token = made.await?;
    Ok(token.map(|token| format!("{}/setup?token={}", addresses.operator(), token.expose())))
}
