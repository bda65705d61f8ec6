//! `api.<base_domain>` and `console.<base_domain>`: Switchyard's own API and pages for members of tenants, answered by the
//! server of this process.
//!
//! The server is an upstream like others, with a breaker, idle connections and deadlines; it judges credentials itself. So
//! they are passed on as they came, and what only the gateway can know is said beside: the environment, by the host, and for
//! whom it asks.

use super::forward::{Forward, begin_head, push_line};
use super::job::{Job, Refusal};
use super::shared::Thread;
use crate::balance::{Service, Services};
use crate::limits::{Limit, Subject};
use crate::model::{Auth, LimitsSpec, Route, RouteSpec, TimeoutsSpec};
use crate::snapshot::{Environment, HostMeaning};
use base::{EnvironmentId, Rate, RouteId, Secret, ServiceId, Slug};
use ports::{Endpoint, HealthCheck, ServiceRecord};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Labels below a base domain that Switchyard answers itself.
pub(crate) const OWN_LABELS: [&str; 2] = ["api", "console"];

/// What one address may ask of the member surface: a page with its requests many times over, and programs of a tenant. Who
/// needs more has keys at the service API.
const ADDRESS_RATE: Rate = Rate::per_minute(1_200);

/// Where the server of the member surface listens, and what it knows us by.
#[derive(Debug, Clone)]
pub struct MemberSurface {
    /// Its address, on loopback.
    pub addr: SocketAddr,
    /// The secret that vouches for what the gateway says of a client.
    pub vouch: Secret<String>,
}

/// The member surface, ready for use by requests.
pub(crate) struct Member {
    route: Arc<Route>,
    service: Arc<Service>,
    vouch: Secret<String>,
}

impl Member {
    /// An upstream beside all services, which no route of a project can name.
    pub(crate) fn new(surface: MemberSurface, services: &Services) -> Option<Self> {
        let name = Slug::parse("switchyard").ok()?;
        let spec = RouteSpec {
            host: "*".to_owned(),
            path: "/".to_owned(),
            service: name.clone(),
            auth: Auth::None,
            limits: LimitsSpec::Switch(false),
            headers: BTreeMap::new(),
            timeouts: TimeoutsSpec::default(),
            body_max: None,
            websocket: true,
            meter: None,
        };
        let mut route = Route::compile(RouteId::from_uuid_bytes([0; 16]), &spec)?;
        route.label = "switchyard".into();
        // What its headers are is the server's to say.
        (route.headers, route.header_lines, route.headers_by_kind) = (Box::default(), Box::default(), true);
        let endpoint = Endpoint { replica: None, addr: surface.addr, ready: true, draining: false };
        let service = services.apart(&ServiceRecord {
            id: ServiceId::from_uuid_bytes([0; 16]),
            environment: EnvironmentId::from_uuid_bytes([0; 16]),
            name,
            endpoints: vec![endpoint],
            health: HealthCheck {
                path: String::new(),
                interval: Duration::from_secs(5),
                timeout: Duration::from_secs(3),
                retries: 3,
            },
        });
        Some(Self { route: Arc::new(route), service, vouch: surface.vouch })
    }
}

/// Whether a host begins as one of Switchyard's own does. Asked of every request, so that it is quick.
pub(crate) fn may_be_own(host: &str) -> bool {
    OWN_LABELS.iter().any(|label| {
        host.as_bytes().get(label.len()) == Some(&b'.') && host.as_bytes().starts_with(label.as_bytes())
    })
}

/// The environment whose member surface a host is.
pub(crate) fn environment_of(thread: &Thread, host: &str) -> Option<Arc<Environment>> {
    let HostMeaning::Below(environment) = thread.shared.world.host(host) else { return None };
    let label = host.strip_suffix(environment.record.load().base_domain.as_str())?.strip_suffix('.')?;
    OWN_LABELS.contains(&label).then_some(environment)
}

/// Admits a request to the member surface of an environment.
pub(crate) fn admit_member(
    thread: &Thread,
    job: &mut Job,
    environment: Arc<Environment>,
    forward: &Forward<'_>,
) -> Result<(), Refusal> {
    let Some(member) = &thread.shared.member else {
        let detail = "This host is kept for members of tenants, who are not served by this process.";
        return Err(Refusal::new(&base::codes::NOT_FOUND, detail));
    };
    let address = Subject::AddressOnRoute(u64::from(environment.number), Subject::address(job.client));
    job.limit = thread.shared.limits.take(&[Limit { subject: address, rate: ADDRESS_RATE }], job.now);
    super::admit::refuse_over_limit(job)?;
    job.websocket = forward.found.websocket;
    job.service = Some(member.service.clone());
    job.route = Some(member.route.clone());
    push_head(thread, job, &environment, forward, &member.vouch);
    job.environment = Some(environment);
    Ok(())
}

/// Writes the head into `job.up`: as for applications, but with the credential, and without what says whose it is.
fn push_head(
    thread: &Thread,
    job: &mut Job,
    environment: &Environment,
    forward: &Forward<'_>,
    vouch: &Secret<String>,
) {
    let mut up = begin_head(thread, job, forward);
    push_line(&mut up, "X-Request-Id", &job.request_text);
    let _ = write!(up, "Switchyard-Environment: {}\r\n", environment.id);
    let _ = write!(up, "Switchyard-Vouch: {} {}\r\n\r\n", vouch.expose(), job.client);
    job.up = up;
}
