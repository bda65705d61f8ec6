//! What is known of an app while its files are read.

use base::Slug;
use std::path::Path;

/// The service that gets the requests.
pub(super) const WEB: &str = "web";

/// Services that are taken over; beyond it a `Procfile` is no `Procfile`.
const SERVICES_MAX: usize = 20;

/// One service, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) build: Option<String>,
    pub(super) start: Option<String>,
    pub(super) pre_deploy: Option<String>,
    pub(super) health_path: Option<String>,
    pub(super) health_seconds: Option<u64>,
    pub(super) restart: Option<(&'static str, Option<u32>)>,
    pub(super) replicas: Option<u32>,
}

/// The project file in the making, and what is to be said about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Draft {
    /// A slug.
    pub(super) name: String,
    pub(super) services: Vec<Service>,
    /// What was taken over from where, a sentence each.
    pub(super) taken: Vec<String>,
    /// What was not, and what to do about it.
    pub(super) left: Vec<String>,
    /// The file that told how the app is built and started, once one did.
    pub(super) told_by: Option<&'static str>,
}

impl Draft {
    /// A draft named after the folder.
    pub(super) fn new(folder: &Path) -> Self {
        let real = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        let name = real.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self { name: slug_of(&name).unwrap_or_else(|| "app".to_owned()), ..Self::default() }
    }

    /// Names the project as its own files do.
    pub(super) fn rename(&mut self, name: &str) {
        // A scope is the organisation's: `@acme/shop` is `shop`.
        let name = name.rsplit('/').next().unwrap_or(name);
        if let Some(slug) = slug_of(name) {
            self.name = slug;
        }
    }

    /// The service of this name, made when it is new; `None` when there are too many or it cannot be named so.
    pub(super) fn service(&mut self, name: &str) -> Option<&mut Service> {
        let name = slug_of(name)?;
        let index = match self.services.iter().position(|service| service.name == name) {
            Some(index) => index,
            None if self.services.len() < SERVICES_MAX => {
                self.services.push(Service { name, ..Service::default() });
                self.services.len() - 1
            }
            None => return None,
        };
        self.services.get_mut(index)
    }

    /// Notes that something was taken over.
    pub(super) fn take(&mut self, what: impl Into<String>) {
        self.taken.push(what.into());
    }

    /// Notes that something was not.
    pub(super) fn leave(&mut self, what: impl Into<String>) {
        self.left.push(what.into());
    }

    /// Drops services that nothing starts, and puts the one with the requests first.
    pub(super) fn finish(&mut self) {
        let build = self.services.iter().find_map(|service| service.build.clone());
        self.services.retain(|service| service.start.is_some());
        self.services.sort_by_key(|service| (service.name != WEB, service.name.clone()));
        // Workers run the same code as the web service, and so need the same build.
        for service in &mut self.services {
            service.build = service.build.take().or_else(|| build.clone());
        }
    }
}

/// A name as a slug: lower case, everything else a dash; `None` when nothing is left of it.
pub(super) fn slug_of(name: &str) -> Option<String> {
    let lower = name.to_lowercase();
    let plain = lower.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' });
    let dashed: String = plain.collect();
    let parts: Vec<&str> = dashed.split('-').filter(|part| !part.is_empty()).collect();
    let joined: String = parts.join("-").chars().take(63).collect();
    Slug::parse(joined.trim_end_matches('-')).ok().map(|slug| slug.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_slugs() {
        assert_eq!(slug_of("My Shop_2").as_deref(), Some("my-shop-2"));
        assert_eq!(slug_of("--Über--"), Some("ber".to_owned()));
        assert_eq!(slug_of("日本"), None);
        assert_eq!(slug_of(&"a-".repeat(100)).map(|slug| slug.len()), Some(63));
        assert_eq!(slug_of("ab--cd").as_deref(), Some("ab-cd"));
    }

    #[test]
    fn a_scope_is_not_the_name() {
        let mut draft = Draft::default();
        draft.rename("@acme/shop");
        assert_eq!(draft.name, "shop");
    }
}
