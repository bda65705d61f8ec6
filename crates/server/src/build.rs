//! Who gets what of whom: the one place where capabilities meet.

use std::sync::Arc;
use std::time::Duration;

use base::{Secret, SharedClock, SharedRandom, Slug};
use config::ServerSettings;
use db::Db;
use identity::OperatorKey;
use module::{CliError, Module};
use outbound::{Guarded, Limits};
use ports::{Authenticate, EnvironmentDirectory, TenantDirectory};
use telemetry::Metrics;
use vault::Vault;

use crate::capabilities;
use crate::cleanup;
use crate::error::failed;
use crate::links::{Links, Places};
use crate::workers;

/// The environment that `up` uses.
pub(crate) const ENVIRONMENT: &str = "development";

/// What is made before the capabilities.
pub(crate) struct Ground {
    pub(crate) settings: ServerSettings,
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) clock: SharedClock,
    pub(crate) random: SharedRandom,
    pub(crate) metrics: Metrics,
    pub(crate) logs: Arc<logs::Logs>,
    /// Where the services reach the service API.
    pub(crate) service_url: String,
    /// Where the listeners are.
    pub(crate) places: Places,
    /// Their sockets, for the next process on this data folder.
    pub(crate) held: Arc<lifecycle::HeldSockets>,
    /// By which the gateway is known to the server behind it.
    pub(crate) vouch: Secret<String>,
}

/// The capabilities, built and handed to each other.
pub(crate) struct Built {
    pub(crate) modules: Vec<Module>,
    pub(crate) authenticate: Arc<dyn Authenticate>,
    pub(crate) environments: Arc<dyn EnvironmentDirectory>,
    pub(crate) gateway: gateway::Gateway,
    pub(crate) services: deployments::Handle,
    pub(crate) operator_key: OperatorKey,
    /// The addresses under which people reach this installation.
    pub(crate) links: Arc<dyn ports::Links>,
}

/// What several capabilities are handed, made out of the store.
struct Shared {
    environments: Arc<tenants::Environments>,
    tenants: Arc<dyn TenantDirectory>,
    signer: Arc<identity::Signer>,
    revocations: Arc<identity::Revocations>,
    queues: jobs::Engine,
    /// Issuers whose tokens are trusted.
    issuers: Arc<issuers::Registry>,
    /// By which they are asked.
    fetch: issuers::Fetch,
    /// The addresses under which people reach this installation.
    links: Arc<dyn ports::Links>,
    /// Writes invitations.
    inviter: accounts::Inviter,
}

/// Percent of the grace period that a service has to end: all together take less than twice as long, which is the share that
/// reconcilers have (`lifecycle::TaskKind`).
const END_OF_SERVICE_PERCENT: u32 = 35;

/// Time that a billing sink has for an answer: what it has not answered then may have been counted all the same.
const BILLING_TIME_MAX: Duration = Duration::from_secs(20);

/// The installation's own queues: each is worked off by a handler of some capability.
const BUILT_IN_QUEUES: &[&str] = &["onboarding", billing::QUEUE, cleanup::QUEUE];

/// The installation's own schedules, on the clock of UTC.
static BUILT_IN_SCHEDULES: &[schedules::BuiltIn] = &[cleanup::SCHEDULE];

