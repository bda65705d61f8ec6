//! Progress of long work.

use crate::output::Output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(120);

/// Shows that work goes on: a spinner or a bar on a terminal, a line for each step elsewhere, nothing with `--json`.
/// Dropping it clears it.
pub struct Progress {
    bar: ProgressBar,
    output: Output,
    lines: bool,
}

impl Progress {
    pub(crate) fn new(output: &Output, total: Option<u64>, text: &str) -> Self {
        let options = output.options();
        let target = if options.tty && !options.json {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(total, target);
        let template = if total.is_some() { "{bar:30} {pos}/{len} {msg}" } else { "{spinner} {msg}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if options.tty && !options.json {
            bar.enable_steady_tick(TICK);
            output.set_bar(Some(bar.clone()));
        }
        let progress = Self { bar, output: output.clone(), lines: !options.tty && !options.json };
        progress.step(text);
        progress
    }

    /// What is done now.
    pub fn step(&self, text: &str) {
        let text = crate::output::printable(text);
        if self.lines {
            self.output.note(&text);
        }
        self.bar.set_message(text);
    }

    /// How much is done, of a bar's total.
    pub fn set(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// A line above the progress, to standard error.
    pub fn note(&self, text: &str) {
        self.output.note(crate::output::printable(text));
    }

    /// Clears it.
    pub fn finish(self) {
        drop(self);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.output.set_bar(None);
        self.bar.finish_and_clear();
    }
}
