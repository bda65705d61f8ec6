//! The addresses of the listeners: free, ours, or taken.

use super::finding::Finding;
use crate::place::Place;
use config::ServerSettings;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long the Switchyard that says it listens here may take to accept.
const CONNECT_TIME_MAX: Duration = Duration::from_millis(500);

pub(super) fn look(place: &Place, settings: &ServerSettings) -> Vec<Finding> {
    let listeners = [
        ("gateway port", "gateway", "gateway_addr", settings.gateway_addr),
        ("control port", "control", "control_addr", settings.control_addr),
        ("service port", "service", "service_addr", settings.service_addr),
    ];
    let look = |(check, name, key, address)| one(place, check, name, key, address);
    listeners.into_iter().map(look).collect()
}

fn one(place: &Place, check: &'static str, name: &str, key: &str, address: SocketAddr) -> Finding {
    if address.port() == 0 {
        return Finding::fine(check, "any that is free");
    }
    let error = match lifecycle::bind_tcp(address, name, key) {
        Ok(_) => return Finding::fine(check, format!("{address} is free")),
        Err(error) => error.to_string(),
    };
    let own = place.listener(name).ok().and_then(|text| text.parse::<SocketAddr>().ok());
    let runs = own == Some(address) && TcpStream::connect_timeout(&address, CONNECT_TIME_MAX).is_ok();
    if runs {
        return Finding::fine(check, format!("{address}, where the Switchyard of this folder listens"));
    }
    let (found, next) = error.split_once("; ").unwrap_or((&error, "choose another address"));
    Finding::blocker(check, found).next(next)
}
