//! What clap says about arguments, in our words.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};
use module::{CliError, EXIT_USAGE, Output};

/// Answers a line that did not parse: help and version are results, everything else is wrong usage. Returns the exit
/// code.
pub(crate) fn answer(error: &Error, tree: &Command, output: &Output) -> u8 {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            output.raw(text.trim_end());
            0
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output.note(text.trim_end());
            EXIT_USAGE
        }
        _ => {
            output.error(&explained(error, &text, tree));
            EXIT_USAGE
        }
    }
}

fn explained(error: &Error, text: &str, tree: &Command) -> CliError {
    let context = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(one)) => Some(one.clone()),
        Some(ContextValue::Strings(many)) => many.first().cloned(),
        _ => None,
    };
    let meant = |word: Option<String>, otherwise: &str| {
        word.map_or_else(|| otherwise.to_owned(), |word| format!("Did you mean `{word}`?"))
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            // Ours counts swapped letters as one slip; the parser's measure prefers words that begin alike.
            let near = base::nearest(&word, names(tree)).map(str::to_owned);
            let near = near.or_else(|| context(ContextKind::SuggestedSubcommand));
            CliError::usage(format!("there is no command `{word}`"))
                .next(meant(near, "`switchyard help` lists them all."))
        }
        ErrorKind::UnknownArgument => {
            let word = context(ContextKind::InvalidArg).unwrap_or_default();
            let near =
                context(ContextKind::SuggestedArg).or_else(|| context(ContextKind::SuggestedSubcommand));
            let sort = if word.starts_with('-') { "flag" } else { "argument" };
            CliError::usage(format!("there is no {sort} `{word}` here"))
                .next(meant(near, "`--help` lists them all."))
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = match error.get(ContextKind::InvalidArg) {
                Some(ContextValue::Strings(many)) => many.join(", "),
                _ => "an argument".to_owned(),
            };
            CliError::usage(format!("{missing} is missing")).next("`--help` says what each is.")
        }
        ErrorKind::InvalidValue => {
            let (flag, value) =
                (context(ContextKind::InvalidArg), context(ContextKind::InvalidValue).unwrap_or_default());
            let flag = flag.unwrap_or_default();
            let allowed = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(many)) => many.join(", "),
                _ => String::new(),
            };
            let message = if value.is_empty() {
                format!("{flag} takes a value")
            } else {
                format!("{flag} does not take `{value}`")
            };
            let next = if allowed.is_empty() {
                "`--help` says more.".to_owned()
            } else {
                format!("It takes one of: {allowed}.")
            };
            CliError::usage(message).next(next)
        }
        _ => {
            // The first paragraph says what is wrong; the usage below it is a call of `--help` away.
            let message =
                text.strip_prefix("error: ").unwrap_or(text).split("\n\n").next().unwrap_or_default();
            CliError::usage(message.trim_end()).next("`--help` says more.")
        }
    }
}

fn names(tree: &Command) -> Vec<&str> {
    tree.get_subcommands().map(Command::get_name).collect()
}
