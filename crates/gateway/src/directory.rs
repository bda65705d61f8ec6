//! The gateway's own sources: routes and the event log, read from the store.

use crate::snapshot::{Changed, Changes, RouteDirectory, RouteRecord};
use crate::store;
use authority::SystemCtx;
use base::EnvironmentId;
use db::{Db, EventLog};
use ports::{BoxFuture, Unavailable};

/// Routes as the store has them.
pub(crate) struct StoredRoutes(pub(crate) Db);

impl RouteDirectory for StoredRoutes {
    fn all(&self, environment: EnvironmentId) -> BoxFuture<'_, Result<Vec<RouteRecord>, Unavailable>> {
        Box::pin(async move {
            let ctx = SystemCtx::because("load routes into the gateway");
            let routes = self.0.read_system(&ctx, move |tx| store::all(tx, environment)).await;
            let routes = routes.map_err(|error| unavailable(&error, "routes"))?;
            Ok(routes.into_iter().map(|route| RouteRecord { id: route.id, spec: route.spec }).collect())
        })
    }
}

/// The event log as the gateway follows it.
pub(crate) struct Events(pub(crate) EventLog);

impl Changes for Events {
    fn head(&self) -> i64 {
        self.0.head()
    }

    fn after(&self, position: i64, limit: u32) -> BoxFuture<'_, Result<Vec<Changed>, Unavailable>> {
        Box::pin(async move {
            let events =
                self.0.after(position, limit).await.map_err(|error| unavailable(&error, "events"))?;
            let changed = events.into_iter().map(|event| Changed {
                position: event.position,
                kind: event.kind,
                tenant: event.tenant,
                environment: event.environment,
            });
            Ok(changed.collect())
        })
    }

    fn wait_beyond(&self, position: i64) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.0.wait_beyond(position).await;
        })
    }
}

fn unavailable(error: &db::Error, what: &'static str) -> Unavailable {
    tracing::warn!(error = %error, what, "gateway cannot read from the store");
    Unavailable::new(what)
}
