//! Where the store is, and whether it can be reached. Doctor opens no store: another process may own it.

use super::finding::Finding;
use config::ServerSettings;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long a PostgreSQL may take to accept a connection.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);

/// The port of a PostgreSQL whose URL names none.
const POSTGRES_PORT: u16 = 5432;

pub(super) fn look(settings: &ServerSettings) -> Finding {
    let Some(url) = &settings.database_url else {
        return Finding::fine("store", "embedded, in the data folder");
    };
    // Only host and port leave this function: the URL holds a password.
    let Some((host, port)) = host_and_port(url.expose()) else {
        return Finding::note("store", "a PostgreSQL that is not reached by TCP; not checked");
    };
    let place = format!("{host}:{port}");
    let advice = "see that SWITCHYARD_DATABASE_URL is right and that the server runs and accepts connections";
    let addresses = match (host.as_str(), port).to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(error) => {
            return Finding::blocker("store", format!("{place} cannot be found: {error}")).next(advice);
        }
    };
    let mut error = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIME_MAX) {
            Ok(_) => return Finding::fine("store", format!("PostgreSQL at {place}")),
            Err(failed) => error = Some(failed),
        }
    }
    let why = error.map_or("it has no address".to_owned(), |error| error.to_string());
    Finding::blocker("store", format!("PostgreSQL at {place} cannot be reached: {why}")).next(advice)
}

/// Host and port of `postgres://user:password@host:port/database?…`; `None` where it names a socket or several hosts.
fn host_and_port(url: &str) -> Option<(String, u16)> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    if place.is_empty() || place.contains([',', '%']) {
        return None;
    }
    let (host, port) = match place.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((v6, port)) => (v6, port.strip_prefix(':')),
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(POSTGRES_PORT), |port| port.parse().ok())?;
    Some((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_give_host_and_port_without_the_password() {
        let read = |url: &str| host_and_port(url).map(|(host, port)| format!("{host} {port}"));
        assert_eq!(read("postgres://u:p@db.example:5433/x?a=b").as_deref(), Some("db.example 5433"));
        assert_eq!(read("postgres://u:p%40@db/x").as_deref(), Some("db 5432"));
        assert_eq!(read("postgres://[::1]:1/x").as_deref(), Some("::1 1"));
        assert_eq!(read("postgres://u:p@db?sslmode=require").as_deref(), Some("db 5432"));
        assert_eq!(read("postgres:///x?host=/run/pg"), None);
        assert_eq!(read("postgres://a,b/x"), None);
    }
}
