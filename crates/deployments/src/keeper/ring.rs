//! Output that waits for somebody to take it, within a bound.

use super::protocol::{LINE_BYTES_MAX, RING_BYTES_MAX, Stream};
use base::Timestamp;
use std::collections::VecDeque;

/// One line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) stream: Stream,
    pub(crate) at: Timestamp,
    pub(crate) text: String,
}

/// A queue of lines that holds at most [`RING_BYTES_MAX`] and forgets the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
    dropped: u64,
}

/// What a line costs beside its text.
const LINE_OVERHEAD_BYTES: usize = std::mem::size_of::<Line>();

impl Ring {
    /// Adds a line; older ones give way.
    pub(crate) fn push(&mut self, line: Line) {
        self.bytes += line.text.len() + LINE_OVERHEAD_BYTES;
        self.lines.push_back(line);
        while self.bytes > RING_BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.text.len() + LINE_OVERHEAD_BYTES;
            self.dropped += 1;
        }
    }

    /// Takes the oldest line.
    pub(crate) fn pop(&mut self) -> Option<Line> {
        let line = self.lines.pop_front()?;
        self.bytes -= line.text.len() + LINE_OVERHEAD_BYTES;
        Some(line)
    }

    /// How many lines were lost since this was last asked.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0
    }
}

/// Cuts bytes as they come into lines of at most [`LINE_BYTES_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    partial: Vec<u8>,
}

impl Splitter {
    /// Takes what was read and gives each line that is whole now.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(String)) {
        while !bytes.is_empty() {
            let room = LINE_BYTES_MAX - self.partial.len();
            let end = bytes.iter().take(room).position(|byte| *byte == b'\n');
            let (line, rest) = match end {
                Some(end) => (&bytes[..end], &bytes[end + 1..]),
                None => bytes.split_at(room.min(bytes.len())),
            };
            self.partial.extend_from_slice(line);
            bytes = rest;
            if end.is_some() || self.partial.len() >= LINE_BYTES_MAX {
                each(self.take());
            }
        }
    }

    /// The line that never got its end, if there is one.
    pub(crate) fn finish(&mut self) -> Option<String> {
        (!self.partial.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        let bytes = std::mem::take(&mut self.partial);
        String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(&bytes)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line { stream: Stream::Stdout, at: Timestamp::from_micros(0), text: text.to_owned() }
    }

    #[test]
    fn p3_a_flood_of_output_stays_within_the_ring() {
        let mut ring = Ring::default();
        for number in 0..1_000_000_u32 {
            ring.push(line(&number.to_string()));
        }
        assert!(ring.bytes <= RING_BYTES_MAX);
        let dropped = ring.take_dropped();
        let mut kept = 0;
        let mut last = None;
        while let Some(line) = ring.pop() {
            kept += 1;
            last = Some(line.text);
        }
        assert_eq!(dropped + kept, 1_000_000);
        assert_eq!(last.as_deref(), Some("999999"));
        assert!(ring.is_empty());
        assert_eq!(ring.bytes, 0);
    }

    #[test]
    fn lines_are_cut_at_line_ends_and_at_the_limit() {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        splitter.feed(b"one\r\ntwo\nthr", |line| lines.push(line));
        splitter.feed(b"ee\n\nlast", |line| lines.push(line));
        lines.extend(splitter.finish());
        assert_eq!(lines, ["one", "two", "three", "", "last"]);

        let mut splitter = Splitter::default();
        let mut lengths = Vec::new();
        splitter.feed(&vec![b'x'; LINE_BYTES_MAX * 2 + 5], |line| lengths.push(line.len()));
        lengths.extend(splitter.finish().map(|line| line.len()));
        assert_eq!(lengths, [LINE_BYTES_MAX, LINE_BYTES_MAX, 5]);
    }
}
