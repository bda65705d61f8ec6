//! The chunked transfer coding (RFC 9112, 7.1), read strictly and a piece at a time.

use std::ops::Range;

/// Hexadecimal digits of a chunk's size: 2^60 bytes are more than anybody sends in one.
const SIZE_DIGITS_MAX: u8 = 15;
/// Bytes of the extensions of one body, beside one for each eight bytes of content. They mean nothing here and cost work
/// to skip (CVE-2023-39326 was about that).
const EXTENSION_BYTES_MAX: u64 = 4 * 1024;
/// Bytes of the trailer section, which is read and dropped.
const TRAILER_BYTES_MAX: u32 = 8 * 1024;

/// A chunked body is broken; nothing after this point can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkFault(pub &'static str);

/// What the next bytes of a body are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Content, as a range of the buffer that was given.
    Data(Range<usize>),
    /// More bytes are needed; all that were given are used up.
    More,
    /// The body has ended.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    TrailerStart,
    Trailer,
    TrailerLineFeed,
    EndLineFeed,
    Done,
}

/// Reads one chunked body.
#[derive(Debug, Clone)]
pub struct Chunked {
    state: State,
    remaining: u64,
    digits: u8,
    content_bytes: u64,
    extension_bytes: u64,
    trailer_bytes: u32,
}

impl Default for Chunked {
    fn default() -> Self {
        Self {
            state: State::Size,
            remaining: 0,
            digits: 0,
            content_bytes: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
        }
    }
}

impl Chunked {
    /// Reads on from `at`, which is moved behind what was used. Content is never copied.
    ///
    /// # Errors
    /// [`ChunkFault`] on anything that the grammar does not allow, bare line feeds and stray returns included.
    pub fn step(&mut self, buffer: &[u8], at: &mut usize) -> Result<Step, ChunkFault> {
        while *at < buffer.len() {
            if self.state == State::Data {
                return Ok(self.data(buffer, at));
            }
            if self.state == State::Done {
                return Ok(Step::Done);
            }
            let byte = buffer[*at];
            *at += 1;
            self.byte(byte)?;
        }
        Ok(if self.state == State::Done { Step::Done } else { Step::More })
    }

    /// Whether the last chunk and the trailers have been read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    fn data(&mut self, buffer: &[u8], at: &mut usize) -> Step {
        let available = (buffer.len() - *at) as u64;
        let taken = available.min(self.remaining);
        self.remaining -= taken;
        self.content_bytes += taken;
        if self.remaining == 0 {
            self.state = State::DataReturn;
        }
        let start = *at;
        *at += usize::try_from(taken).expect("no more than the buffer holds");
        Step::Data(start..*at)
    }

    fn byte(&mut self, byte: u8) -> Result<(), ChunkFault> {
        self.state = match self.state {
            State::Size => self.size(byte)?,
            State::Extension => self.extension(byte)?,
            State::SizeLineFeed => {
                expect(byte, b'\n', "a chunk's size ends with CR LF")?;
                self.digits = 0;
                if self.remaining == 0 { State::TrailerStart } else { State::Data }
            }
            State::DataReturn => {
                expect(byte, b'\r', "a chunk is longer than its size says")?;
                State::DataLineFeed
            }
            State::DataLineFeed => {
                expect(byte, b'\n', "a chunk ends with CR LF")?;
                State::Size
            }
            State::TrailerStart if byte == b'\r' => State::EndLineFeed,
            State::TrailerStart if !is_token(byte) => return Err(ChunkFault("a trailer has no name")),
            State::TrailerStart | State::Trailer => self.trailer(byte)?,
            State::TrailerLineFeed => {
                expect(byte, b'\n', "a trailer ends with CR LF")?;
                State::TrailerStart
            }
            State::EndLineFeed => {
                expect(byte, b'\n', "a chunked body ends with CR LF")?;
                State::Done
            }
            State::Data | State::Done => return Err(ChunkFault("a chunked body goes on behind its end")),
        };
        Ok(())
    }

    fn size(&mut self, byte: u8) -> Result<State, ChunkFault> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b';' if self.digits > 0 => return Ok(State::Extension),
            b'\r' if self.digits > 0 => return Ok(State::SizeLineFeed),
            _ => return Err(ChunkFault("a chunk's size is not a plain hexadecimal number")),
        };
        if self.digits == 0 {
            self.remaining = 0;
        }
        self.digits += 1;
        if self.digits > SIZE_DIGITS_MAX {
            return Err(ChunkFault("a chunk's size has too many digits"));
        }
        self.remaining = (self.remaining << 4) | u64::from(digit);
        Ok(State::Size)
    }

    fn extension(&mut self, byte: u8) -> Result<State, ChunkFault> {
        self.extension_bytes += 1;
        match byte {
            b'\r' => Ok(State::SizeLineFeed),
            _ if self.extension_bytes > EXTENSION_BYTES_MAX + self.content_bytes / 8 => {
                Err(ChunkFault("chunk extensions are too large"))
            }
            b'\t' | b' '..=b'~' => Ok(State::Extension),
            _ => Err(ChunkFault("a chunk extension has a byte that is not allowed")),
        }
    }

    fn trailer(&mut self, byte: u8) -> Result<State, ChunkFault> {
        self.trailer_bytes += 1;
        match byte {
            b'\r' => Ok(State::TrailerLineFeed),
            _ if self.trailer_bytes > TRAILER_BYTES_MAX => Err(ChunkFault("trailers are larger than 8 KiB")),
            b'\t' | b' '..=b'~' | 0x80..=0xff => Ok(State::Trailer),
            _ => Err(ChunkFault("a trailer has a byte that is not allowed")),
        }
    }
}

