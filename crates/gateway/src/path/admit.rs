//! Judging one head: whose request it is, whether it may pass, where it goes, and what the application is told of it.
//! One synchronous pass over bytes that are there; nothing is waited for.

use super::assertion::Id;
use super::bearer::{Judged, Known, bearer_token, judge, names_no_tenant, says_own};
use super::credential::{Credential, credential};
use super::forward::{Forward, push_upstream_head};
use super::job::{Job, Quota, Refusal, id_text, kept_agent, kept_method, kept_path};
use super::member::{admit_member, environment_of, may_be_own};
use super::remember::Remembered;
use super::shared::Thread;
use super::watch::LetIn;
use crate::client::client_address;
use crate::limits::{Limit, Subject, retry_after_seconds};
use crate::model::{Auth, Route};
use crate::snapshot::{Environment, HostMeaning, KeyEntry, Tenant};
use crate::wire::{
    Examined, Framing, HEADERS_MAX, HeaderKind, Reject, RequestHead, Target, Version, authority, examine,
    parse_request, target,
};
use base::{TenantId, codes};
use ports::{MeterVerdict, ResolveBy, TenantStatus};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::sync::Arc;

/// What is said where a credential is needed and none of ours came.
const NEEDED: &str =
    "An API key or a token is needed: `Authorization: Bearer <key or token>`, or `X-API-Key`.";

/// Limits that one request can be under.
const LIMITS_MAX: usize = 4;

/// Where a request comes from.
pub(crate) struct Peer<'a> {
    /// The address of the socket's other end.
    pub(crate) address: IpAddr,
    /// The same as text.
    pub(crate) text: &'a str,
    /// What the connection said last.
    pub(crate) remembered: &'a mut Remembered,
}

/// What becomes of a head that was not refused.
pub(crate) enum Admission {
    /// It goes on.
    Go,
    /// It has to be judged again once this token's key was fetched for this environment.
    Wait(Arc<Environment>, Box<str>),
}

/// Judges a complete head. What it learns goes into `job`, also when it refuses, so that the record tells of it.
pub(crate) fn admit(
    thread: &Thread,
    peer: Peer<'_>,
    bytes: &[u8],
    job: &mut Job,
) -> Result<Admission, Refusal> {
    let Peer { address: peer, text: peer_text, remembered } = peer;
    let shared = &thread.shared;
    job.begin(thread);
    job.client = peer;
    let mut room = [MaybeUninit::uninit(); HEADERS_MAX];
    let head = parse_request(bytes, &mut room)?;
    job.method = kept_method(head.method);
    job.to_head = head.method == "HEAD";
    job.version = head.version;
    let found = examine(&head)?;
    let target = target(head.method, head.target)?;
    job.path = kept_path(target.path);
    job.agent =
        found.user_agent.map(|index| remembered.agent(&thread.common, kept_agent(head.headers[index].value)));
    let named = named_host(&head, &found, &target)?;
    let host = remembered.host(&thread.common, named.host());
    job.host = Some(host.clone());
    note_framing(&head, &found, job);
    if matches!(head.method, "CONNECT" | "TRACE") {
        return Err(Refusal::new(&codes::METHOD_NOT_ALLOWED, "This method is not served.").close());
    }
    let trusted = shared.is_trusted(peer);
    if trusted {
        let hops = head
            .headers
            .iter()
            .enumerate()
            .filter(|(index, _)| found.kinds[*index] == HeaderKind::ForwardedFor);
        let hops: Vec<&[u8]> = hops.map(|(_, header)| header.value).collect();
        job.client = client_address(peer, &shared.config.trusted_proxies, hops.into_iter());
    }
    let mut forward = Forward {
        head: &head,
        found: &found,
        target: &target,
        authority: &named,
        trusted,
        peer: peer_text,
        who: None,
        own_token: false,
        own: false,
    };
    if may_be_own(&host)
        && let Some(environment) = environment_of(thread, &host)
    {
        forward.own = true;
        return admit_member(thread, job, environment, &forward).map(|()| Admission::Go);
    }
    admit_to_application(thread, job, (&host, remembered), forward)
}

