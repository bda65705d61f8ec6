//! Both clients against scripted servers on loopback.

mod control;
mod guarded;
mod scripted;
mod tls;
