//! One run of a verb.

use crate::client::ControlClient;
use crate::credentials::Credentials;
use crate::error::CliError;
use crate::output::Output;
use crate::progress::Progress;
use crate::table::Table;
use base::Secret;
use clap::ArgMatches;
use ports::BoxFuture;
use serde::Serialize;
use std::path::PathBuf;

/// What a verb's run is.
pub type VerbFuture = BoxFuture<'static, Result<(), CliError>>;

/// A verb of the command line.
#[derive(Clone, Copy)]
pub struct Verb {
    /// Its name, the same as its command's.
    pub name: &'static str,
    /// Its arguments and help.
    pub command: fn() -> clap::Command,
    /// Runs it.
    pub run: fn(ArgMatches, Session) -> VerbFuture,
}

/// What a verb works with.
#[derive(Clone)]
pub struct Session {
    /// The installation.
    pub client: ControlClient,
    /// Where to write.
    pub output: Output,
    /// `--yes`: do not ask.
    pub yes: bool,
    /// The folder of the project: that of `switchyard.toml`, or the current one.
    pub project_dir: PathBuf,
    /// The data folder of the installation here.
    pub data_dir: PathBuf,
    /// The sessions of the person at this command line.
    pub credentials: Credentials,
}

impl Session {
    /// Whether programs read the output.
    #[must_use]
    pub fn json_wanted(&self) -> bool {
        self.output.options().json
    }

    /// A result: `value` for programs, else the table that `table` makes of it.
    pub fn show<T: Serialize>(&self, value: &T, table: impl FnOnce(&T) -> Table) {
        if self.json_wanted() {
            self.output.json(value);
        } else {
            self.output.table(&table(value));
        }
    }

    /// A value as JSON, whatever the form.
    pub fn json(&self, value: &impl Serialize) {
        self.output.json(value);
    }

    /// A line for people; nothing with `--json`.
    pub fn line(&self, text: impl AsRef<str>) {
        self.output.line(text);
    }

    /// A table for people.
    pub fn table<S: AsRef<str>>(&self, head: &[&str], rows: impl IntoIterator<Item = Vec<S>>) {
        let mut table = Table::new(head);
        for row in rows {
            table.row(row);
        }
        self.output.table(&table);
    }

    /// Shows that work goes on; `total` makes it a bar.
    #[must_use]
    pub fn progress(&self, total: Option<u64>, text: &str) -> Progress {
        Progress::new(&self.output, total, text)
    }

    /// Asks for a line.
    ///
    /// # Errors
    /// There is none.
    pub fn ask(&self, question: &str) -> Result<String, CliError> {
        let answer = self.output.ask(question).filter(|answer| !answer.is_empty());
        answer.ok_or_else(|| unanswered(question))
    }

    /// Asks for a line that the terminal does not show.
    ///
    /// # Errors
    /// There is none.
    pub fn ask_secret(&self, question: &str) -> Result<Secret<String>, CliError> {
        let hidden = crate::terminal::Hidden::begin();
        let answer = self.output.ask(question);
        if hidden.is_some() && answer.is_some() {
            self.output.note("");
        }
        let answer = answer.filter(|answer| !answer.is_empty());
        answer.map(Secret::new).ok_or_else(|| unanswered(question))
    }

    /// Asks before something is destroyed: the name has to be typed. `--yes` says so beforehand.
    ///
    /// # Errors
    /// Another answer, or nobody to ask.
    pub fn confirm(&self, name: &str) -> Result<(), CliError> {
        if self.yes {
            return Ok(());
        }
        if !self.output.options().tty {
            return Err(CliError::usage(format!("this destroys {name}, and nobody can be asked"))
                .next("Give --yes to do it without a question."));
        }
        let question = format!("Type {name} to go on: ");
        match self.output.ask(&question) {
            Some(answer) if answer == name => Ok(()),
            _ => Err(CliError::failure("not confirmed; nothing was changed")),
        }
    }
}

fn unanswered(question: &str) -> CliError {
    let what = question.trim_end().trim_end_matches(':').to_lowercase();
    CliError::usage(format!("an answer is needed ({what}), and there is none"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{CapturedOutput, OutputOptions};

    fn session(options: OutputOptions, input: &str, yes: bool) -> (Session, CapturedOutput) {
        let (output, captured) = Output::captured(options, input);
        let client = ControlClient::unavailable(CliError::failure("nothing runs here"));
        let credentials = Credentials::new(None, base::SystemClock::shared());
        let (project_dir, data_dir) = (PathBuf::new(), PathBuf::new());
        (Session { client, output, yes, project_dir, data_dir, credentials }, captured)
    }

    #[test]
    fn destroying_takes_the_name() {
        let tty = OutputOptions { tty: true, ..OutputOptions::default() };
        assert!(session(tty, "acme\n", false).0.confirm("acme").is_ok());
        assert!(session(tty, "yes\n", false).0.confirm("acme").is_err());
        assert!(session(tty, "", false).0.confirm("acme").is_err());
        assert!(session(tty, "", true).0.confirm("acme").is_ok());
        let piped =
            session(OutputOptions::default(), "acme\n", false).0.confirm("acme").expect_err("nobody to ask");
        assert_eq!(piped.exit, crate::EXIT_USAGE);
    }

    #[test]
    fn a_result_is_a_table_or_json() {
        let make = |_: &Vec<&str>| {
            let mut table = Table::new(&["slug"]);
            table.row(["acme"]);
            table
        };
        let (people, captured) = session(OutputOptions::default(), "", false);
        people.show(&vec!["acme"], make);
        people.line("1 tenant");
        assert_eq!(captured.out(), "SLUG\nacme\n1 tenant\n");
        let (program, captured) =
            session(OutputOptions { json: true, ..OutputOptions::default() }, "", false);
        program.show(&vec!["acme"], make);
        program.line("1 tenant");
        assert_eq!(captured.out(), "[\n  \"acme\"\n]\n");
    }

    #[tokio::test]
    async fn without_an_installation_each_call_says_so() {
        let (session, _) = session(OutputOptions::default(), "", false);
        let error =
            session.client.get::<serde_json::Value>("/api/v1/tenants").await.expect_err("nothing runs");
        assert_eq!(error.message, "nothing runs here");
    }
}