/// Builds everything. Nothing runs yet.
///
/// # Errors
/// The store cannot be read, or the operator's key cannot be kept.
pub(crate) async fn build(ground: &Ground) -> Result<Built, CliError> {
    let Ground { settings, db, clock, random, .. } = ground;
    let operator_key = identity::operator_key(db, settings.data_dir.clone(), clock, random)
        .await
        .map_err(|e| failed("keep the operator's key", &e))?;
    let shared = Shared::load(ground).await?;
    let identity = identity::build(identity::Deps {
        db: db.clone(),
        clock: clock.clone(),
        random: random.clone(),
        tenants: shared.tenants.clone(),
        environments: shared.environments.clone(),
        services: Arc::new(deployments::Identities),
        signer: shared.signer.clone(),
        revocations: shared.revocations.clone(),
        places: Arc::new(tenants::Places),
        invitations: Some(Arc::new(shared.inviter.clone())),
        external: Some(shared.issuers.clone()),
    });
    let accounts::Built { module: people, accounts } = people(ground, &shared);
    let deployments::Built { module: deployments, handle: services } = runtime(ground, &shared);
    let usage::Built { module: usage, meters, ledger, engine } = counting(ground, &shared);
    let gateway::Built { module: gateway_module, gateway } =
        data_path(ground, &shared, &identity, &services, meters);
    let logs = logs::build(logs::Deps { logs: ground.logs.clone(), tenants: shared.tenants.clone() });
    let audit = audit::build(audit::Deps { db: db.clone(), tenants: shared.tenants.clone() });
    let (jobs, schedules) = (work(ground, &shared), times(ground, &shared));
    let mut modules = vec![
        offers(ground, &shared),
        usage,
        invoicing(ground, &shared, ledger),
        identity.module,
        deployments,
        gateway_module,
        jobs,
        schedules,
        logs,
        audit,
        provider(ground, &shared, &identity.tokens, &accounts),
        trust(ground, &shared, accounts),
        people,
        copies(ground),
    ];
    modules.insert(0, tenancy(ground, &shared, &modules, engine));
    modules.push(cleanup::module(db, clock));
    let hands = workers::Hands {
        engine: shared.queues.clone(),
        handlers: modules.iter().flat_map(|module| module.handlers.iter().cloned()).collect(),
        environments: shared.environments.clone(),
        services: services.directory(),
        tokens: shared.signer.clone(),
    };
    modules.push(workers::module(ground, hands));
    Ok(Built {
        modules,
        authenticate: identity.authenticator,
        environments: shared.environments,
        gateway,
        services,
        operator_key,
        links: shared.links,
    })
}

impl Shared {
    async fn load(ground: &Ground) -> Result<Shared, CliError> {
        let Ground { db, clock, random, .. } = ground;
        let environment = Slug::parse(ENVIRONMENT).map_err(|e| failed("name the environment", &e))?;
        let environments = tenants::Environments::load(db.clone(), environment)
            .await
            .map_err(|e| failed("read the environments", &e))?;
        let signer = identity::Signer::load(db, clock.clone(), random)
            .await
            .map_err(|e| failed("read the signing keys", &e))?;
        let revocations = identity::Revocations::load(db, clock.clone())
            .await
            .map_err(|e| failed("read which tokens are revoked", &e))?;
        let tenants: Arc<dyn TenantDirectory> = Arc::new(tenants::Directory::new(db.clone()));
        let queues = jobs::Engine::open(jobs::Deps {
            db: db.clone(),
            clock: clock.clone(),
            random: random.clone(),
            metrics: ground.metrics.clone(),
            tenants: Some(tenants.clone()),
            built_in: BUILT_IN_QUEUES.to_vec(),
        });
        let queues = queues.await.map_err(|e| failed("open the queues", &e))?;
        let links = Links::new(&ground.settings, ground.places, environments.clone());
        let fetch = issuers::Fetch::new(clock, None);
        let issuers = issuers::Registry::load(db, clock, environments.clone(), fetch.clone())
            .await
            .map_err(|e| failed("read the issuers that are trusted", &e))?;
        let links = Arc::new(links);
        let inviter = accounts::Inviter::new(accounts::InviterDeps {
            clock: clock.clone(),
            random: random.clone(),
            links: links.clone(),
            environments: environments.clone(),
            places: Arc::new(tenants::Places),
            mailer: Arc::new(accounts::Outbox::new(clock.clone(), random.clone())),
        });
        Ok(Shared { environments, tenants, signer, revocations, queues, issuers, fetch, links, inviter })
    }
}

