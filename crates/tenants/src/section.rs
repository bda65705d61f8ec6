//! The parts of the project file that belong here: `project`, `tenants`, `environments`.

use base::{EnvironmentId, HostName, SharedClock, Slug};
use config::SectionSchema;
use db::{NewEvent, SystemTx};
use ports::{ApplyError, Change, ResolveBy, SectionApply};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use shape::Fault;

use crate::model::Environment;
use crate::store::{domains, environments};

/// The sections that the project file may have through this capability.
pub const SECTIONS: &[SectionSchema] = &[
    SectionSchema { key: "project", schema: shape::schema_of::<Project>, check: no_more },
    SectionSchema { key: "tenants", schema: shape::schema_of::<Tenants>, check: check_tenants },
    SectionSchema { key: "environments", schema: environments_schema, check: check_environments },
];

/// `[project]`: the app.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Project {
    /// The project's name: a DNS label, unique in the installation.
    name: Slug,
}

/// `[tenants]`: how a request finds its tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tenants {
    /// The ways in which a request names its tenant, in the order in which they are tried. Default:
    /// `domain`, `subdomain`, `api-key`, `jwt`.
    #[serde(default)]
    resolve: Option<Vec<Resolve>>,
    /// The domain whose subdomains are tenants (`acme.example.com` for `example.com`); unique in the
    /// installation. Default: `localhost` for `development`, `<environment>.localhost` for others.
    #[serde(default)]
    base_domain: Option<HostName>,
    /// The plan of tenants made without one. Default: `free`.
    #[serde(default)]
    default_plan: Option<Slug>,
}

/// One way to find the tenant of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Resolve {
    /// The host is a domain of the tenant's own.
    Domain,
    /// The host is a subdomain of the base domain.
    Subdomain,
    /// The API key is the tenant's.
    ApiKey,
    /// A claim of a verified token.
    Jwt,
    /// A header that a trusted proxy sets.
    Header,
}

impl Resolve {
    const fn by(self) -> ResolveBy {
        match self {
            Resolve::Domain => ResolveBy::Domain,
            Resolve::Subdomain => ResolveBy::Subdomain,
            Resolve::ApiKey => ResolveBy::ApiKey,
            Resolve::Jwt => ResolveBy::Jwt,
            Resolve::Header => ResolveBy::Header,
        }
    }
}

/// What the section `tenants` asks of an environment, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) base_domain: HostName,
    pub(crate) resolve: Vec<ResolveBy>,
    pub(crate) default_plan: Slug,
}

impl Wanted {
    /// Reads the section; `None` for it means that all is left to the defaults.
    pub(crate) fn read(section: Option<&Value>, environment: &Slug) -> Result<Wanted, ApplyError> {
        let section: Tenants = ports::read_section("tenants", section)?;
        let all = [Resolve::Domain, Resolve::Subdomain, Resolve::ApiKey, Resolve::Jwt];
        let resolve = section.resolve.unwrap_or_else(|| all.to_vec());
        Ok(Wanted {
            base_domain: section.base_domain.unwrap_or_else(|| base_domain_of(environment)),
            resolve: resolve.into_iter().map(Resolve::by).collect(),
            default_plan: section.default_plan.unwrap_or_else(free),
        })
    }

    pub(crate) fn holds(&self, environment: &Environment) -> bool {
        self.base_domain == environment.base_domain
            && self.resolve == environment.resolve
            && self.default_plan == environment.default_plan
    }
}

/// `localhost` resolves by itself with all its subdomains (RFC 6761), so that a first start needs no DNS.
fn base_domain_of(environment: &Slug) -> HostName {
    let text = match environment.as_str() {
        "development" => "localhost".to_owned(),
        other => format!("{other}.localhost"),
    };
    HostName::parse(&text).expect("a DNS label before a short domain is a host name")
}

fn free() -> Slug {
    Slug::parse("free").expect("a literal DNS label")
}

/// Applies `[project]`: the name was used to find the project, so there is nothing left to do.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProjectApply;

impl SectionApply for ProjectApply {
    fn key(&self) -> &'static str {
        "project"
    }

    fn apply(
        &self,
        tx: &mut SystemTx,
        environment: EnvironmentId,
        section: Option<&Value>,
        _prune: bool,
    ) -> Result<Vec<Change>, ApplyError> {
        let name =
            section.and_then(|section| section.get("name")).and_then(Value::as_str).unwrap_or_default();
        let found = environments::by_id(tx, environment)?;
        match found {
            Some(found) if found.project_slug.as_str() == name => Ok(Vec::new()),
            _ => Err(ApplyError::Invalid(vec![Fault {
                pointer: "/project/name".to_owned(),
                found: format!("{name:?}"),
                message: "the name of the project to which the environment belongs".to_owned(),
                nearest: found.map(|found| found.project_slug.to_string()),
            }])),
        }
    }
}

/// Applies `[tenants]` to the environment's row.
#[derive(Debug, Clone)]
pub struct TenantsApply {
    /// Where times come from.
    pub clock: SharedClock,
}

