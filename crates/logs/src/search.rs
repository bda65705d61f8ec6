//! Searching: backwards from the newest line.

use std::io;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder};
use memchr::{memmem, memrchr};
use telemetry::LogRecord;

use crate::model::{Filter, Needles, Position};
use crate::segments::{Catalog, Segment};

/// Uncompressed bytes that one search looks at; then it answers what it has, and where to go on. About a second.
pub const SCAN_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Searches at the same time: each holds a segment in memory.
pub(crate) const SEARCHES_MAX: usize = 2;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// A segment cannot be read.
    #[error("read log segment")]
    Io(#[from] io::Error),
    /// The process is ending.
    #[error("searching has stopped")]
    Stopped,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The newest first.
    pub records: Vec<(Position, LogRecord)>,
    /// Where to go on; `None` when nothing older is left. There may be more although `records` has few.
    pub next: Option<Position>,
}

pub(crate) fn search(
    catalog: &Catalog,
    filter: &Filter,
    before: Option<Position>,
    limit: usize,
) -> Result<Found, SearchError> {
    catalog.load()?;
    let mut walk = Walk { filter, sieve: Sieve::new(&filter.needles()), limit, records: Vec::new() };
    let mut scanned = 0;
    for segment in catalog.newest_first() {
        if before.is_some_and(|before| segment.number > before.segment) || !overlaps(&segment, filter) {
            continue;
        }
        if scanned >= SCAN_BYTES_MAX {
            let next = Some(Position { segment: segment.number, offset: u64::MAX });
            return Ok(Found { records: walk.records, next });
        }
        let Some(mut lines) = catalog.read(segment.number)? else { continue };
        scanned += lines.len() as u64;
        if let Some(before) = before.filter(|before| before.segment == segment.number) {
            lines.truncate(usize::try_from(before.offset).unwrap_or(usize::MAX).min(lines.len()));
        }
        if walk.segment(segment.number, &lines) {
            let next = walk.records.last().map(|(position, _)| *position);
            return Ok(Found { records: walk.records, next });
        }
    }
    Ok(Found { records: walk.records, next: None })
}

fn overlaps(segment: &Segment, filter: &Filter) -> bool {
    filter.since.is_none_or(|since| segment.last >= since)
        && filter.until.is_none_or(|until| segment.first < until)
}

struct Walk<'a> {
    filter: &'a Filter,
    sieve: Sieve,
    limit: usize,
    records: Vec<(Position, LogRecord)>,
}

impl Walk<'_> {
    /// Looks at whole lines from the last to the first. Returns whether the limit is reached.
    fn segment(&mut self, number: u64, lines: &[u8]) -> bool {
        let mut end = lines.len();
        while end > 0 {
            if self.records.len() >= self.limit {
                return true;
            }
            let begin = memrchr(b'\n', &lines[..end - 1]).map_or(0, |at| at + 1);
            let line = &lines[begin..end];
            if self.sieve.passes(line)
                && let Ok(record) = serde_json::from_slice::<LogRecord>(line)
                && self.filter.matches(&record)
            {
                self.records.push((Position { segment: number, offset: begin as u64 }, record));
            }
            end = begin;
        }
        self.records.len() >= self.limit
    }
}

/// Tells quickly that a raw line cannot be wanted.
struct Sieve {
    exact: Vec<memmem::Finder<'static>>,
    text: Option<AhoCorasick>,
}

impl Sieve {
    fn new(needles: &Needles) -> Sieve {
        let text = needles.text.as_ref().filter(|text| !text.is_empty()).and_then(|text| {
            // A text that cannot be built into a searcher is left to the filter.
            AhoCorasickBuilder::new().ascii_case_insensitive(true).build([text]).ok()
        });
        let exact =
            needles.exact.iter().map(|text| memmem::Finder::new(text.as_bytes()).into_owned()).collect();
        Sieve { exact, text }
    }

    fn passes(&self, line: &[u8]) -> bool {
        self.exact.iter().all(|needle| needle.find(line).is_some())
            && self.text.as_ref().is_none_or(|text| text.is_match(line))
    }
}
