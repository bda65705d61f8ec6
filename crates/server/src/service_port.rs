//! The port of the service API, where the settings leave it open (port 0).
//!
//! Replicas outlive a restart of Switchyard and go on calling the address that they were given at their start. So a free
//! port that was once taken is written into the data folder and taken again. When somebody else has it by then, another
//! one is taken, and a warning tells that services have to be restarted.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;

use lifecycle::BindError;

/// The file's name in the data folder; it holds the port in decimal.
const FILE: &str = "service.port";

/// What the socket is for, in errors and on its way to the next process.
pub(crate) const PURPOSE: &str = "service API";
/// The key of the settings.
const KEY: &str = "service_addr";

/// Binds the service API's socket, at the port of before where any port will do; or goes on with that of before.
pub(crate) fn bind(
    address: SocketAddr,
    data_dir: &Path,
    of_before: Option<TcpListener>,
) -> Result<TcpListener, BindError> {
    if let Some(socket) = of_before {
        return Ok(keep(address, socket, data_dir));
    }
    let kept = if address.port() == 0 { read(data_dir) } else { None };
    let Some(port) = kept else {
        let socket = lifecycle::bind_tcp(address, PURPOSE, KEY)?;
        return Ok(keep(address, socket, data_dir));
    };
    match lifecycle::bind_tcp(SocketAddr::new(address.ip(), port), PURPOSE, KEY) {
        Ok(socket) => Ok(socket),
        Err(error) => {
            tracing::warn!(
                %error,
                "the service API gets another port: services that were not restarted do not find it; \
                 run `switchyard services restart` for each of them, or set service_addr"
            );
            let socket = lifecycle::bind_tcp(address, PURPOSE, KEY)?;
            Ok(keep(address, socket, data_dir))
        }
    }
}

/// Where processes of this machine reach a listener: a loopback address where it listens on all.
pub(crate) fn url(listener: SocketAddr) -> String {
    let ip = match listener.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    format!("http://{}", SocketAddr::new(ip, listener.port()))
}

fn read(data_dir: &Path) -> Option<u16> {
    let text = std::fs::read_to_string(data_dir.join(FILE)).ok()?;
    text.trim().parse().ok().filter(|port| *port != 0)
}

fn keep(asked: SocketAddr, socket: TcpListener, data_dir: &Path) -> TcpListener {
    if asked.port() == 0 {
        let written = socket.local_addr().and_then(|taken| write(data_dir, taken.port()));
        if let Err(error) = written {
            tracing::warn!(%error, "the port of the service API cannot be kept for the next start");
        }
    }
    socket
}

/// Whole under its name, or as it was. Not synced: after a power failure there are no replicas that know it.
fn write(data_dir: &Path, port: u16) -> io::Result<()> {
    let draft = data_dir.join(format!("{FILE}.new"));
    std::fs::write(&draft, format!("{port}\n"))?;
    std::fs::rename(draft, data_dir.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(address: SocketAddr, data_dir: &Path) -> Result<TcpListener, BindError> {
        super::bind(address, data_dir, None)
    }

    fn any() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    fn port(socket: &TcpListener) -> u16 {
        socket.local_addr().unwrap().port()
    }

    #[test]
    fn a_free_port_is_the_same_after_a_restart_unless_somebody_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = bind(any(), folder.path()).unwrap();
        let before = port(&first);
        drop(first);
        let again = bind(any(), folder.path()).unwrap();
        assert_eq!(port(&again), before);
        // It is taken now: the next one gets another, and keeps that.
        let other = bind(any(), folder.path()).unwrap();
        assert_ne!(port(&other), before);
        assert_eq!(read(folder.path()), Some(port(&other)));
    }

    #[test]
    fn a_chosen_port_is_not_kept_and_what_is_no_port_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let free = port(&bind(any(), folder.path()).unwrap());
        std::fs::remove_file(folder.path().join(FILE)).unwrap();
        bind(SocketAddr::from(([127, 0, 0, 1], free)), folder.path()).unwrap();
        assert!(!folder.path().join(FILE).exists());
        for text in ["0", "x", "", "70000"] {
            std::fs::write(folder.path().join(FILE), text).unwrap();
            assert_eq!(read(folder.path()), None, "{text}");
        }
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_by_loopback() {
        assert_eq!(url("0.0.0.0:8082".parse().unwrap()), "http://127.0.0.1:8082");
        assert_eq!(url("[::]:8082".parse().unwrap()), "http://[::1]:8082");
        assert_eq!(url("10.0.0.7:8082".parse().unwrap()), "http://10.0.0.7:8082");
    }
}
