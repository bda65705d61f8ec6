//! The keeper alone, without the product around it: for the tests of this crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    deployments::keeper_main(std::env::args_os()).unwrap_or(ExitCode::from(2))
}
