//! The keeper: a small process that parents the replicas, so that they outlive a Switchyard.
//!
//! It is this binary executed again, in three forms:
//!
//! - `keeper`: one for a data folder. Listens on `<data-dir>/keeper.sock` (0600), starts and ends processes,
//!   keeps their latest output while nobody takes it, and holds the sockets on which Switchyard listens. Without a Switchyard for [`LONELY_MAX`] it ends all of them
//!   and itself.
//! - `guard`: one for a process of the keeper. It is the process's parent and the subreaper of all that descends
//!   from it, so that it can end every one of them. It learns of the keeper's end, however sudden, by the end of
//!   its standard input, and ends its process then.
//! - `launch`: becomes the process. Sets its session, limits, groups and death signal, and executes the command.
//!
//! So whoever is killed, those below are ended by the one above or by the kernel: keeper → guard sees the end of
//! its input; guard → the kernel kills the process (`PR_SET_PDEATHSIG`) and the keeper inherits and kills the rest.
//! No unsafe code is needed, since nothing runs between fork and exec: each form sets itself up after its exec.

mod cgroup;
pub(crate) mod client;
mod crew;
mod guard;
mod launch;
pub(crate) mod procs;
pub(crate) mod protocol;
mod ring;
mod server;
mod socket;
mod sockets;

pub(crate) use crew::{Crew, Hands};
pub use sockets::inherited_sockets;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

/// Time without a Switchyard after which a keeper ends its processes and itself.
pub const LONELY_MAX: Duration = Duration::from_secs(10);

/// The hidden subcommands, by which the binary executes itself: nothing a person would type.
const KEEPER: &str = "keeper";
const GUARD: &str = "guard";
const LAUNCH: &str = "launch";

/// Runs `keeper`, `guard` or `launch` when `args` (the program's name first) ask for one of them, and gives the
/// code to exit with; `None` when they ask for something else. `main` calls this before anything else, since a
/// guard must be small and must not have threads when it starts.
pub fn keeper_main(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter().skip(1);
    let form = args.next()?;
    let rest: Vec<OsString> = args.collect();
    match form.to_str()? {
        KEEPER => Some(server::main(&rest)),
        GUARD => Some(guard::main()),
        LAUNCH => Some(launch::main(&rest)),
        _ => None,
    }
}

/// This binary, under a path that stays right when its file was replaced.
pub(crate) const SELF: &str = "/proc/self/exe";

/// Says why a form of the keeper cannot go on. Its standard error is the keeper's log, or its process's output.
fn complain(what: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let _nobody_reads_it = writeln!(std::io::stderr(), "switchyard: {what}");
}
