//! Binding sockets, with errors that say what to do.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel holds until they are accepted; it takes at most `net.core.somaxconn` (4096).
pub const LISTEN_BACKLOG: i32 = 1024;

/// Processes looked at when searching for who holds a port: enough for one machine, bounded for a crowded one.
const PROCESSES_MAX: usize = 8_192;

/// Why a socket could not be bound. Its text names the address, what holds it if that can be known, and what to
/// change.
#[derive(Debug)]
pub struct BindError {
    /// What was asked for.
    pub address: SocketAddr,
    /// What for, like `gateway`.
    pub purpose: String,
    /// The configuration key that decides the address, like `gateway_addr`.
    pub config_key: String,
    /// Who listens there already, like `process 4242 (node)`.
    pub holder: Option<String>,
    /// What the system said.
    pub source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {} for {}: ", self.address, self.purpose)?;
        match self.source.kind() {
            io::ErrorKind::AddrInUse => match &self.holder {
                Some(holder) => write!(f, "{holder} listens there")?,
                None => write!(f, "another process listens there")?,
            },
            io::ErrorKind::AddrNotAvailable => write!(f, "no network interface here has that address")?,
            io::ErrorKind::PermissionDenied if self.address.port() < 1024 => {
                write!(f, "ports below 1024 need root or the capability CAP_NET_BIND_SERVICE")?;
            }
            _ => write!(f, "the system refuses")?,
        }
        let key = &self.config_key;
        let flag = key.replace('_', "-");
        // The rule of `config::environment_variable`, without the dependency.
        let variable = format!("SWITCHYARD_{}", key.to_uppercase());
        let stop = if self.source.kind() == io::ErrorKind::AddrInUse { "stop it or " } else { "" };
        write!(f, "; {stop}choose another address with --{flag}, {variable} or `{key}` in server.toml")
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A listening socket, non-blocking. Port 0 takes a free one: ask the listener for its address. `purpose` and
/// `config_key` are for the error. Accepted connections want `TCP_NODELAY`.
///
/// # Errors
/// [`BindError`].
pub fn bind_tcp(address: SocketAddr, purpose: &str, config_key: &str) -> Result<TcpListener, BindError> {
    listen(address, false).map_err(|source| explain(address, purpose, config_key, source))
}

/// `count` listening sockets on one address, between which the kernel spreads connections: one per gateway thread.
/// With port 0 all get the same free port.
///
/// # Errors
/// [`BindError`], also when another process has the port with `SO_REUSEPORT`, which would silently take a share of
/// the connections.
pub fn bind_reuseport(
    address: SocketAddr,
    count: usize,
    purpose: &str,
    config_key: &str,
) -> Result<Vec<TcpListener>, BindError> {
    let failed = |source| explain(address, purpose, config_key, source);
    // Bound but not shared: fails if anybody has it. Kept without listening it would block the others, so it goes.
    let alone = listen(address, false).and_then(|listener| listener.local_addr()).map_err(failed)?;
    (0..count.max(1)).map(|_| listen(alone, true).map_err(failed)).collect()
}

/// `count` further sockets beside others of this process, or that it inherited, which were made by [`bind_reuseport`].
///
/// # Errors
/// [`BindError`].
pub fn bind_beside(
    address: SocketAddr,
    count: usize,
    purpose: &str,
    config_key: &str,
) -> Result<Vec<TcpListener>, BindError> {
    let bind = || listen(address, true).map_err(|source| explain(address, purpose, config_key, source));
    (0..count).map(|_| bind()).collect()
}

fn listen(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    // On Linux this only allows binding while old connections linger; two listeners still exclude each other.
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn explain(address: SocketAddr, purpose: &str, config_key: &str, source: io::Error) -> BindError {
    let in_use = source.kind() == io::ErrorKind::AddrInUse;
    let holder = if in_use { holder(address) } else { None };
    BindError { address, purpose: purpose.to_owned(), config_key: config_key.to_owned(), holder, source }
}

/// Who listens on a port, by the kernel's tables. Sees only processes that this user may look into.
fn holder(address: SocketAddr) -> Option<String> {
    let inode = listening_inode(address)?;
    let link = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.bytes().all(|byte| byte.is_ascii_digit()).then_some(name)
    });
    let pid = processes.take(PROCESSES_MAX).find(|pid| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
        descriptors.is_ok_and(|all| {
            all.flatten()
                .any(|entry| fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == link.as_str()))
        })
    })?;
    // One that was started by `/proc/self/exe` is called `exe` there, which tells nobody anything.
    let program = || Some(fs::read_link(format!("/proc/{pid}/exe")).ok()?.file_name()?.to_str()?.to_owned());
    let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let command = if command.trim() == "exe" { program().unwrap_or(command) } else { command };
    // A process chooses its own name: only what is harmless on a terminal is shown.
    let command: String = command.chars().filter(|character| character.is_ascii_graphic()).collect();
    Some(format!("process {pid} ({command})"))
}

