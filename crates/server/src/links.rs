//! The addresses under which people reach this installation, for links in mails and sign-in.
//!
//! They are made of settings and of what the listeners were bound to, never of what a request says: whoever sends a reset
//! of a password decides about the mail's `Host`, and must not decide where its link leads (TORTURE A14).

use std::net::SocketAddr;
use std::sync::Arc;

use base::EnvironmentId;
use config::{PublicUrl, ServerSettings};
use ports::EnvironmentDirectory;

use crate::service_port;

/// Where the listeners are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    /// The gateway; where this process has none, the one of the settings.
    pub(crate) gateway: SocketAddr,
    /// The control API.
    pub(crate) control: SocketAddr,
    /// The server behind the gateway; `None` where there is no gateway.
    pub(crate) member: Option<SocketAddr>,
}

/// Makes links.
pub(crate) struct Links {
    environments: Arc<dyn EnvironmentDirectory>,
    scheme: &'static str,
    /// The port with its colon, where it is not the scheme's own.
    port: String,
    operator: String,
}

impl Links {
    pub(crate) fn new(
        settings: &ServerSettings,
        places: Places,
        environments: Arc<dyn EnvironmentDirectory>,
    ) -> Self {
        let bound = PublicUrl { https: false, port: Some(places.gateway.port()).filter(|port| *port != 80) };
        let public = settings.public_url.as_deref().and_then(PublicUrl::parse).unwrap_or(bound);
        Self {
            environments,
            scheme: if public.https { "https" } else { "http" },
            port: public.port.map(|port| format!(":{port}")).unwrap_or_default(),
            operator: service_port::url(places.control),
        }
    }

    fn below(&self, label: &str, environment: EnvironmentId) -> Option<String> {
        let all = self.environments.shared();
        let base = &all.iter().find(|one| one.id == environment)?.base_domain;
        Some(format!("{}://{label}.{base}{}", self.scheme, self.port))
    }
}

impl ports::Links for Links {
    fn api(&self, environment: EnvironmentId) -> Option<String> {
        self.below("api", environment)
    }

    fn console(&self, environment: EnvironmentId) -> Option<String> {
        self.below("console", environment)
    }

    fn operator(&self) -> String {
        self.operator.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{HostName, ProjectId, Slug};
    use ports::{EnvironmentRecord, Links as _};
    use std::path::Path;

    struct One(EnvironmentRecord);

    impl EnvironmentDirectory for One {
        fn all(&self) -> Vec<EnvironmentRecord> {
            vec![self.0.clone()]
        }
        fn current(&self) -> Option<EnvironmentRecord> {
            None
        }
    }

    fn links(public_url: Option<&str>, gateway: &str) -> Links {
        let mut settings = ServerSettings::defaults(Path::new("/"));
        settings.public_url = public_url.map(str::to_owned);
        let place = |text: &str| text.parse().unwrap();
        let places = Places { gateway: place(gateway), control: place("0.0.0.0:8081"), member: None };
        Links::new(
            &settings,
            places,
            Arc::new(One(EnvironmentRecord {
                id: EnvironmentId::from_uuid_bytes([1; 16]),
                project: ProjectId::from_uuid_bytes([2; 16]),
                project_slug: Slug::parse("agents").unwrap(),
                slug: Slug::parse("production").unwrap(),
                base_domain: HostName::parse("example.com").unwrap(),
                resolve: Vec::new(),
                default_plan: Slug::parse("free").unwrap(),
            })),
        )
    }

    #[test]
    fn a14_links_are_made_of_settings_alone() {
        let environment = EnvironmentId::from_uuid_bytes([1; 16]);
        for (public, gateway, expected) in [
            (None, "127.0.0.1:8080", "http://api.example.com:8080"),
            (None, "0.0.0.0:80", "http://api.example.com"),
            (Some("https://example.com"), "127.0.0.1:8080", "https://api.example.com"),
            (Some("https://other.test:8443/"), "127.0.0.1:8080", "https://api.example.com:8443"),
        ] {
            assert_eq!(links(public, gateway).api(environment).as_deref(), Some(expected));
        }
        let made = links(None, "127.0.0.1:8080");
        assert_eq!(made.console(environment).as_deref(), Some("http://console.example.com:8080"));
        assert_eq!(made.operator(), "http://127.0.0.1:8081");
        assert_eq!(made.api(EnvironmentId::from_uuid_bytes([9; 16])), None);
    }
}