/// Services and their processes.
fn runtime(ground: &Ground, shared: &Shared) -> deployments::Built {
    let Ground { settings, db, clock, random, metrics, logs, service_url, .. } = ground;
    let (data_dir, project_dir) = (settings.data_dir.clone(), settings.project_dir.clone());
    let config = deployments::Config::new(data_dir, project_dir, service_url.clone());
    deployments::build(
        deployments::Config {
            sockets: ground.held.clone(),
            grace_at_end_max: settings.grace * END_OF_SERVICE_PERCENT / 100,
            ..config
        },
        deployments::Deps {
            db: db.clone(),
            clock: clock.clone(),
            random: random.clone(),
            environments: shared.environments.clone(),
            logs: logs.clone(),
            tokens: shared.signer.clone(),
            metrics: metrics.clone(),
        },
    )
}

/// The gateway, which learns of tenants, keys, plans and services through their directories.
fn data_path(
    ground: &Ground,
    shared: &Shared,
    identity: &identity::Identity,
    services: &deployments::Handle,
    meters: Arc<usage::Counting>,
) -> gateway::Built {
    let Ground { settings, db, clock, random, metrics, logs, .. } = ground;
    gateway::build(
        gateway::Config {
            trusted_proxies: settings.trusted_proxies.clone(),
            member: ground
                .places
                .member
                .map(|addr| gateway::MemberSurface { addr, vouch: ground.vouch.clone() }),
            ..gateway::Config::default()
        },
        gateway::Deps {
            db: db.clone(),
            clock: clock.clone(),
            random: random.clone(),
            tenants: shared.tenants.clone(),
            keys: identity.directory.clone(),
            plans: Arc::new(plans::Directory::new(db.clone())),
            environments: shared.environments.clone(),
            services: services.directory(),
            signer: shared.signer.clone(),
            uses: identity.uses.clone(),
            tokens: Some(identity.tokens.clone()),
            meters: Some(meters),
            logs: logs.clone(),
            metrics: metrics.clone(),
        },
    )
}

/// What tenants use, and what they may.
fn counting(ground: &Ground, shared: &Shared) -> usage::Built {
    let Ground { db, clock, random, metrics, .. } = ground;
    usage::build(usage::Deps {
        db: db.clone(),
        clock: clock.clone(),
        random: random.clone(),
        plans: Arc::new(plans::MeterLimits),
        terms: Arc::new(tenants::Terms),
        tenants: shared.tenants.clone(),
        environments: shared.environments.clone(),
        letters: Some(usage::Letters {
            mailer: Arc::new(accounts::Outbox::new(clock.clone(), random.clone())),
            owners: Arc::new(identity::Members::new(Arc::new(tenants::Places), clock.clone())),
        }),
        metrics: metrics.clone(),
    })
}

/// Usage on its way to whoever writes the invoices.
fn invoicing(ground: &Ground, shared: &Shared, ledger: Arc<usage::Ledger>) -> Module {
    let Ground { db, clock, random, metrics, .. } = ground;
    let guarded = Guarded::for_operator(Limits::default(), clock.clone());
    billing::build(billing::Deps {
        tools: billing::Tools {
            db: db.clone(),
            random: random.clone(),
            enqueue: Arc::new(shared.queues.clone()),
            environments: shared.environments.clone(),
        },
        clock: clock.clone(),
        ledger,
        customers: Arc::new(tenants::Directory::new(db.clone())),
        wire: billing::Wire::new(guarded, BILLING_TIME_MAX),
        metrics: metrics.clone(),
    })
}

/// Queues and their jobs.
fn work(ground: &Ground, shared: &Shared) -> Module {
    let Ground { db, clock, .. } = ground;
    jobs::build(jobs::Parts {
        engine: shared.queues.clone(),
        db: db.clone(),
        clock: clock.clone(),
        tenants: shared.tenants.clone(),
        environments: shared.environments.clone(),
    })
}

/// Plans, whose changes are judged by who uses them and how much.
fn offers(ground: &Ground, shared: &Shared) -> Module {
    let Ground { db, clock, .. } = ground;
    plans::build(plans::Deps {
        db: db.clone(),
        clock: clock.clone(),
        census: Arc::new(tenants::PlanCensus),
        over: Some(Arc::new(usage::Census::new(Arc::new(tenants::Terms), clock.clone()))),
        environments: shared.environments.clone(),
        projects: Arc::new(tenants::Projects),
        schemas: capabilities::sections(),
    })
}

