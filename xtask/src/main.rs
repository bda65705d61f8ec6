//! The repository's own tool: `cargo xtask <verb>`.
//!
//! - `check`: the rules that a machine can keep (layers, statements without their tenant, sizes, …).
//! - `test`: everything, from an empty machine with a Rust toolchain to a verdict. What `.ci/run` calls.
//! - `install`: what tests need beyond the Rust toolchain; `test` begins with it. `install bench`: queues of others, for
//!   `bench jobs`.
//! - `surface`: writes `tests/surface/`, what others write against; `check` fails when it is stale.
//! - `fresh`: clones into an empty folder and runs both of the README's commands. By hand, as it takes minutes.
//!
//! It reports to people on standard output and by its exit code: 0 fine, 1 something was found, 2 wrong usage.

mod check;
mod fresh;
mod peers;
mod process;
mod surface;
mod test;
mod workspace;

use std::process::ExitCode;

use crate::process::say;
use crate::surface::Product;
use crate::workspace::Workspace;

const USAGE: &str = "usage: cargo xtask check | test [FILTER …] | install [bench] | surface | fresh";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["check"] => Workspace::here().and_then(|workspace| check::run(&workspace, Product::ToBuild)),
        ["test", filters @ ..] => Workspace::here().and_then(|workspace| test::run(&workspace, filters)),
        ["install"] => Workspace::here().map(|workspace| peers::install(&workspace).show()),
        ["install", "bench"] => Workspace::here().and_then(|workspace| peers::install_for_bench(&workspace)),
        ["surface"] => Workspace::here().and_then(|workspace| surface::write(&workspace)),
        ["fresh"] => Workspace::here().and_then(|workspace| fresh::run(&workspace)),
        _ => {
            say(USAGE);
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("\nxtask: {error}"));
            ExitCode::FAILURE
        }
    }
}