fn expect(byte: u8, wanted: u8, otherwise: &'static str) -> Result<(), ChunkFault> {
    if byte == wanted { Ok(()) } else { Err(ChunkFault(otherwise)) }
}

/// Whether a byte may be in a token (RFC 9110, 5.6.2), such as a header's name.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], piece: usize) -> Result<(Vec<u8>, usize), ChunkFault> {
        let (mut reader, mut body, mut used) = (Chunked::default(), Vec::new(), 0);
        for part in text.chunks(piece) {
            let mut at = 0;
            loop {
                match reader.step(part, &mut at)? {
                    Step::Data(range) => body.extend_from_slice(&part[range]),
                    Step::More => break,
                    Step::Done => return Ok((body, used + at)),
                }
            }
            used += part.len();
        }
        Err(ChunkFault("cut"))
    }

    #[test]
    fn a_body_is_the_same_however_it_arrives() {
        let text = b"4\r\nWiki\r\n6;a=b\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nX-Sum: 1\r\n\r\nGET /";
        for piece in 1..text.len() {
            let (body, used) = read(text, piece).unwrap();
            assert_eq!(body, b"Wikipedia in \r\n\r\nchunks.");
            assert_eq!(&text[used..], b"GET /");
        }
    }

    #[test]
    fn g4_broken_chunks_are_refused() {
        let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(1 << 20));
        let broken: [&[u8]; 14] = [
            b"0_2e\r\n",
            b"+1\r\na\r\n0\r\n\r\n",
            b"0x1\r\na\r\n0\r\n\r\n",
            b"1\na\n0\n\n",
            b"1\r\na\n0\r\n\r\n",
            b"1;a\rb\r\na\r\n0\r\n\r\n",
            b"1\r\nab\r\n0\r\n\r\n",
            b"\r\n",
            b" 1\r\na\r\n",
            b"1 \r\na\r\n",
            b"-1\r\n",
            b"ffffffffffffffff\r\n",
            b"0\r\n: x\r\n\r\n",
            long.as_bytes(),
        ];
        for text in broken {
            let error = read(text, text.len()).unwrap_err();
            assert_ne!(
                error,
                ChunkFault("cut"),
                "{:?}",
                String::from_utf8_lossy(&text[..text.len().min(40)])
            );
            assert_eq!(read(text, 1).unwrap_err(), error);
        }
    }
}
