//! The product end to end: the real binary, run in a folder as a user runs it.

#![expect(clippy::disallowed_methods, reason = "a test waits by the wall clock for another process")]
#![expect(clippy::panic, clippy::print_stderr, reason = "a helper of a test fails the test, and shows why")]
#![expect(unreachable_pub, reason = "the harness is shared by the modules of this binary")]

mod access;
mod accounts;
mod apps;
mod bad_input;
mod billing;
mod examples;
mod failing_store;
mod first_run;
mod handing_over;
mod harness;
mod identity;
mod inputs;
mod issuers;
mod jobs;
mod jobs_roles;
mod members;
mod moving;
mod oidc;
mod operations;
mod schedules;
#[path = "../../../billing/tests/it/stripe.rs"]
#[expect(dead_code, reason = "the tests of billing itself need all of it")]
mod scripted_stripe;
mod sdk;
mod services;
mod stores;
mod tenancy;
mod torture;
mod torture_page;
mod tour;
mod walks;