fn listening_inode(address: SocketAddr) -> Option<u64> {
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let text = fs::read_to_string(table).ok()?;
        text.lines().skip(1).find_map(|line| inode_if_listening(line, address))
    })
}

/// A line of `/proc/net/tcp`: `sl local_address rem_address st … inode`, state 0A is LISTEN.
fn inode_if_listening(line: &str, address: SocketAddr) -> Option<u64> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let local = parse_kernel_address(local)?;
    let overlaps = local.ip() == address.ip() || local.ip().is_unspecified() || address.ip().is_unspecified();
    (*state == "0A" && local.port() == address.port() && overlaps).then(|| inode.parse().ok())?
}

/// `0100007F:1F90` is 127.0.0.1:8080: words of the address in the machine's byte order, the port in plain hex.
fn parse_kernel_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words = address.as_bytes().chunks(8).map(|word| {
        let word = std::str::from_utf8(word).ok()?;
        Some(u32::from_str_radix(word, 16).ok()?.to_ne_bytes())
    });
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.concat();
    let ip = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => {
            let v6 = Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?);
            v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_busy_port_names_its_holder_and_the_way_out() {
        let first = bind_tcp(local(0), "the gateway", "gateway_addr").expect("a free port");
        let taken = first.local_addr().expect("it is bound");
        let error = bind_tcp(taken, "the gateway", "gateway_addr").expect_err("it is taken");
        let text = error.to_string();
        for part in [
            &taken.to_string(),
            &format!("process {}", std::process::id()),
            "--gateway-addr",
            "SWITCHYARD_GATEWAY_ADDR",
            "`gateway_addr`",
        ] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }

    #[test]
    fn threads_share_one_free_port() {
        let all = bind_reuseport(local(0), 3, "the gateway", "gateway_addr").expect("a free port");
        let ports: Vec<u16> = all.iter().map(|l| l.local_addr().expect("it is bound").port()).collect();
        assert_eq!(ports.len(), 3);
        assert!(ports.iter().all(|port| *port == ports[0] && *port != 0));
    }

    #[test]
    fn a_port_shared_by_others_is_refused() {
        let others = bind_reuseport(local(0), 1, "the gateway", "gateway_addr").expect("a free port");
        let taken = others[0].local_addr().expect("it is bound");
        let error = bind_reuseport(taken, 2, "the gateway", "gateway_addr").expect_err("it is taken");
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn an_address_of_another_machine_is_explained() {
        let foreign = SocketAddr::from(([192, 0, 2, 1], 8080));
        let error = bind_tcp(foreign, "the gateway", "gateway_addr").expect_err("TEST-NET-1 is nobody's");
        assert!(error.to_string().contains("no network interface"), "{error}");
    }

    #[test]
    fn kernel_addresses_are_read() {
        assert_eq!(parse_kernel_address("0100007F:1F90"), Some(local(8080)));
        let v6 = parse_kernel_address("00000000000000000000000001000000:0050");
        assert_eq!(v6, Some(SocketAddr::from((Ipv6Addr::LOCALHOST, 80))));
        assert_eq!(parse_kernel_address("xyz"), None);
    }
}
