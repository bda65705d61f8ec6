//! What the server may set about the data path.

use crate::path::MemberSurface;
use base::{Cidr, Rate};
use std::time::Duration;

/// Settings of the data path. The defaults are what is meant.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who may say for whom they ask (`X-Forwarded-For`, `X-Forwarded-Proto`, tenant and trace headers). Default none.
    pub trusted_proxies: Vec<Cidr>,
    /// Connections in all. Default 20,000: two descriptors each stay below the usual hard limit.
    pub connections_max: usize,
    /// Connections of one address (of one /64 with IPv6); trusted proxies are not counted. Default 2,048.
    pub connections_of_address_max: u32,
    /// Requests of an address where no tenant is known. Default 100 a minute (SPEC 5).
    pub address_rate: Rate,
    /// From the first byte of a head to its last. Default 10 s.
    pub head_timeout: Duration,
    /// Between two requests. Default 75 s.
    pub keep_alive_timeout: Duration,
    /// Between two bytes of a request's body; also the grace before [`Config::body_rate_min`] counts. Default 30 s.
    pub body_timeout: Duration,
    /// Bytes a second that a request's body must bring on average. Default 128.
    pub body_rate_min: u64,
    /// For a client to take some of what is ready for it. Default 30 s.
    pub send_timeout: Duration,
    /// Without a byte either way on a WebSocket. Default 10 min; applications send pings more often.
    pub socket_timeout: Duration,
    /// The server behind `api.` and `console.` of each base domain. Default none: nothing answers there.
    pub member: Option<MemberSurface>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            connections_max: 20_000,
            connections_of_address_max: 2_048,
            address_rate: Rate::per_minute(100),
            head_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            body_rate_min: 128,
            send_timeout: Duration::from_secs(30),
            socket_timeout: Duration::from_mins(10),
            member: None,
        }
    }
}