impl SectionApply for TenantsApply {
    fn key(&self) -> &'static str {
        "tenants"
    }

    fn apply(
        &self,
        tx: &mut SystemTx,
        environment: EnvironmentId,
        section: Option<&Value>,
        _prune: bool,
    ) -> Result<Vec<Change>, ApplyError> {
        let Some(found) = environments::by_id(tx, environment)? else {
            return Ok(Vec::new());
        };
        let wanted = Wanted::read(section, &found.slug)?;
        if wanted.holds(&found) {
            return Ok(Vec::new());
        }
        if wanted.base_domain != found.base_domain {
            check_base_domain(tx, &wanted.base_domain)?;
        }
        let before = environment_view(&found);
        let Wanted { base_domain, resolve, default_plan } = wanted;
        let next = Environment { base_domain, resolve, default_plan, updated_at: self.clock.now(), ..found };
        environments::update(tx, &next)?;
        tx.emit(
            None,
            NewEvent {
                kind: "environment.updated",
                subject: environment.to_string(),
                environment: Some(environment),
                before: Some(before),
                after: Some(environment_view(&next)),
            },
        )?;
        Ok(vec![Change::changed(format!("tenants of environment {}", next.slug))])
    }
}

/// `[environments.X]` holds other sections for one environment; they were merged before, so nothing is left.
#[derive(Debug, Clone, Copy, Default)]
pub struct EnvironmentsApply;

impl SectionApply for EnvironmentsApply {
    fn key(&self) -> &'static str {
        "environments"
    }

    fn apply(
        &self,
        _tx: &mut SystemTx,
        _environment: EnvironmentId,
        _section: Option<&Value>,
        _prune: bool,
    ) -> Result<Vec<Change>, ApplyError> {
        Ok(Vec::new())
    }
}

/// Refuses a base domain that another environment serves, or under which a tenant's own domain lies.
pub(crate) fn check_base_domain(tx: &mut SystemTx, host: &HostName) -> Result<(), ApplyError> {
    let message = match environments::by_base_domain(tx, host)? {
        Some(other) => {
            format!("environment {} of project {} serves it; choose another", other.slug, other.project_slug)
        }
        None => match domains::at_or_under(tx, host)? {
            Some(domain) => format!("a tenant has the domain {domain}, which would lie under it"),
            None => return Ok(()),
        },
    };
    Err(ApplyError::Invalid(vec![Fault {
        pointer: "/tenants/base_domain".to_owned(),
        found: format!("{:?}", host.as_str()),
        message,
        nearest: None,
    }]))
}

/// What events tell of an environment.
pub(crate) fn environment_view(environment: &Environment) -> Value {
    let resolve: Vec<_> = environment.resolve.iter().map(|by| environments::resolve_word(*by)).collect();
    json!({
        "project": environment.project_slug,
        "slug": environment.slug,
        "base_domain": environment.base_domain,
        "resolve": resolve,
        "default_plan": environment.default_plan,
    })
}

fn no_more(_section: &Value, _whole: &Value) -> Vec<Fault> {
    Vec::new()
}

fn check_tenants(section: &Value, _whole: &Value) -> Vec<Fault> {
    let ways = section.get("resolve").and_then(Value::as_array).map(Vec::as_slice);
    let fault = |found: String, message: &str| Fault {
        pointer: "/resolve".to_owned(),
        found,
        message: message.to_owned(),
        nearest: None,
    };
    match ways {
        Some([]) => vec![fault("[]".to_owned(), "at least one way; without any, no request finds a tenant")],
        Some(ways) => ways
            .iter()
            .enumerate()
            .filter(|(at, way)| ways[..*at].contains(way))
            .map(|(_, way)| fault(way.to_string(), "each way once"))
            .collect(),
        None => Vec::new(),
    }
}

/// Each environment is a table of other sections; the project file's schema opens it to them.
fn environments_schema() -> Value {
    json!({
        "title": "Environments",
        "description": "What differs in one environment: sections of the file, laid over the ones outside.",
        "type": "object",
        "additionalProperties": { "type": "object", "properties": {}, "additionalProperties": false },
    })
}

fn check_environments(section: &Value, _whole: &Value) -> Vec<Fault> {
    let names = section.as_object().into_iter().flat_map(serde_json::Map::keys);
    names.filter_map(|name| ports::name_fault::<Slug>(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slug(text: &str) -> Slug {
        Slug::parse(text).unwrap()
    }

    #[test]
    fn ways_to_find_the_tenant_are_named_once_and_not_none() {
        let check = |resolve: Value| check_tenants(&json!({ "resolve": resolve }), &Value::Null).len();
        assert_eq!(check(json!(["domain", "api-key"])), 0);
        assert_eq!(check(json!([])), 1);
        assert_eq!(check(json!(["domain", "domain", "jwt", "jwt"])), 2);
    }

    #[test]
    fn an_environment_is_named_like_a_dns_label() {
        let faults = check_environments(&json!({"production": {}, "Up/Per": {}}), &Value::Null);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].pointer, "/Up~1Per");
    }

    #[test]
    fn defaults_fill_what_the_section_leaves_open() {
        let wanted = Wanted::read(None, &slug("development")).unwrap();
        assert_eq!(wanted.base_domain.as_str(), "localhost");
        assert_eq!(wanted.default_plan.as_str(), "free");
        assert_eq!(wanted.resolve.len(), 4);
        assert_eq!(Wanted::read(None, &slug("test")).unwrap().base_domain.as_str(), "test.localhost");
    }
}
