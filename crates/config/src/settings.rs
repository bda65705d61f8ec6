//! The settings of the server.

use base::{Cidr, HumanDuration, Secret, Slug};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The ports of the listeners when nothing is said, all on loopback; see [`ServerSettings::gateway_addr`] for `public`.
const GATEWAY_PORT: u16 = 8080;
const CONTROL_PORT: u16 = 8081;
const SERVICE_PORT: u16 = 8082;
const PUBLIC_PORT: u16 = 80;

/// How long stopping may take when nothing is said.
const GRACE: Duration = Duration::from_secs(30);
/// Jobs of a built-in queue at once, where nothing is said (SPEC 7).
const QUEUE_CONCURRENCY: u32 = 10;

/// Where the data is, beside the project file, when nothing is said.
const DATA_DIR: &str = ".switchyard";

/// Which log records are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// A person must act.
    Error,
    /// A person should look.
    Warn,
    /// What happens.
    #[default]
    Info,
    /// What happens in detail.
    Debug,
    /// Everything.
    Trace,
}

/// How log records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, else JSON.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// What `server.toml`, `[server]`, environment and flags may say; every key may be left out.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Layer {
    /// The folder of everything that is kept; `.switchyard` beside the project file. Not in server.toml, which is in it.
    pub(crate) data_dir: Option<PathBuf>,
    /// The folder of the project file; the current one.
    pub(crate) project_dir: Option<PathBuf>,
    /// Where the gateway listens; 127.0.0.1:8080, or 0.0.0.0:80 with `public`.
    #[schemars(with = "String", extend("format" = "socket-address"))]
    pub(crate) gateway_addr: Option<SocketAddr>,
    /// Where the control API listens, on loopback; 127.0.0.1:8081.
    #[schemars(with = "String", extend("format" = "socket-address"))]
    pub(crate) control_addr: Option<SocketAddr>,
    /// Where the service API listens; 127.0.0.1:8082.
    #[schemars(with = "String", extend("format" = "socket-address"))]
    pub(crate) service_addr: Option<SocketAddr>,
    /// A PostgreSQL to keep the store in (`postgres://user:password@host/database`); without it the store is embedded.
    #[schemars(extend("writeOnly" = true))]
    pub(crate) database_url: Option<String>,
    /// The master key, 32 bytes in base64, for installations that keep it outside the data folder. From the environment
    /// alone.
    #[schemars(extend("writeOnly" = true))]
    pub(crate) master_key: Option<String>,
    /// Which log records are kept; info.
    pub(crate) log_level: Option<LogLevel>,
    /// How log records are written; auto, which is pretty on a terminal and json elsewhere.
    pub(crate) log_format: Option<LogFormat>,
    /// How long requests, jobs and services may take to end when Switchyard stops; 30s, at most 10m.
    pub(crate) grace: Option<HumanDuration>,
    /// Whether the gateway listens on all addresses; false.
    pub(crate) public: Option<bool>,
    /// Threads of the gateway; 0, which is one for each processor.
    #[schemars(range(max = 256))]
    pub(crate) gateway_threads: Option<u16>,
    /// Whether `serve` runs the workers alone, as `--roles worker` does; false.
    pub(crate) worker_mode: Option<bool>,
    /// The queues that are worked off and pushed by this process; none, which is all of them.
    #[schemars(length(max = 256))]
    pub(crate) worker_queues: Option<Vec<Slug>>,
    /// Jobs of each built-in queue that this process works on at once; 10.
    #[schemars(range(min = 1, max = 1_000))]
    pub(crate) queue_concurrency: Option<u32>,
    /// Proxies in front of the gateway whose `X-Forwarded-For` is believed, as ranges of addresses; none.
    #[schemars(length(max = 64))]
    pub(crate) trusted_proxies: Option<Vec<Cidr>>,
    /// Private ranges of addresses that outbound calls may reach all the same; none.
    #[schemars(length(max = 64))]
    pub(crate) outbound_allow: Option<Vec<Cidr>>,
    /// How browsers reach the gateway, such as https://example.com:8443, where that is not http and the gateway's own port:
    /// scheme and port of links in mails and sign-in. The host of a link is always `api.` or `console.` and the base domain of
    /// its environment.
    #[schemars(length(max = 256))]
    pub(crate) public_url: Option<String>,
}

/// The settings in force.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The folder of everything that is kept.
    pub data_dir: PathBuf,
    /// The folder of the project file.
    pub project_dir: PathBuf,
    /// Where the gateway listens: 127.0.0.1:8080, with `public` 0.0.0.0:80. Port 0 takes a free one.
    pub gateway_addr: SocketAddr,
    /// Where the control API listens: 127.0.0.1:8081; loopback only, as long as it has no TLS.
    pub control_addr: SocketAddr,
    /// Where the service API listens: 127.0.0.1:8082.
    pub service_addr: SocketAddr,
    /// A PostgreSQL to keep the store in; `None` embeds it.
    pub database_url: Option<Secret<String>>,
    /// The master key in base64; `None` keeps it in the data folder.
    pub master_key: Option<Secret<String>>,
    /// Which log records are kept.
    pub log_level: LogLevel,
    /// How log records are written.
    pub log_format: LogFormat,
    /// How long stopping may take; 30 s.
    pub grace: Duration,
    /// Whether the gateway listens on all addresses.
    pub public: bool,
    /// Threads of the gateway; 0 is one for each processor.
    pub gateway_threads: u16,
    /// Whether `serve` runs the workers alone.
    pub worker_mode: bool,
    /// The queues that this process works off and pushes; empty means all.
    pub worker_queues: Vec<Slug>,
    /// Jobs of each built-in queue at once, 1 to 1,000; 10.
    pub queue_concurrency: u32,
    /// Proxies in front of the gateway that are believed.
    pub trusted_proxies: Vec<Cidr>,
    /// Private ranges that outbound calls may reach.
    pub outbound_allow: Vec<Cidr>,
    /// How browsers reach the gateway; `None` where they do by http and its own port. See [`PublicUrl`].
    pub public_url: Option<String>,
}

