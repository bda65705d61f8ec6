//! What clap says about arguments, in our words.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};
use module::{CliError, EXIT_USAGE, Output};
use std::ffi::OsString;

/// Words for one deed. Who types another word than ours is told ours.
const SAME_DEED: [&[&str]; 3] = [
    &["create", "add", "set", "invite", "new", "make"],
    &["update", "set", "change", "edit", "modify"],
    &["delete", "remove", "revoke", "end", "cancel", "purge"],
];

/// Answers a line that did not parse: help and version are results, everything else is wrong usage. `args` is the line,
/// from the name of the binary on. Returns the exit code.
pub(crate) fn answer(error: &Error, args: &[OsString], tree: &Command, output: &Output) -> u8 {
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
            output.error(&explained(error, &text, &Named::on(args, tree)));
            EXIT_USAGE
        }
    }
}

fn explained(error: &Error, text: &str, named: &Named<'_>) -> CliError {
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
            let near = named.nearest(&word).or_else(|| context(ContextKind::SuggestedSubcommand));
            CliError::usage(format!("there is no command `{}`", named.line(&word)))
                .next(meant(near.map(|near| named.line(&near)), &named.help("lists them all.")))
        }
        ErrorKind::UnknownArgument => {
            let word = context(ContextKind::InvalidArg).unwrap_or_default();
            let near =
                context(ContextKind::SuggestedArg).or_else(|| context(ContextKind::SuggestedSubcommand));
            let sort = if word.starts_with('-') { "flag" } else { "argument" };
            CliError::usage(format!("there is no {sort} `{word}` here"))
                .next(meant(near, &named.help("lists them all.")))
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = match error.get(ContextKind::InvalidArg) {
                Some(ContextValue::Strings(many)) => many.join(", "),
                _ => "an argument".to_owned(),
            };
            CliError::usage(format!("{missing} is missing")).next(named.help("says what each is."))
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
                named.help("says more.")
            } else {
                format!("It takes one of: {allowed}.")
            };
            CliError::usage(message).next(next)
        }
        _ => {
            // The first paragraph says what is wrong; the usage below it is a call of `--help` away.
            let message =
                text.strip_prefix("error: ").unwrap_or(text).split("\n\n").next().unwrap_or_default();
            CliError::usage(message.trim_end()).next(named.help("says more."))
        }
    }
}

/// The command that a line names, as far as there is one.
struct Named<'a> {
    /// Its words without the binary's name.
    words: Vec<&'a str>,
    command: &'a Command,
}

impl<'a> Named<'a> {
    fn on(args: &[OsString], tree: &'a Command) -> Self {
        let mut named = Self { words: Vec::new(), command: tree };
        for word in args.iter().skip(1) {
            if let Some(command) = named.command.find_subcommand(word) {
                named.words.push(command.get_name());
                named.command = command;
            }
        }
        named
    }

    /// What follows the binary's name, with `word` at the end.
    fn line(&self, word: &str) -> String {
        self.words.iter().copied().chain([word]).collect::<Vec<_>>().join(" ")
    }

    /// Where to read on.
    fn help(&self, what: &str) -> String {
        if self.words.is_empty() {
            return format!("`switchyard help` {what}");
        }
        format!("`switchyard {} --help` {what}", self.words.join(" "))
    }

    /// The command that may be meant by `word`. Ours counts swapped letters as one slip, and knows words for one deed;
    /// the parser's measure prefers words that begin alike.
    fn nearest(&self, word: &str) -> Option<String> {
        let names = || self.command.get_subcommands().map(Command::get_name);
        let same = || {
            let deeds = SAME_DEED.iter().filter(|deed| deed.contains(&word)).copied();
            deeds.flatten().find_map(|deed| names().find(|name| name == deed))
        };
        base::nearest(word, names()).or_else(same).map(str::to_owned)
    }
}
