//! The gateway from outside: raw sockets, scripted upstreams, directories in memory.

mod faults;
mod framing;
mod harness;
mod identity;
mod limits;
mod passing;
