//! Listening sockets that outlive a process: what one held, the next takes over, with all connections that nobody accepted yet.
//!
//! A socket listens for as long as any process holds it. So somebody who stays (the keeper of the replicas) is given a second
//! hold on each; who leaves for good closes them for all ([`HeldSockets::close`]), so that nobody waits for an answer that will
//! not come.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use socket2::SockRef;

/// Second holds on listening sockets, by what they are for.
#[derive(Debug, Default)]
pub struct HeldSockets(Vec<(String, TcpListener)>);

impl HeldSockets {
    /// Takes a hold on one more socket.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn hold(&mut self, purpose: &str, socket: &TcpListener) -> io::Result<()> {
        self.0.push((purpose.to_owned(), socket.try_clone()?));
        Ok(())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        self.0.iter().map(|(purpose, socket)| (purpose.as_str(), socket.as_fd()))
    }

    /// Ends the listening, whoever else holds the sockets: from now on connections are refused.
    pub fn close(&self) {
        for (purpose, socket) in &self.0 {
            if let Err(error) = SockRef::from(socket).shutdown(Shutdown::Both) {
                tracing::debug!(%purpose, %error, "a listening socket could not be closed for all");
            }
        }
    }
}

/// Sockets that a process of before listened on.
#[derive(Debug, Default)]
pub struct InheritedSockets(Vec<(String, TcpListener)>);

impl InheritedSockets {
    /// Those of these descriptors that are listening sockets, by what they are for.
    #[must_use]
    pub fn new(descriptors: Vec<(String, OwnedFd)>) -> Self {
        let usable = |(purpose, descriptor): (String, OwnedFd)| {
            let listens = SockRef::from(&descriptor).is_listener().unwrap_or(false);
            let socket = TcpListener::from(descriptor);
            (listens && socket.set_nonblocking(true).is_ok()).then_some((purpose, socket))
        };
        Self(descriptors.into_iter().filter_map(usable).collect())
    }

    /// Takes those that were for this, at this address; with port 0 at any port of its interface.
    pub fn take(&mut self, purpose: &str, address: SocketAddr) -> Vec<TcpListener> {
        let fits = |(of, socket): &mut (String, TcpListener)| {
            let same = |at: SocketAddr| {
                at.ip() == address.ip() && (address.port() == 0 || at.port() == address.port())
            };
            of == purpose && socket.local_addr().is_ok_and(same)
        };
        self.0.extract_if(.., fits).map(|(_, socket)| socket).collect()
    }

    /// Ends the listening of those that nobody took, whoever else holds them: another address that overlaps theirs is free
    /// then, and nobody waits where nobody will accept.
    pub fn close_rest(&mut self) {
        for (purpose, socket) in self.0.drain(..) {
            if let Err(error) = SockRef::from(&socket).shutdown(Shutdown::Both) {
                tracing::debug!(%purpose, %error, "a listening socket of before could not be closed for all");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::TcpStream;

    fn inherited(held: &HeldSockets) -> InheritedSockets {
        let all = held.iter().map(|(purpose, socket)| {
            (purpose.to_owned(), socket.try_clone_to_owned().expect("a descriptor is free"))
        });
        InheritedSockets::new(all.collect())
    }

    #[test]
    fn who_connects_between_two_holders_is_served_by_the_second() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = crate::bind_tcp(any, "gateway", "gateway_addr").expect("a free port");
        let address = first.local_addr().expect("it is bound");
        let mut held = HeldSockets::default();
        held.hold("gateway", &first).expect("a descriptor is free");
        drop(first);
        let mut client = TcpStream::connect(address).expect("it waits");
        let mut next = inherited(&held);
        assert!(next.take("control", address).is_empty());
        let elsewhere = SocketAddr::from(([127, 0, 0, 1], address.port() ^ 1));
        assert!(next.take("gateway", elsewhere).is_empty());
        let [second] = &next.take("gateway", any)[..] else { panic!("one socket") };
        assert!(next.take("gateway", address).is_empty(), "it was taken");
        drop(second.accept().expect("the client is there"));
        assert_eq!(client.read(&mut [0]).expect("it was accepted"), 0);
    }

    #[test]
    fn what_nobody_took_over_stands_in_nobodys_way() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = crate::bind_tcp(any, "gateway", "gateway_addr").expect("a free port");
        let port = first.local_addr().expect("it is bound").port();
        let mut held = HeldSockets::default();
        held.hold("gateway", &first).expect("a descriptor is free");
        drop(first);
        let everywhere = SocketAddr::from(([0, 0, 0, 0], port));
        let mut next = inherited(&held);
        assert!(next.take("gateway", everywhere).is_empty(), "it is another address");
        crate::bind_tcp(everywhere, "gateway", "gateway_addr").expect_err("the one of before still listens");
        next.close_rest();
        crate::bind_tcp(everywhere, "gateway", "gateway_addr").expect("nobody listens there any more");
    }

    #[test]
    fn what_was_closed_refuses_and_is_not_inherited() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = crate::bind_tcp(any, "gateway", "gateway_addr").expect("a free port");
        let address = first.local_addr().expect("it is bound");
        let mut held = HeldSockets::default();
        held.hold("gateway", &first).expect("a descriptor is free");
        held.close();
        let refused = TcpStream::connect(address).expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(inherited(&held).take("gateway", address).is_empty());
        // Its port is free although descriptors are open.
        crate::bind_tcp(address, "gateway", "gateway_addr").expect("the port is free");
    }
}
