//! Where verbs write to, and ask.

use crate::error::CliError;
use crate::table::Table;
use indicatif::ProgressBar;
use serde::Serialize;
use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How output is to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutputOptions {
    /// JSON for programs instead of tables for people.
    pub json: bool,
    /// Colours; only ever with a terminal.
    pub color: bool,
    /// Whether both ends are a terminal, so that questions can be asked.
    pub tty: bool,
}

/// Standard output, error and input of a verb. Clones share them. A closed pipe ends output quietly.
#[derive(Clone)]
pub struct Output {
    options: OutputOptions,
    out: Shared<dyn Write + Send>,
    err: Shared<dyn Write + Send>,
    input: Shared<dyn BufRead + Send>,
    closed: Arc<AtomicBool>,
    /// What turns on the terminal just now; lines to standard error go above it.
    bar: Shared<Option<ProgressBar>>,
}

/// Standard error of an [`Output`] for a writer of lines, such as the platform's own log.
pub struct Lines(Output);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.above_bar(|err| err.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.above_bar(|err| err.flush())
    }
}

type Shared<T> = Arc<Mutex<T>>;

/// What an [`Output`] of a test wrote.
#[derive(Debug, Clone, Default)]
pub struct CapturedOutput {
    out: Arc<Mutex<Vec<u8>>>,
    err: Arc<Mutex<Vec<u8>>>,
}

struct Tee(Arc<Mutex<Vec<u8>>>);

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl CapturedOutput {
    /// What was written to standard output.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.out.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// What was written to standard error.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.err.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Output {
    /// The process's own.
    #[must_use]
    pub fn standard(options: OutputOptions) -> Self {
        Self {
            options,
            out: Arc::new(Mutex::new(std::io::stdout())),
            err: Arc::new(Mutex::new(std::io::stderr())),
            input: Arc::new(Mutex::new(std::io::BufReader::new(std::io::stdin()))),
            closed: Arc::default(),
            bar: Arc::default(),
        }
    }

    /// One for tests, which reads `input`.
    #[must_use]
    pub fn captured(options: OutputOptions, input: &str) -> (Self, CapturedOutput) {
        let captured = CapturedOutput::default();
        let output = Self {
            options,
            out: Arc::new(Mutex::new(Tee(captured.out.clone()))),
            err: Arc::new(Mutex::new(Tee(captured.err.clone()))),
            input: Arc::new(Mutex::new(std::io::Cursor::new(input.as_bytes().to_vec()))),
            closed: Arc::default(),
            bar: Arc::default(),
        };
        (output, captured)
    }

    /// How output is to look.
    #[must_use]
    pub fn options(&self) -> OutputOptions {
        self.options
    }

    /// A line for people; nothing with `--json`.
    pub fn line(&self, text: impl AsRef<str>) {
        if !self.options.json {
            self.raw(text.as_ref());
        }
    }

    /// A line whatever the form, for what is the result itself (a script, a schema, an event of a stream).
    pub fn raw(&self, text: &str) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // A reader that has gone is no failure of ours.
        if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
            self.closed.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the reader of standard output has gone (`| head`), so that a verb which goes on should end.
    #[must_use]
    pub fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// A line to standard error, for what is not the result (progress, hints, warnings).
    pub fn note(&self, text: impl AsRef<str>) {
        let _ = self.above_bar(|err| writeln!(err, "{}", text.as_ref()).and_then(|()| err.flush()));
    }

    /// Standard error for a writer of whole lines: they and what turns on the terminal leave each other alone.
    #[must_use]
    pub fn lines(&self) -> Lines {
        Lines(self.clone())
    }

    /// Makes this what turns on the terminal.
    pub(crate) fn set_bar(&self, bar: Option<ProgressBar>) {
        *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = bar;
    }

    fn above_bar<T>(&self, write: impl FnOnce(&mut (dyn Write + Send)) -> T) -> T {
        let bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let write = || write(&mut *self.err.lock().unwrap_or_else(PoisonError::into_inner));
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// A value as JSON, whatever the form.
    pub fn json(&self, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.raw(&text),
            Err(error) => self.note(format!("the result cannot be written as JSON: {error}")),
        }
    }

    /// A table for people.
    pub fn table(&self, table: &Table) {
        let (bold, plain) = if self.options.color { ("\u{1b}[1m", "\u{1b}[0m") } else { ("", "") };
        for line in table.lines(bold, plain) {
            self.line(line);
        }
        if table.is_empty() && !self.options.json {
            self.note("There is nothing to list.");
        }
    }

    /// Writes an error as it ends the process: for people with what to do next, for programs as JSON.
    pub fn error(&self, error: &CliError) {
        if self.options.json {
            let value = serde_json::json!({"error": {"message": error.message, "next": error.next, "code": error.code}});
            return self.note(value.to_string());
        }
        let (red, plain) = if self.options.color { ("\u{1b}[31m", "\u{1b}[0m") } else { ("", "") };
        let shown: Vec<String> = error.message.lines().map(printable).collect();
        self.note(format!("{red}error:{plain} {}", shown.join("\n")));
        if let Some(next) = &error.next {
            self.note(format!("  {}", printable(next)));
        }
    }

    /// Asks and reads a line; `None` at the end of input, where the question's own line is ended.
    pub(crate) fn ask(&self, question: &str) -> Option<String> {
        {
            let mut err = self.err.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = write!(err, "{question}").and_then(|()| err.flush());
        }
        let mut answer = String::new();
        let read = self.input.lock().unwrap_or_else(PoisonError::into_inner).read_line(&mut answer);
        if matches!(read, Ok(count) if count > 0) {
            return Some(answer.trim().to_owned());
        }
        let _ = writeln!(self.err.lock().unwrap_or_else(PoisonError::into_inner));
        None
    }
}

/// Text with its control characters escaped, so that it cannot drive a terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        // Marks of direction reorder what is read; they are no letters either.
        let turns =
            matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || turns {
            shown.extend(character.escape_default())
        } else {
            shown.push(character)
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_go_to_standard_error() {
        let (output, captured) = Output::captured(OutputOptions::default(), "");
        output.set_bar(Some(ProgressBar::hidden()));
        writeln!(output.lines(), "one").expect("a buffer takes all");
        output.note("two");
        assert_eq!((captured.err().as_str(), captured.out().as_str()), ("one\ntwo\n", ""));
    }

    #[test]
    fn a_reader_that_has_gone_is_noticed_quietly() {
        let (mut output, _) = Output::captured(OutputOptions::default(), "");
        output.line("one");
        assert!(!output.closed());
        output.out = Arc::new(Mutex::new(Gone));
        output.line("two");
        assert!(output.closed());
    }

    #[test]
    fn an_error_cannot_drive_a_terminal() {
        let (output, captured) = Output::captured(OutputOptions::default(), "");
        output.error(&CliError::failure("a\u{1b}[2Jb\nc").next("d\u{202e}e"));
        assert_eq!(captured.err(), "error: a\\u{1b}[2Jb\nc\n  d\\u{202e}e\n");
    }
}
