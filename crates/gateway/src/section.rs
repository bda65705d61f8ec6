//! `[[routes]]` of the project file.

use crate::error::Error;
use crate::model::RouteSpec;
use crate::ops::{self, Sources};
use base::{EnvironmentId, SharedClock, SharedRandom};
use config::SectionSchema;
use db::SystemTx;
use ports::{ApplyError, Change, SectionApply};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use shape::Fault;
use std::collections::HashSet;

/// The section that the project file may have through this capability.
pub const SECTION: SectionSchema = SectionSchema { key: "routes", schema: shape::schema_of::<Routes>, check };

/// `[[routes]]`: how the gateway maps host and path to a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Routes(Vec<RouteSpec>);

/// What the schema cannot say: patterns, paths, services that are not there, two routes for one place.
fn check(section: &Value, whole: &Value) -> Vec<Fault> {
    let services = whole.get("services").and_then(Value::as_object);
    let mut faults = Vec::new();
    let mut seen = HashSet::new();
    for (index, route) in section.as_array().into_iter().flatten().enumerate() {
        let at = format!("/{index}");
        if let Some(name) = route.get("service").and_then(Value::as_str)
            && !services.is_some_and(|services| services.contains_key(name))
        {
            let names: Vec<&str> = services.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            let allowed = match names.is_empty() {
                true => "the file has no services".to_owned(),
                false => format!("the file has the services {}", names.join(", ")),
            };
            let nearest = base::nearest(name, names.iter().copied());
            faults
                .push(Fault::new(format!("{at}/service"), format!("{name:?}"), allowed).or_nearest(nearest));
        }
        // A route that has faults of its own is told of by the schema.
        let Ok(spec) = serde_json::from_value::<RouteSpec>(route.clone()) else { continue };
        faults.extend(spec.faults(&at));
        let spec = spec.canonical();
        if !seen.insert((spec.host.clone(), spec.path.clone())) {
            let message = "one route for each host and path is allowed";
            faults.push(Fault::new(at, format!("a second route for {}", spec.label()), message));
        }
    }
    faults
}

/// Applies `[[routes]]` to an environment.
pub struct RoutesApply {
    /// Where times come from.
    pub clock: SharedClock,
    /// Where the random part of ids comes from.
    pub random: SharedRandom,
}

impl SectionApply for RoutesApply {
    fn key(&self) -> &'static str {
        "routes"
    }

    fn apply(
        &self,
        tx: &mut SystemTx,
        environment: EnvironmentId,
        section: Option<&Value>,
        _prune: bool,
    ) -> Result<Vec<Change>, ApplyError> {
        let Routes(wanted) = ports::read_section(self.key(), section)?;
        let sources = Sources { clock: &*self.clock, random: &*self.random };
        ops::apply(tx, sources, environment, wanted).map_err(refused)
    }
}

fn refused(error: Error) -> ApplyError {
    let said = error.to_string();
    match error {
        Error::Exists(label) => ApplyError::ManagedByApi(format!("route {label}")),
        Error::Invalid(faults) => {
            ApplyError::Invalid(faults.into_iter().map(|fault| fault.under("/routes")).collect())
        }
        Error::NotFound | Error::ManagedByFile(_) | Error::TooMany(_) | Error::Stale { .. } => {
            ApplyError::Invalid(vec![Fault::new("/routes", "these routes", said)])
        }
        Error::Store(error) => ApplyError::Store(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn mistakes_are_told_with_their_place() {
        let whole = json!({ "services": { "web": {} } });
        let section = json!([
            { "host": "*.localhost", "service": "wbe" },
            { "host": "*.localhost", "path": "/a/", "service": "web" },
            { "host": "*.LOCALHOST", "path": "/a", "service": "web" },
            { "host": "a b", "service": "web" },
        ]);
        let faults = check(&section, &whole);
        let told: Vec<_> =
            faults.iter().map(|fault| (fault.pointer.as_str(), fault.nearest.as_deref())).collect();
        assert_eq!(told, [("/0/service", Some("web")), ("/2", None), ("/3/host", None)]);
    }

    #[test]
    fn keys_of_capabilities_that_do_not_exist_yet_are_mistakes() {
        let route = json!([{ "host": "*", "service": "web", "cache": "x" }]);
        assert!(!shape::check(&shape::schema_of::<Routes>(), &route).is_empty());
        let route = json!([{ "host": "*", "service": "web", "limits": { "tenant": "10/s" }, "auth": "optional", "meter": "api_calls" }]);
        assert_eq!(shape::check(&shape::schema_of::<Routes>(), &route), []);
    }
}
