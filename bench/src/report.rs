//! Tables for people, and the file that keeps them.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use base::{Clock as _, SystemClock};

const RESULTS: &str = "bench/RESULTS.md";

/// Writes a line to standard output.
pub(crate) fn say(line: &str) {
    let _closed = writeln!(std::io::stdout().lock(), "{line}");
}

/// A table of texts with a heading.
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    /// What a reader must know to judge the figures.
    pub(crate) notes: Vec<String>,
}

impl Table {
    /// Prints the table and appends it, with date and machine, to the file of results.
    pub(crate) fn publish(&self) -> Result<(), String> {
        let text = self.markdown();
        say(&text);
        let heading = format!("\n## {}\n\n{}\n\n{text}", self.title, machine());
        let mut file =
            OpenOptions::new().append(true).create(true).open(RESULTS).map_err(|error| {
                format!("open {RESULTS} (run this in the root of the repository): {error}")
            })?;
        file.write_all(heading.as_bytes()).map_err(|error| format!("write {RESULTS}: {error}"))
    }

    fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule: Vec<String> = self.head.iter().map(|_| "---".to_owned()).collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        let notes: String = self.notes.iter().map(|note| format!("\n{note}\n")).collect();
        format!("{}{}{rows}{notes}", line(&self.head), line(&rule))
    }
}

/// Date, processor and kernel: figures mean nothing without them.
fn machine() -> String {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let now = SystemClock::new().now().to_string();
    let date = now.split('T').next().unwrap_or_default();
    format!(
        "{date}, {cores} cores of {model}, Linux {}; client, peers and Switchyard share them.",
        kernel.trim()
    )
}

/// The middle value; the lower of two.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// The value below which a share of sorted values lies.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let index = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(index.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// Folder of the program that runs, where `switchyard` was built too.
pub(crate) fn sibling(name: &str) -> Result<std::path::PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("find the own program: {error}"))?;
    let program = own.parent().unwrap_or(Path::new(".")).join(name);
    if program.is_file() {
        Ok(program)
    } else {
        Err(format!("{} is not there: run cargo build --release --workspace first", program.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert!((percentile(&hundred, 0.99) - 99.0).abs() < f64::EPSILON);
        assert!((percentile(&hundred, 1.0) - 100.0).abs() < f64::EPSILON);
    }
}
