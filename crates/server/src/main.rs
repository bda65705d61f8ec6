//! The `switchyard` binary: the list of capabilities, who gets what of whom, and the verbs that run the platform
//! itself. Everything else is in the crates below.
//!
//! A start goes: settings ([`cli::load_settings`]), store and vault ([`store`]), capabilities ([`build`]), tasks and sockets
//! ([`platform`]). The verbs `up`, `serve`, `down`, `status`, `restore`, `migrate` are thin on top of that.

mod build;
mod capabilities;
mod cleanup;
mod error;
mod health;
mod links;
mod member;
mod platform;
mod roles;
mod service_port;
mod sockets;
mod status;
mod store;
mod surface;
mod verbs;
mod workers;

use std::process::ExitCode;

/// The allocator of the whole process: requests make and free blocks on many threads, where the system's own
/// consolidates its heap again and again (bench/RESULTS.md has the difference).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The keeper, its guard and the launcher of replicas are this binary too: before any thread or runtime.
    if let Some(code) = deployments::keeper_main(std::env::args_os()) {
        return code;
    }
    cli::run(std::env::args_os(), &app())
}

/// The command line as a whole.
fn app() -> cli::Cli {
    cli::Cli {
        verbs: [verbs::all(), capabilities::verbs()].concat(),
        sections: capabilities::sections(),
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// The tree of commands, for its snapshot.
fn command() -> clap::Command {
    cli::command(&app())
}