/// Scheme and port of links to the gateway, as a URL such as `https://example.com:8443` says them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicUrl {
    /// Whether it is https.
    pub https: bool,
    /// The port, where it is not the scheme's own.
    pub port: Option<u16>,
}

impl PublicUrl {
    /// Reads scheme, host and port; `None` when there is more or less, as a path or a user would be.
    pub fn parse(text: &str) -> Option<Self> {
        let https = text.starts_with("https://");
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse::<u16>().ok().filter(|port| *port != 0)?)),
            None => (rest, None),
        };
        base::HostName::parse(host).ok()?;
        Some(Self { https, port: port.filter(|port| *port != if https { 443 } else { 80 }) })
    }
}

impl ServerSettings {
    /// The settings where nothing is said at all, for a project in this folder.
    pub fn defaults(folder: &Path) -> Self {
        Self::from_layer(Layer::default(), folder)
    }

    /// Fills in what was not said; `folder` is that of the project where nothing is said about it.
    pub(crate) fn from_layer(layer: Layer, folder: &Path) -> Self {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let public = layer.public.unwrap_or(false);
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let gateway = if public {
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, PUBLIC_PORT))
        } else {
            loopback(GATEWAY_PORT)
        };
        let project_dir = layer.project_dir.unwrap_or_else(|| folder.to_owned());
        Self {
            data_dir: layer.data_dir.unwrap_or_else(|| project_dir.join(DATA_DIR)),
            project_dir,
            gateway_addr: layer.gateway_addr.unwrap_or(gateway),
            control_addr: layer.control_addr.unwrap_or_else(|| loopback(CONTROL_PORT)),
            service_addr: layer.service_addr.unwrap_or_else(|| loopback(SERVICE_PORT)),
            database_url: layer.database_url.map(Secret::new),
            master_key: layer.master_key.map(Secret::new),
            log_level: layer.log_level.unwrap_or_default(),
            log_format: layer.log_format.unwrap_or_default(),
            grace: layer.grace.map_or(GRACE, |grace| grace.0),
            public,
            gateway_threads: layer.gateway_threads.unwrap_or(0),
            worker_mode: layer.worker_mode.unwrap_or(false),
            worker_queues: layer.worker_queues.unwrap_or_default(),
            queue_concurrency: layer.queue_concurrency.unwrap_or(QUEUE_CONCURRENCY),
            trusted_proxies: layer.trusted_proxies.unwrap_or_default(),
            outbound_allow: layer.outbound_allow.unwrap_or_default(),
            public_url: layer.public_url,
        }
    }

    /// The value of a key as text, as [`Setting`](crate::Setting) shows it.
    pub(crate) fn shown(&self, key: &str) -> String {
        let hidden = |secret: &Option<Secret<String>>| secret.as_ref().map(|_| "(hidden)".to_owned());
        let lower = |value: &dyn std::fmt::Debug| format!("{value:?}").to_lowercase();
        match key {
            "data_dir" => self.data_dir.display().to_string(),
            "project_dir" => self.project_dir.display().to_string(),
            "gateway_addr" => self.gateway_addr.to_string(),
            "control_addr" => self.control_addr.to_string(),
            "service_addr" => self.service_addr.to_string(),
            "database_url" => hidden(&self.database_url).unwrap_or_default(),
            "master_key" => hidden(&self.master_key).unwrap_or_default(),
            "log_level" => lower(&self.log_level),
            "log_format" => lower(&self.log_format),
            "grace" => HumanDuration(self.grace).to_string(),
            "public" => self.public.to_string(),
            "gateway_threads" => self.gateway_threads.to_string(),
            "worker_mode" => self.worker_mode.to_string(),
            "worker_queues" => joined(&self.worker_queues),
            "queue_concurrency" => self.queue_concurrency.to_string(),
            "trusted_proxies" => joined(&self.trusted_proxies),
            "outbound_allow" => joined(&self.outbound_allow),
            "public_url" => self.public_url.clone().unwrap_or_default(),
            _ => String::new(),
        }
    }
}

fn joined<T: ToString>(entries: &[T]) -> String {
    entries.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_scheme_host_and_port_and_nothing_else() {
        let of = |https, port| Some(PublicUrl { https, port });
        for (text, expected) in [
            ("https://example.com", of(true, None)),
            ("https://example.com/", of(true, None)),
            ("https://example.com:443", of(true, None)),
            ("http://localhost:8080", of(false, Some(8080))),
            ("http://localhost:443", of(false, Some(443))),
        ] {
            assert_eq!(PublicUrl::parse(text), expected, "{text}");
        }
        for text in
            ["example.com", "ftp://a", "https://", "https://a/b", "https://u@a", "https://a:0", "https://a?x"]
        {
            assert_eq!(PublicUrl::parse(text), None, "{text}");
        }
    }
}
