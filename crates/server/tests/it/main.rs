//! The product end to end: the real binary, run in a folder as a user runs it.

#![expect(clippy::disallowed_methods, reason = "a test waits by the wall clock for another process")]
#![expect(clippy::panic, clippy::print_stderr, reason = "a helper of a test fails the test, and shows why")]
#![expect(unreachable_pub, reason = "the harness is shared by the modules of this binary")]

mod access;
mod accounts;
mod apps;
mod bad_input;
mod examples;
mod failing_store;
mod first_run;
mod harness;
mod inputs;
mod jobs;
mod jobs_roles;
mod members;
mod moving;
mod operations;
mod schedules;
mod sdk;
mod services;
mod stores;
mod torture;
mod torture_page;
mod tour;
