//! Browsers in which somebody signed in elsewhere, by an external issuer.

use std::sync::Arc;

use authority::SystemCtx;
use base::{EnvironmentId, SessionId, SharedClock, SharedRandom};
use db::Db;
use ports::{BoxFuture, TokenRevocations, Unavailable};

use crate::ops::grants::{self, Sources};

/// Gives browsers the cookie of the provider's pages.
#[derive(Clone)]
pub struct Browsers {
    db: Db,
    sources: Sources,
}

impl Browsers {
    /// Over the store of the provider that is built beside it.
    #[must_use]
    pub fn new(
        db: Db,
        clock: SharedClock,
        random: SharedRandom,
        revocations: Arc<dyn TokenRevocations>,
    ) -> Browsers {
        Browsers { db, sources: Sources { clock, random, revocations } }
    }
}

impl ports::Browsers for Browsers {
    fn remember<'a>(
        &'a self,
        environment: EnvironmentId,
        session: SessionId,
        old: Option<&'a str>,
    ) -> BoxFuture<'a, Result<String, Unavailable>> {
        Box::pin(async move {
            let (sources, old) = (self.sources.clone(), old.map(str::to_owned));
            let ctx = SystemCtx::because("remember the browser of a person whom an issuer has proven");
            let write = self.db.write_system(&ctx, move |tx| {
                grants::remember_browser(tx, &sources, environment, session, old.as_deref())
            });
            write.await.map_err(|error: db::Error| {
                tracing::warn!(%error, "a browser cannot be remembered");
                Unavailable::new("sign-in")
            })
        })
    }
}