/// Judges a head that is for an application, and writes the one that it gets.
fn admit_to_application(
    thread: &Thread,
    job: &mut Job,
    (host, remembered): (&str, &mut Remembered),
    mut forward: Forward<'_>,
) -> Result<Admission, Refusal> {
    let Forward { head, found, target, trusted, .. } = forward;
    let shared = &thread.shared;
    let mut request = Request { thread, head, found, trusted, host, remembered, job };
    let from = (request.job.at, request.job.client);
    let mut credential = credential(head, found, &shared.world.keys, request.remembered, from);
    let (environment, by_host) = request.place(&credential)?;
    if let Credential::Unjudged(text) = credential {
        credential = match request.judge(&environment, text) {
            Some(judged) => judged,
            None => return Ok(Admission::Wait(environment, text.into())),
        };
    }
    let allowed = request.pass(&environment, by_host, &credential, target);
    // Moved and not counted once more, whatever the outcome: the count is all threads'.
    job.environment = Some(environment);
    let who = allowed?;
    count(thread, job)?;
    (forward.own_token, forward.who) = (has_own_token(head, found, &credential), who);
    push_upstream_head(thread, job, &forward, remembered);
    Ok(Admission::Go)
}

/// Whether `Authorization` has a token of this installation, which applications never see: they get an assertion.
fn has_own_token(head: &RequestHead<'_, '_>, found: &Examined, credential: &Credential<'_>) -> bool {
    match (credential, found.authorization) {
        (_, None) | (Credential::None, _) => false,
        (Credential::Token(known), _) => known.own,
        // A key was judged in its stead, or nobody is there to judge.
        (_, Some(index)) => bearer_token(head.headers[index].value).is_some_and(says_own),
    }
}

/// Counts the request where its route has a meter: last of all, so that what is refused is not counted.
fn count(thread: &Thread, job: &Job) -> Result<(), Refusal> {
    let Some(meter) = job.route.as_ref().and_then(|route| route.meter.as_ref()) else { return Ok(()) };
    let Some(meters) = &thread.shared.meters else { return Ok(()) };
    let (Some(environment), Some(tenant)) = (&job.environment, &job.tenant) else { return Ok(()) };
    match meters.count(environment.id, tenant.id, meter) {
        MeterVerdict::Counted => Ok(()),
        MeterVerdict::Exceeded { limit, used, resets_at } => {
            let detail = format!("The quota of {meter} is used up.");
            let mut refusal = Refusal::new(&codes::QUOTA_EXCEEDED, detail).status(429);
            // A wait of less than a second is one second: clients take whole ones.
            refusal.retry_after = resets_at.map(|at| at.since(job.at).as_secs().max(1));
            refusal.quota = Some(Box::new(Quota { meter: meter.clone(), limit, used, resets_at }));
            Err(refusal)
        }
    }
}

pub(crate) fn too_large(bytes_max: u64) -> Refusal {
    let detail = format!("The body is larger than the {bytes_max} bytes that this route takes.");
    Refusal::new(&codes::PAYLOAD_TOO_LARGE, detail).close()
}

/// The one authority of a request. An absolute target and `Host` must agree (RFC 9112, 3.2.2, lets the target win;
/// whoever reads on may think otherwise).
fn named_host(
    head: &RequestHead<'_, '_>,
    found: &Examined,
    target: &Target<'_>,
) -> Result<crate::wire::Authority, Refusal> {
    let of_header = match found.host {
        Some(index) => Some(authority(head.headers[index].value)?),
        None => None,
    };
    match (of_header, &target.authority) {
        (Some(header), Some(absolute)) => {
            let ports_differ =
                matches!((header.port, absolute.port), (Some(one), Some(other)) if one != other);
            if header.host() != absolute.host() || ports_differ {
                return Err(Reject::bad_request("Host and the request target name different hosts.").into());
            }
            Ok(header)
        }
        (Some(header), None) => Ok(header),
        (None, Some(absolute)) => Ok(absolute.clone()),
        (None, None) => Err(Reject::bad_request("Host is missing.").into()),
    }
}