/// Schedules, which make jobs.
fn times(ground: &Ground, shared: &Shared) -> Module {
    let Ground { db, clock, random, metrics, .. } = ground;
    schedules::build(schedules::Deps {
        tools: schedules::Tools {
            db: db.clone(),
            random: random.clone(),
            zones: schedules::model::Zones::system(),
            enqueue: Arc::new(shared.queues.clone()),
            built_in: BUILT_IN_SCHEDULES,
        },
        clock: clock.clone(),
        tenants: shared.tenants.clone(),
        metrics: metrics.clone(),
    })
}

/// People and how they sign in.
fn people(ground: &Ground, shared: &Shared) -> accounts::Built {
    let Ground { db, clock, random, .. } = ground;
    accounts::build(accounts::Deps {
        db: db.clone(),
        clock: clock.clone(),
        random: random.clone(),
        tenants: shared.tenants.clone(),
        environments: shared.environments.clone(),
        memberships: Arc::new(identity::Members::new(Arc::new(tenants::Places), clock.clone())),
        revocations: shared.revocations.clone(),
        signer: shared.signer.clone(),
        inviter: shared.inviter.clone(),
    })
}

/// The OpenID provider, which signs people in for apps.
fn provider(
    ground: &Ground,
    shared: &Shared,
    tokens: &Arc<identity::Tokens>,
    accounts: &Arc<accounts::Accounts>,
) -> Module {
    let Ground { db, clock, random, .. } = ground;
    oidc::build(oidc::Deps {
        db: db.clone(),
        clock: clock.clone(),
        random: random.clone(),
        tenants: shared.tenants.clone(),
        links: shared.links.clone(),
        signer: shared.signer.clone(),
        tokens: tokens.clone(),
        revocations: shared.revocations.clone(),
        sign_in: accounts.clone(),
        issuers: shared.issuers.clone(),
    })
}

/// Issuers of tokens besides ourselves.
fn trust(ground: &Ground, shared: &Shared, sign_in: Arc<dyn ports::SignIn>) -> Module {
    let Ground { db, clock, random, .. } = ground;
    issuers::build(issuers::Deps {
        sources: issuers::Sources { db: db.clone(), clock: clock.clone(), random: random.clone() },
        registry: shared.issuers.clone(),
        fetch: shared.fetch.clone(),
        projects: Arc::new(tenants::Projects),
        links: shared.links.clone(),
        sign_in,
        browsers: Arc::new(oidc::Browsers::new(
            db.clone(),
            clock.clone(),
            random.clone(),
            shared.revocations.clone(),
        )),
    })
}

/// Backups of the store.
fn copies(ground: &Ground) -> Module {
    let Ground { settings, db, vault, clock, random, metrics, .. } = ground;
    backups::build(
        backups::Config::new(&settings.data_dir),
        backups::Deps {
            db: db.clone(),
            clock: clock.clone(),
            random: random.clone(),
            vault: vault.clone(),
            sets: capabilities::migrations(),
            metrics: metrics.clone(),
        },
    )
}

/// Tenants come last: they apply every capability's section, and remove every capability's rows of a tenant.
fn tenancy(ground: &Ground, shared: &Shared, others: &[Module], usage: usage::Engine) -> Module {
    let Ground { db, clock, random, .. } = ground;
    let own = tenants::own_sections(clock);
    let sections = others.iter().flat_map(|m| m.sections.iter().cloned());
    tenants::build(tenants::Deps {
        db: db.clone(),
        clock: clock.clone(),
        random: random.clone(),
        environments: shared.environments.clone(),
        plans: Arc::new(plans::Lookup),
        enqueue: Arc::new(shared.queues.clone()),
        rows: others.iter().flat_map(|m| m.tenant_rows.iter().cloned()).collect(),
        dns: outbound::Dns::system(random.clone()),
        health: vec![Arc::new(shared.queues.clone()), Arc::new(usage)],
        sections: own.into_iter().chain(sections).collect(),
        schemas: capabilities::sections(),
    })
}
