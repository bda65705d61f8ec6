//! Options and arguments that most verbs have.

use clap::{Arg, ArgMatches};

use crate::CliError;

/// `--name VALUE`.
#[must_use]
pub fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

/// The text of an argument.
///
/// # Errors
/// When it was not given.
pub fn text<'a>(arguments: &'a ArgMatches, name: &str) -> Result<&'a str, CliError> {
    let value = arguments.try_get_one::<String>(name).ok().flatten().map(String::as_str);
    value.ok_or_else(|| CliError::usage(format!("{} is missing", name.to_uppercase())))
}