fn note_framing(head: &RequestHead<'_, '_>, found: &Examined, job: &mut Job) {
    job.framing = found.framing;
    job.expects_continue = found.expects_continue;
    // RFC 9110, 9.2.2.
    job.idempotent = matches!(head.method, "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS");
    job.keep_alive = match head.version {
        Version::Http11 => !found.connection.close,
        Version::Http10 => found.connection.keep_alive && !found.connection.close,
    };
}

/// Whose credential was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    pub(crate) id: Id,
    pub(crate) text: Arc<str>,
    /// Empty for none.
    pub(crate) role: Arc<str>,
}

struct Request<'a> {
    thread: &'a Thread,
    head: &'a RequestHead<'a, 'a>,
    found: &'a Examined,
    trusted: bool,
    host: &'a str,
    remembered: &'a mut Remembered,
    job: &'a mut Job,
}

impl Request<'_> {
    /// Finds the environment, and the tenant as far as the host says.
    fn place(
        &mut self,
        credential: &Credential<'_>,
    ) -> Result<(Arc<Environment>, Option<Arc<Tenant>>), Refusal> {
        let world = &self.thread.shared.world;
        Ok(match world.host(self.host) {
            HostMeaning::Domain(environment, domain) => {
                let allowed = resolves(&environment, ResolveBy::Domain);
                let tenant = environment.tenants.get(domain.tenant).filter(|_| allowed);
                let tenant = tenant.ok_or_else(|| self.unknown(&environment))?;
                (environment, Some(tenant))
            }
            HostMeaning::Below(environment) => {
                let tenant = self.by_subdomain(&environment)?;
                (environment, tenant)
            }
            HostMeaning::Base(environment) => (environment, None),
            HostMeaning::Nothing(only) => {
                let by_key = credential.key().and_then(|key| world.by_number(key.environment));
                let environment = by_key.or(only).ok_or_else(|| self.unknown_anywhere())?;
                (environment, None)
            }
        })
    }

    /// Judges a token; `None` when its key is being fetched.
    fn judge<'a>(&mut self, environment: &Environment, text: &str) -> Option<Credential<'a>> {
        let Some(check) = &self.thread.shared.tokens else { return Some(Credential::None) };
        let at = (&mut *self.remembered, self.job.at);
        judge(self.thread, &**check, environment, text, at).map(Credential::Token)
    }

    /// Everything that is asked once the environment is known. Whose credential was accepted.
    fn pass(
        &mut self,
        environment: &Environment,
        by_host: Option<Arc<Tenant>>,
        credential: &Credential<'_>,
        target: &Target<'_>,
    ) -> Result<Option<Who>, Refusal> {
        self.resolve(environment, by_host, credential)?;
        let route = self.route(environment, target)?;
        let who = self.authenticate(&route, environment, credential)?;
        let key = credential.key().filter(|_| who.is_some()).map(KeyEntry::id);
        self.limits(&route, environment, key)?;
        if let Framing::Length(length) = self.found.framing
            && length > route.body_bytes_max
        {
            return Err(too_large(route.body_bytes_max));
        }
        self.job.websocket = self.found.websocket && route.websocket;
        self.job.service = self.thread.shared.services.get(environment.id, &route.service);
        self.job.route = Some(route);
        if self.job.service.is_none() {
            let detail = "The route leads to a service that does not run.";
            return Err(Refusal::new(&codes::UPSTREAM_UNAVAILABLE, detail).status(503).retry_after(1));
        }
        Ok(who)
    }

    /// Finds the tenant, and refuses what is not served or contradicts itself.
    fn resolve(
        &mut self,
        environment: &Environment,
        by_host: Option<Arc<Tenant>>,
        credential: &Credential<'_>,
    ) -> Result<(), Refusal> {
        let by_key = credential.key().filter(|key| key.environment == environment.number);
        let by_key = by_key.filter(|_| resolves(environment, ResolveBy::ApiKey)).map(|key| key.tenant());
        let by_token = credential.token().and_then(|known| known.bearer()?.tenant);
        let by_token = by_token.filter(|_| resolves(environment, ResolveBy::Jwt));
        let by_header = self.by_header(environment)?;
        let tenant = agree(by_host, by_key.or(by_token), by_header, environment)?;
        self.job.tenant = tenant;
        match self.job.tenant.as_ref().map(|tenant| tenant.status) {
            Some(TenantStatus::Suspended) => {
                Err(Refusal::new(&codes::TENANT_SUSPENDED, "This tenant is suspended."))
            }
            Some(TenantStatus::Cancelled) => {
                Err(Refusal::new(&codes::TENANT_SUSPENDED, "This tenant has been cancelled."))
            }
            Some(TenantStatus::Active) | None => Ok(()),
        }
    }

    fn by_subdomain(&mut self, environment: &Arc<Environment>) -> Result<Option<Arc<Tenant>>, Refusal> {
        let record = environment.record.load();
        let label =
            self.host.strip_suffix(record.base_domain.as_str()).and_then(|rest| rest.strip_suffix('.'));
        let label = label.unwrap_or_default();
        if base::RESERVED_SLUGS.contains(&label) {
            return Ok(None);
        }
        if !resolves(environment, ResolveBy::Subdomain) {
            return Err(self.unknown(environment));
        }
        environment.tenants.by_slug(label).map(Some).ok_or_else(|| self.unknown(environment))
    }

    /// What a trusted proxy says. Nobody else's header is looked at.
    fn by_header(&mut self, environment: &Environment) -> Result<Option<Arc<Tenant>>, Refusal> {
        if !self.trusted || !resolves(environment, ResolveBy::Header) {
            return Ok(None);
        }
        let mut named: Option<Arc<Tenant>> = None;
        for (index, header) in self.head.headers.iter().enumerate() {
            let text = std::str::from_utf8(header.value).unwrap_or_default();
            let tenant = match self.found.kinds[index] {
                HeaderKind::TenantId => TenantId::parse(text).ok().and_then(|id| environment.tenants.get(id)),
                HeaderKind::TenantSlug => environment.tenants.by_slug(text),
                _ => continue,
            };
            let tenant = tenant.ok_or_else(|| self.unknown(environment))?;
            if named.as_ref().is_some_and(|named| named.id != tenant.id) {
                return Err(mismatch());
            }
            named = Some(tenant);
        }
        Ok(named)
    }

    /// A refusal of a tenant that does not exist. Counted by address, so that nobody finds out who does by trying.
    fn unknown(&self, environment: &Environment) -> Refusal {
        let address = Subject::Address(environment.number, Subject::address(self.job.client));
        let limit = Limit { subject: address, rate: self.thread.shared.config.address_rate };
        match self.thread.shared.limits.take(&[limit], self.job.now) {
            Some(outcome) if !outcome.verdict.allowed => {
                let wait = retry_after_seconds(outcome.verdict.resets_in);
                Refusal::new(&codes::RATE_LIMITED, "Too many requests came from this address.")
                    .retry_after(wait)
            }
            _ => self.unknown_anywhere(),
        }
    }

    fn unknown_anywhere(&self) -> Refusal {
        Refusal::new(&codes::TENANT_UNKNOWN, "No tenant answers to this host.")
    }

    fn route(&self, environment: &Environment, target: &Target<'_>) -> Result<Arc<Route>, Refusal> {
        const AMBIGUOUS: Reject =
            Reject::bad_request("The path can be read in two ways that lead to different routes.");
        let routes = environment.routes.load();
        let found = routes.find(self.host, &target.plain, target.path).map_err(|_| AMBIGUOUS)?;
        if let Some(route) = found {
            return Ok(route.clone());
        }
        // A domain of the tenant's own is served as its subdomain is.
        if let Some(tenant) = &self.job.tenant {
            let canonical = environment.canonical_host(tenant);
            let found = routes.find(&canonical, &target.plain, target.path).map_err(|_| AMBIGUOUS)?;
            if let Some(route) = found {
                return Ok(route.clone());
            }
        }
        Err(Refusal::new(&codes::ROUTE_UNKNOWN, "No route of the project matches this host and path."))
    }

    fn authenticate(
        &mut self,
        route: &Route,
        environment: &Environment,
        credential: &Credential<'_>,
    ) -> Result<Option<Who>, Refusal> {
        let refused = |detail: &'static str| Err(Refusal::new(&codes::UNAUTHENTICATED, detail));
        let entry = match (credential, route.auth) {
            (Credential::Key(entry), _) => entry,
            (Credential::Token(known), _) => return self.authenticate_bearer(route, known),
            (Credential::None | Credential::Unjudged(_), Auth::Required) => return refused(NEEDED),
            (Credential::None | Credential::Unjudged(_), Auth::None | Auth::Optional)
            | (Credential::Bad(_) | Credential::Elsewhere, Auth::None) => return Ok(None),
            (Credential::Bad(why), Auth::Optional | Auth::Required) => return refused(why),
            (Credential::Elsewhere, Auth::Optional | Auth::Required) => {
                let detail = "The key may not be used from this address.";
                return Err(Refusal::new(&codes::FORBIDDEN, detail));
            }
        };
        if entry.environment != environment.number {
            if route.auth == Auth::None {
                return Ok(None);
            }
            return refused("The key belongs to another environment.");
        }
        match &self.job.tenant {
            Some(tenant) if tenant.id != entry.tenant() => return Err(mismatch()),
            Some(_) => {}
            // The key's own tenant, where keys name none (`resolve` without `api-key`): served as nobody's.
            None if route.auth == Auth::None => return Ok(None),
            None => return Err(mismatch()),
        }
        let shared = &self.thread.shared;
        let key = self.remembered.key(&self.thread.common, entry, || {
            let text = id_text(&entry.id());
            let text = std::str::from_utf8(&text).unwrap_or_default().into();
            let role = shared.world.keys.grant(entry).map_or_else(|| "".into(), |grant| grant.role);
            Who { id: Id::Key(entry.id()), text, role }
        });
        self.job.let_in = LetIn::Key;
        self.job.principal = Some(key.text.clone());
        if let Some(key_use) = &shared.key_use
            && self.remembered.is_use_to_note(entry.id(), self.job.at)
        {
            key_use.used(entry.tenant(), entry.id(), self.job.at);
        }
        Ok(Some(key))
    }

    /// The same for who bears a token. What it says of its tenant has to agree with the host: the host alone grants
    /// nothing, and no header lends a token a tenant that it does not name.
    fn authenticate_bearer(&mut self, route: &Route, known: &Known) -> Result<Option<Who>, Refusal> {
        let refused = |detail: &'static str| Err(Refusal::new(&codes::UNAUTHENTICATED, detail));
        let bearer = match (&known.judged, route.auth) {
            (Judged::Valid(bearer), _) => bearer,
            (Judged::Foreign, Auth::Required) => return refused(NEEDED),
            (Judged::Foreign, Auth::None | Auth::Optional) | (Judged::Refused(_), Auth::None) => {
                return Ok(None);
            }
            (Judged::Refused(why), Auth::Optional | Auth::Required) => return refused(why),
        };
        match (&self.job.tenant, bearer.tenant) {
            (Some(tenant), Some(own)) if tenant.id == own => {}
            (Some(_), Some(_)) => return Err(mismatch()),
            // Its own tenant, where tokens name none (`resolve` without `jwt`), or none: served as nobody's.
            (None, _) | (Some(_), None) if route.auth == Auth::None => return Ok(None),
            (None, Some(_)) => return Err(mismatch()),
            (None | Some(_), None) => return Err(names_no_tenant()),
        }
        self.job.let_in = LetIn::Token;
        self.job.principal = Some(bearer.principal.clone());
        let who =
            Who { id: Id::Bearer(bearer.number), text: bearer.subject.clone(), role: bearer.role.clone() };
        Ok(Some(who))
    }

    /// Takes all limits that apply, in their stated order.
    fn limits(
        &mut self,
        route: &Route,
        environment: &Environment,
        key: Option<base::KeyId>,
    ) -> Result<(), Refusal> {
        let tenant = self.job.tenant.as_ref();
        let address = Subject::address(self.job.client);
        let number = route.number();
        let mut under: [Option<Limit>; LIMITS_MAX] = [None; LIMITS_MAX];
        under[0] = match tenant {
            _ if !route.plan_limit => None,
            Some(tenant) => {
                let mut limit = None;
                environment.plan_of(tenant, |_, rate| {
                    limit = Some(Limit { subject: Subject::Tenant(environment.number, tenant.id), rate });
                });
                limit
            }
            None => {
                let subject = Subject::Address(environment.number, address);
                Some(Limit { subject, rate: self.thread.shared.config.address_rate })
            }
        };
        let of = |subject, rate| Limit { subject, rate };
        under[1] = route.limits.key.zip(key).map(|(rate, key)| of(Subject::Key(number, key), rate));
        let by_tenant = route.limits.tenant.zip(tenant);
        under[2] = by_tenant.map(|(rate, tenant)| of(Subject::TenantOnRoute(number, tenant.id), rate));
        under[3] = route.limits.address.map(|rate| of(Subject::AddressOnRoute(number, address), rate));
        let mut given =
            [Limit { subject: Subject::Others, rate: self.thread.shared.config.address_rate }; LIMITS_MAX];
        let mut count = 0;
        for limit in under.into_iter().flatten() {
            given[count] = limit;
            count += 1;
        }
        self.job.limit = self.thread.shared.limits.take(&given[..count], self.job.now);
        refuse_over_limit(self.job)
    }
}

