//! Who gets what of whom: the one place where capabilities meet.

use std::sync::Arc;

use base::{SharedClock, SharedRandom, Slug};
use config::ServerSettings;
use db::Db;
use identity::OperatorKey;
use module::{CliError, Module};
use ports::{Authenticate, EnvironmentDirectory, LogSink, TenantDirectory};
use telemetry::Metrics;
use vault::Vault;

use crate::capabilities;
use crate::error::failed;

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
}

/// The capabilities, built and handed to each other.
pub(crate) struct Built {
    pub(crate) modules: Vec<Module>,
    pub(crate) authenticate: Arc<dyn Authenticate>,
    pub(crate) environments: Arc<dyn EnvironmentDirectory>,
    pub(crate) gateway: gateway::Gateway,
    pub(crate) services: deployments::Handle,
    pub(crate) operator_key: OperatorKey,
}

/// Builds everything. Nothing runs yet.
///
/// # Errors
/// The store cannot be read, or the operator's key cannot be kept.
pub(crate) async fn build(ground: &Ground) -> Result<Built, CliError> {
    let Ground { settings, db, vault, clock, random, metrics, logs, service_url } = ground;
    let environment = Slug::parse(ENVIRONMENT).map_err(|e| failed("name the environment", &e))?;
    let environments = tenants::Environments::load(db.clone(), environment)
        .await
        .map_err(|e| failed("read the environments", &e))?;
    let directory: Arc<dyn TenantDirectory> = Arc::new(tenants::Directory::new(db.clone()));
    let operator_key = identity::operator_key(db, settings.data_dir.clone(), clock, random)
        .await
        .map_err(|e| failed("keep the operator's key", &e))?;
    let signer = identity::Signer::load(db, clock.clone(), random)
        .await
        .map_err(|e| failed("read the signing key", &e))?;
    let identity = identity::build(identity::Deps {
        db: db.clone(),
        clock: clock.clone(),
        random: random.clone(),
        tenants: directory.clone(),
        environments: environments.clone(),
        signer: signer.clone(),
    });
    let sink: Arc<dyn LogSink> = logs.clone();
    let deployments::Built { module: deployments, handle: services } = deployments::build(
        deployments::Config::new(settings.data_dir.clone(), settings.project_dir.clone(), service_url.clone()),
        deployments::Deps {
            db: db.clone(),
            clock: clock.clone(),
            random: random.clone(),
            environments: environments.clone(),
            logs: sink.clone(),
            metrics: metrics.clone(),
        },
    );
    let gateway::Built { module: gateway_module, gateway } = gateway::build(
        gateway::Config { trusted_proxies: settings.trusted_proxies.clone(), ..gateway::Config::default() },
        gateway::Deps {
            db: db.clone(),
            clock: clock.clone(),
            random: random.clone(),
            tenants: directory.clone(),
            keys: identity.directory.clone(),
            plans: Arc::new(plans::Directory::new(db.clone())),
            environments: environments.clone(),
            services: services.directory(),
            signer,
            uses: identity.uses.clone(),
            logs: sink,
            metrics: metrics.clone(),
        },
    );
    let plans = plans::build(plans::Deps {
        db: db.clone(),
        clock: clock.clone(),
        census: Arc::new(tenants::PlanCensus),
        environments: environments.clone(),
        projects: Arc::new(tenants::Projects),
        schemas: capabilities::sections(),
    });
    let logs = logs::build(logs::Deps { logs: logs.clone(), tenants: directory.clone() });
    let audit = audit::build(audit::Deps { db: db.clone(), tenants: directory });
    let backups = backups::build(
        backups::Config::new(&settings.data_dir),
        backups::Deps {
            db: db.clone(),
            clock: clock.clone(),
            random: random.clone(),
            vault: vault.clone(),
            sets: capabilities::migrations(),
            metrics: metrics.clone(),
        },
    );
    let mut modules = vec![plans, identity.module, deployments, gateway_module, logs, audit, backups];
    let own = tenants::own_sections(clock);
    let others = modules.iter().flat_map(|m| m.sections.iter().cloned());
    let tenants = tenants::build(tenants::Deps {
        db: db.clone(),
        clock: clock.clone(),
        random: random.clone(),
        environments: environments.clone(),
        plans: Arc::new(plans::Lookup),
        rows: modules.iter().flat_map(|m| m.tenant_rows.iter().cloned()).collect(),
        sections: own.into_iter().chain(others).collect(),
        schemas: capabilities::sections(),
    });
    modules.insert(0, tenants);
    Ok(Built { modules, authenticate: identity.authenticator, environments, gateway, services, operator_key })
}
