//! Why a request would be treated as it would be, from the snapshot that requests are judged by.

use crate::balance::Services;
use crate::model::{Auth, Route};
use crate::path::OWN_LABELS;
use crate::snapshot::{Environment, HostMeaning, Tenant, World};
use crate::wire::{authority, target};
use base::{Rate, RouteId, Slug};
use ports::TenantStatus;
use std::sync::Arc;

/// What would become of a request without a credential, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The code of the refusal; `None` when it would be passed on.
    pub refused: Option<&'static str>,
    /// The environment's name.
    pub environment: Option<String>,
    /// The tenant's slug.
    pub tenant: Option<String>,
    /// The plan whose rate holds.
    pub plan: Option<String>,
    /// What the tenant may ask.
    pub rate: Option<Rate>,
    /// The route.
    pub route: Option<RouteId>,
    /// Its host and path.
    pub matched: Option<String>,
    /// The service that answers.
    pub service: Option<Slug>,
    /// Each step and its outcome, in the order in which they are taken.
    pub steps: Vec<String>,
}

/// Walks the steps that a request for `host` and `path` takes.
#[must_use]
pub fn explain(world: &World, services: &Services, method: &str, host: &str, path: &str) -> Explanation {
    let mut told = Explanation {
        refused: None,
        environment: None,
        tenant: None,
        plan: None,
        rate: None,
        route: None,
        matched: None,
        service: None,
        steps: Vec::new(),
    };
    told.refused = told.walk(world, services, method, (host, path)).err();
    told
}

impl Explanation {
    fn say(&mut self, step: impl Into<String>) {
        self.steps.push(step.into());
    }

    fn walk(
        &mut self,
        world: &World,
        services: &Services,
        method: &str,
        (host, path): (&str, &str),
    ) -> Result<(), &'static str> {
        let named = authority(host.as_bytes()).map_err(|reject| {
            self.say(format!("host: {}", reject.detail));
            reject.code.name
        })?;
        self.say(format!("host: {}", named.host()));
        let aim = target(method, path).map_err(|reject| {
            self.say(format!("path: {}", reject.detail));
            reject.code.name
        })?;
        let (environment, tenant) = self.who(world, named.host())?;
        let routes = environment.routes.load();
        let mut found = routes.find(named.host(), &aim.plain, aim.path);
        if let (Ok(None), Some(tenant)) = (&found, &tenant) {
            let canonical = environment.canonical_host(tenant);
            found = routes.find(&canonical, &aim.plain, aim.path);
        }
        let route = match found {
            Ok(Some(route)) => route.clone(),
            Ok(None) => {
                self.say(format!("route: none of the {} routes matches", routes.len()));
                return Err(base::codes::ROUTE_UNKNOWN.name);
            }
            Err(_) => {
                self.say("route: the path can be read in two ways that lead to different routes");
                return Err(base::codes::BAD_REQUEST.name);
            }
        };
        self.route_steps(&route, tenant.is_some());
        match services.get(environment.id, &route.service) {
            Some(service) if route.auth != Auth::Required => {
                self.say(format!("service: {}", service.describe()));
                Ok(())
            }
            Some(_) => Err(base::codes::UNAUTHENTICATED.name),
            None => {
                self.say(format!("service: {} does not run", route.service));
                Err(base::codes::UPSTREAM_UNAVAILABLE.name)
            }
        }
    }

    fn who(
        &mut self,
        world: &World,
        host: &str,
    ) -> Result<(Arc<Environment>, Option<Arc<Tenant>>), &'static str> {
        let (environment, tenant) = match world.host(host) {
            HostMeaning::Domain(environment, domain) => {
                let tenant = environment.tenants.get(domain.tenant);
                let slug = tenant.as_ref().map_or("unknown", |tenant| &tenant.slug);
                self.say(format!("tenant: {slug}, by a domain of its own"));
                (environment, tenant)
            }
            HostMeaning::Below(environment) => {
                let label = host.split('.').next().unwrap_or_default();
                let base = environment.record.load().base_domain.clone();
                let whole = format!("{label}.{base}") == host;
                if whole && OWN_LABELS.contains(&label) {
                    self.say(format!(
                        "own: {host} is Switchyard's, for members of tenants; no route takes it"
                    ));
                    return Err(base::codes::ROUTE_UNKNOWN.name);
                }
                let tenant = environment.tenants.by_slug(label).filter(|_| whole);
                if tenant.is_none() && !base::RESERVED_SLUGS.contains(&label) {
                    let next = format!("`switchyard tenants create {label} …` makes one");
                    self.say(format!("tenant: none is called `{label}` below {base}; {next}"));
                    return Err(base::codes::TENANT_UNKNOWN.name);
                }
                match &tenant {
                    Some(tenant) => self.say(format!("tenant: {}, by subdomain of {base}", tenant.slug)),
                    None => self
                        .say(format!("tenant: none, `{label}` is kept for the platform; a key may name one")),
                }
                (environment, tenant)
            }
            HostMeaning::Base(environment) => {
                self.say("tenant: none, this is the base domain; a key may name one");
                (environment, None)
            }
            HostMeaning::Nothing(Some(environment)) => {
                self.say("tenant: the host names none; a key may");
                (environment, None)
            }
            HostMeaning::Nothing(None) => {
                self.say("tenant: the host belongs to no environment; a key may name one");
                return Err(base::codes::TENANT_UNKNOWN.name);
            }
        };
        self.environment = Some(environment.slug.to_string());
        if let Some(tenant) = &tenant {
            self.tenant = Some(tenant.slug.to_string());
            environment.plan_of(tenant, |plan, rate| {
                self.plan = Some(plan.to_owned());
                self.rate = Some(rate);
            });
            if tenant.status != TenantStatus::Active {
                self.say(format!("status: {:?}", tenant.status).to_lowercase());
                return Err(base::codes::TENANT_SUSPENDED.name);
            }
        }
        Ok((environment, tenant))
    }

    fn route_steps(&mut self, route: &Route, has_tenant: bool) {
        self.route = Some(route.id);
        self.matched = Some(route.label.to_string());
        self.service = Some(route.service.clone());
        self.say(format!("route: {} leads to {}", route.label, route.service));
        self.say(match route.auth {
            Auth::None => "auth: none, credentials are not looked at",
            Auth::Optional => "auth: optional, a Switchyard key or token that comes must be valid",
            Auth::Required => "auth: required, a Switchyard key or token must come",
        });
        self.say(match (route.plan_limit, has_tenant) {
            (true, true) => "limits: the plan's rate",
            (true, false) => "limits: the address's rate, since no tenant is known",
            (false, _) => "limits: none of the plan",
        });
        if let Some(meter) = &route.meter {
            self.say(format!("meter: counted by {meter}, and refused where the tenant's quota is used up"));
        }
        let own =
            [("key", route.limits.key), ("tenant", route.limits.tenant), ("address", route.limits.address)];
        for (name, rate) in own {
            if let Some(rate) = rate {
                self.say(format!("limits: {rate} for each {name} on this route"));
            }
        }
    }
}