/// Refuses what the limits that were just taken do not let pass.
pub(super) fn refuse_over_limit(job: &Job) -> Result<(), Refusal> {
    match &job.limit {
        Some(outcome) if !outcome.verdict.allowed => {
            let limit = &outcome.limit;
            let detail = format!("The limit of this {} is {}.", limit.subject.policy(), limit.rate);
            let wait = retry_after_seconds(outcome.verdict.resets_in);
            Err(Refusal::new(&codes::RATE_LIMITED, detail).retry_after(wait))
        }
        _ => Ok(()),
    }
}

fn resolves(environment: &Environment, by: ResolveBy) -> bool {
    environment.resolves(by)
}

fn mismatch() -> Refusal {
    Refusal::new(&codes::TENANT_MISMATCH, "Host and credential belong to different tenants.")
}

/// The one tenant that all sources name. They are asked in the declared order, which decides nothing but which of two
/// that disagree is told of; and those that disagree are refused.
fn agree(
    by_host: Option<Arc<Tenant>>,
    by_key: Option<TenantId>,
    by_header: Option<Arc<Tenant>>,
    environment: &Environment,
) -> Result<Option<Arc<Tenant>>, Refusal> {
    let named = match (by_host, by_header) {
        (Some(one), Some(other)) if one.id != other.id => return Err(mismatch()),
        (one, other) => one.or(other),
    };
    match (named, by_key) {
        (Some(tenant), Some(key)) if tenant.id != key => Err(mismatch()),
        (Some(tenant), _) => Ok(Some(tenant)),
        (None, Some(key)) => Ok(environment.tenants.get(key)),
        (None, None) => Ok(None),
    }
}
