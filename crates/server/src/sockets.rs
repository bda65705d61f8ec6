//! The sockets of this process: taken over from the one before it where they are still open, bound anew otherwise.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use config::ServerSettings;
use lifecycle::{BindError, HeldSockets, InheritedSockets};
use module::CliError;

use crate::error::failed;
use crate::roles::Roles;
use crate::service_port;

/// What sockets are for, in errors and on their way to the next process.
const CONTROL: &str = "control API";
const GATEWAY: &str = "gateway";

/// The sockets, bound before anything runs.
pub(crate) struct Sockets {
    pub(crate) control: TcpListener,
    /// None where no API is served.
    pub(crate) service: Option<TcpListener>,
    pub(crate) gateway: Vec<TcpListener>,
    /// Behind the gateway; None where there is no gateway.
    pub(crate) member: Option<TcpListener>,
}

impl Sockets {
    /// Binds what the roles need, or takes it over.
    ///
    /// # Errors
    /// An address cannot be had; says what holds it, and what to change.
    pub(crate) async fn bind(settings: &ServerSettings, roles: Roles) -> Result<Self, CliError> {
        let mut inherited = match roles.runtime {
            true => deployments::inherited_sockets(&settings.data_dir).await,
            // Nobody keeps them: the keeper is the runtime's.
            false => InheritedSockets::default(),
        };
        Self::bind_beside(settings, roles, &mut inherited)
            .map_err(|error| CliError::failure(error.to_string()))
    }

    fn bind_beside(
        settings: &ServerSettings,
        roles: Roles,
        inherited: &mut InheritedSockets,
    ) -> Result<Self, BindError> {
        let mut of_before = |purpose, address| inherited.take(purpose, address);
        let control = of_before(CONTROL, settings.control_addr).pop();
        let service = match roles.has_api() {
            true => of_before(service_port::PURPOSE, settings.service_addr).pop(),
            false => None,
        };
        let gateway = match roles.gateway {
            true => of_before(GATEWAY, settings.gateway_addr),
            false => Vec::new(),
        };
        // The settings name other addresses now, which may overlap these.
        inherited.close_rest();
        let control = match control {
            Some(socket) => socket,
            None => lifecycle::bind_tcp(settings.control_addr, CONTROL, "control_addr")?,
        };
        let service = match roles.has_api() {
            true => Some(service_port::bind(settings.service_addr, &settings.data_dir, service)?),
            false => None,
        };
        let behind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let member = roles.gateway.then(|| lifecycle::bind_tcp(behind, "member surface", "gateway_addr"));
        let gateway = match roles.gateway {
            true => bind_gateway(settings, gateway)?,
            false => Vec::new(),
        };
        Ok(Self { control, service, gateway, member: member.transpose()? })
    }

    /// Second holds on those that the next process may take over.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub(crate) fn held(&self) -> Result<HeldSockets, CliError> {
        let mut held = HeldSockets::default();
        let gateway = self.gateway.iter().map(|socket| (GATEWAY, socket));
        let service = self.service.iter().map(|socket| (service_port::PURPOSE, socket));
        for (purpose, socket) in gateway.chain(service).chain([(CONTROL, &self.control)]) {
            held.hold(purpose, socket).map_err(|e| failed("keep the sockets for the next process", &e))?;
        }
        Ok(held)
    }
}

/// A socket for each thread. Inherited ones are all used, however many threads were asked for: connections wait in each.
fn bind_gateway(
    settings: &ServerSettings,
    mut inherited: Vec<TcpListener>,
) -> Result<Vec<TcpListener>, BindError> {
    let threads = match usize::from(settings.gateway_threads) {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let Some(address) = inherited.first().and_then(|socket| socket.local_addr().ok()) else {
        return lifecycle::bind_reuseport(settings.gateway_addr, threads, GATEWAY, "gateway_addr");
    };
    let missing = threads.saturating_sub(inherited.len());
    inherited.extend(lifecycle::bind_beside(address, missing, GATEWAY, "gateway_addr")?);
    Ok(inherited)
}
