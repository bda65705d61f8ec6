//! Every HTTP request that Switchyard makes, in three clients.
//!
//! - [`Control`] speaks to Switchyard itself: the command line to an installation, parts of the platform over
//!   loopback. Its address comes from the operator. JSON in and out, problem documents as typed errors, lines for
//!   what is followed.
//! - [`Guarded`] speaks to addresses that **tenants** give (webhooks, uptime checks, key sets of issuers). It must
//!   assume that each of them tries to reach what only Switchyard can reach (SPEC 19).
//! - [`direct::Direct`] speaks to replicas, whose addresses Switchyard itself chose, on connections that it keeps for a moment.
//!
//! Life of a guarded request: the URL is parsed ([`Target`]), anything odd in it is refused; its name is resolved
//! once; **all** addresses must be public, or within a range that the operator allows; the connection goes to one of
//! these very addresses, so that a second answer of the name server has no say; the peer's address is looked at once
//! more; the reply is read within caps of header count, size and time, never decompressed, never followed elsewhere
//! unless asked to, and then by the same way.
//!
//! Invariants
//! - Whatever is refused, unreachable or closed gives the same [`Unreachable`], no sooner than a floor of time, so
//!   that a tenant cannot map a network by its errors (TORTURE W7). The reason is in the log at debug level.
//! - Nothing is sent before the address has passed.
//!
//! - An `https` address is spoken to by TLS 1.2 or 1.3 with a certificate of that very name, of an authority that the system
//!   trusts ([`Trust`]). There is no way to do without.
//!
//! [`Dns`] asks name servers for the texts by which a tenant proves a domain.
//!
//! [`Guarded::for_operator`] is the guarded client for addresses that the operator gives: free to reach any address.
//!
//! Deliberately absent: cookies, proxies from the environment, connection pools for guarded requests (each target is somebody else's), and HTTP/2. The gateway's
//! way to upstreams is not here either: it has a data path of its own.

mod address;
mod control;
pub mod direct;
mod dns;
mod guarded;
mod lines;
mod target;
mod tls;

pub use address::AddressPolicy;
pub use control::{
    CONNECT_TIME_MAX, Control, ControlError, REPLY_BYTES_MAX, REQUEST_TIME_MAX, Remote, RemoteFault,
};
pub use dns::{Dns, DnsError};
pub use guarded::retry_after;
pub use guarded::{
    Attempt, Error, Guarded, GuardedRequest, GuardedResponse, Limits, Resolve, SystemResolver, Unreachable,
};
pub use lines::{LINE_BYTES_MAX, LineError, Lines};
pub use target::{Target, TargetError};
pub use tls::{Trust, TrustError};
