//! Looks at name servers: once when asked, and again and again for what was claimed or proven by a record.
//!
//! No transaction waits for a name server: the domain is read, the look is made, and what it found is judged in a transaction of
//! its own, which reads the domain again.

use std::sync::Arc;
use std::time::Duration;

use authority::{SystemCtx, TenantCtx};
use base::{HostName, SharedClock, SharedRandom, TenantId};
use db::Db;
use futures_util::{StreamExt as _, stream};
use lifecycle::{Stop, TaskError};
use outbound::{Dns, DnsError};
use tokio::sync::Semaphore;

use crate::error::Error;
use crate::model::{COOL_OFF, Domain, Found, LOOK_PAUSE};
use crate::ops::{self, Sources};
use crate::store::domains as rows;

/// Looks at a time, asked for or not: name servers answer in milliseconds, or time out.
const LOOKS_MAX: usize = 8;
/// Domains of one round.
const ROUND_MAX: u32 = 200;
/// Between two rounds. Claims are looked at every minute in their first minutes.
const ROUND_EVERY: Duration = Duration::from_secs(30);
/// After this a look that a process began and did not end is made by another.
const TAKEN_FOR: Duration = Duration::from_secs(300);

/// Proves domains by their records.
#[derive(Clone)]
pub struct Proofs {
    db: Db,
    sources: Sources,
    dns: Dns,
    looks: Arc<Semaphore>,
}

impl Proofs {
    /// Over the store, at these name servers.
    pub fn new(db: Db, clock: SharedClock, random: SharedRandom, dns: Dns) -> Proofs {
        let sources = Sources { clock, random };
        Proofs { db, sources, dns, looks: Arc::new(Semaphore::new(LOOKS_MAX)) }
    }

    /// Looks for the record of the context's tenant's domain now, unless it was looked for a moment ago.
    ///
    /// # Errors
    /// `NotFound`, `DomainUnderBase`, `DomainTaken`, `DomainRests`, `Store`.
    pub(crate) async fn verify(&self, ctx: &TenantCtx, host: HostName) -> Result<Domain, Error> {
        let tenant = ctx.tenant();
        let name = host.clone();
        let found = self.db.read(ctx, move |tx| rows::own(tx, &name)).await?.ok_or(Error::NotFound)?;
        let now = self.sources.clock.now();
        let is_fresh = found.checked_at.is_some_and(|at| now.since(at) < LOOK_PAUSE);
        if is_fresh || !found.is_judged_by_record() {
            return Ok(found);
        }
        let found = self.look(&found).await;
        let ctx =
            ctx.crossing("a proven domain is unique in the installation, and rests after another had it");
        let sources = self.sources.clone();
        self.db.write_system(&ctx, move |tx| ops::domains::looked(tx, &sources, tenant, &host, &found)).await
    }

    async fn look(&self, domain: &Domain) -> Found {
        let Ok(_permit) = self.looks.acquire().await else {
            return Found::Unknown("the process stops".to_owned());
        };
        match self.dns.txt(&domain.record_name()).await {
            Ok(texts) => domain.found(&texts),
            Err(DnsError::Name) => Found::Nothing(0),
            Err(error @ DnsError::Unavailable(_)) => Found::Unknown(error.to_string()),
        }
    }

    /// Looks at all domains that are due, each in one process only. Answers how many there were.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn round(&self) -> Result<usize, db::Error> {
        let ctx = SystemCtx::because("domains of all tenants are looked at again in turn");
        let now = self.sources.clock.now();
        if self.db.read_system(&ctx, move |tx| rows::due(tx, now, 1)).await?.is_empty() {
            return Ok(0);
        }
        let due = self
            .db
            .write_system(&ctx, move |tx| {
                rows::forget_released(tx, now - COOL_OFF)?;
                let mut mine = Vec::new();
                for (tenant, domain) in rows::due(tx, now, ROUND_MAX)? {
                    let Some(at) = domain.next_check_at else { continue };
                    if rows::take(&mut tx.for_tenant(tenant), &domain.host, at, now + TAKEN_FOR)? {
                        mine.push((tenant, domain));
                    }
                }
                Ok::<_, db::Error>(mine)
            })
            .await?;
        let looks = due.len();
        let mut ends =
            stream::iter(due).map(|(tenant, domain)| self.again(tenant, domain)).buffer_unordered(LOOKS_MAX);
        while let Some(end) = ends.next().await {
            end?;
        }
        Ok(looks)
    }

    async fn again(&self, tenant: TenantId, domain: Domain) -> Result<(), db::Error> {
        let found = self.look(&domain).await;
        let ctx = SystemCtx::because("a domain's record was looked for");
        let (sources, host) = (self.sources.clone(), domain.host.clone());
        let looked = self
            .db
            .write_system(&ctx, move |tx| ops::domains::looked(tx, &sources, tenant, &host, &found))
            .await;
        let why = match looked {
            Ok(_) | Err(Error::NotFound) => return Ok(()),
            Err(Error::Store(error)) => return Err(error),
            Err(other) => other.to_string(),
        };
        let (sources, host) = (self.sources.clone(), domain.host);
        let own = ctx.for_tenant(tenant);
        let note = self.db.write(&own, move |tx| ops::domains::held_up(tx, &sources, &host, &why).map(drop));
        match note.await {
            Err(Error::Store(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Rounds until the process stops.
    pub(crate) async fn run(self, stop: Stop) -> Result<(), TaskError> {
        while !stop.is_stopping() {
            self.round().await?;
            tokio::select! {
                () = stop.stopped() => break,
                () = tokio::time::sleep(ROUND_EVERY) => {}
            }
        }
        Ok(())
    }
}
