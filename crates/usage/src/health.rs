//! What this capability knows of a tenant's health: limits that are nearly or wholly used.

use base::{EnvironmentId, TenantId};
use ports::{BoxFuture, Grace, HealthSign, TenantHealth, Unavailable};

use crate::error::Error;
use crate::gather::{REACHED, level};
use crate::ops::{Engine, Limited};

/// Signs of one tenant.
const SIGNS_MAX: usize = 20;

impl TenantHealth for Engine {
    fn signs(
        &self,
        environment: EnvironmentId,
        tenant: TenantId,
    ) -> BoxFuture<'_, Result<Vec<HealthSign>, Unavailable>> {
        Box::pin(async move {
            let unavailable = |error: Error| {
                tracing::warn!(%error, "how a tenant's limits stand cannot be read");
                Unavailable::new("usage")
            };
            let account = match self.book.account(environment, tenant).await {
                Ok(account) => account,
                // Of another project, or deleted a moment ago.
                Err(Error::TenantUnknown) => return Ok(Vec::new()),
                Err(error) => return Err(unavailable(error)),
            };
            let limited = self.standing(account).await.map_err(unavailable)?;
            Ok(limited.iter().filter_map(sign).take(SIGNS_MAX).collect())
        })
    }
}

/// What is to be said of a limit; `None` while there is room.
fn sign(limited: &Limited) -> Option<HealthSign> {
    let Limited { meter, limit, span, stand, .. } = limited;
    let max = limit.max?;
    let level = Some(level(stand.used, max)).filter(|level| *level > 0)?;
    let used = format!("{} of {max} of the limit of `{meter}` are used", stand.used);
    let is_urgent = level >= REACHED && limit.grace == Grace::Hard;
    let then = match (is_urgent, span.resets_at()) {
        (true, Some(at)) => format!("; more is refused until {at}"),
        (true, None) => "; more is refused until some is given back".to_owned(),
        (false, Some(at)) => format!("; it begins anew at {at}"),
        (false, None) => String::new(),
    };
    Some(HealthSign { topic: "limits", is_urgent, text: format!("{used}{then}.") })
}
