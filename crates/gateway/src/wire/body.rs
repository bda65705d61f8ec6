//! How long a body is, and reading one of each sort.

use super::chunked::{ChunkFault, Chunked, Step};

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// It ends with the connection; responses only.
    UntilClose,
}

/// Reads one body from pieces of the stream that carries it.
#[derive(Debug, Clone)]
pub enum BodyReader {
    /// So many bytes are still to come.
    Length(u64),
    /// In chunks.
    Chunked(Chunked),
    /// All that comes.
    UntilClose,
}

impl BodyReader {
    /// A reader at the beginning of a body.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::Empty => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunked::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Reads on from `at`, which is moved behind what was used. [`Step::Done`] is repeated for ever.
    ///
    /// # Errors
    /// [`ChunkFault`] when chunks are broken.
    pub fn step(&mut self, buffer: &[u8], at: &mut usize) -> Result<Step, ChunkFault> {
        let available = buffer.len() - *at;
        let taken = match self {
            Self::Chunked(chunked) => return chunked.step(buffer, at),
            Self::Length(0) => return Ok(Step::Done),
            Self::Length(_) | Self::UntilClose if available == 0 => return Ok(Step::More),
            Self::Length(remaining) => {
                let taken = usize::try_from(*remaining).unwrap_or(usize::MAX).min(available);
                *remaining -= taken as u64;
                taken
            }
            Self::UntilClose => available,
        };
        *at += taken;
        Ok(Step::Data(*at - taken..*at))
    }

    /// Whether nothing more is to come, as far as can be told without reading on.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match self {
            Self::Length(remaining) => *remaining == 0,
            Self::Chunked(chunked) => chunked.is_done(),
            Self::UntilClose => false,
        }
    }

    /// Whether the end of the connection is a proper end of this body now.
    #[must_use]
    pub fn may_end(&self) -> bool {
        matches!(self, Self::UntilClose) || self.is_done()
    }
}
