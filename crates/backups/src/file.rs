//! The file of a backup.
//!
//! ```text
//! 8 bytes   "SYBACK1\n"
//! 4 bytes   length of the header, big endian
//! header    JSON: id, time, version, scope; not secret
//! frames    1 byte kind (0 data, 1 trailer), 4 bytes length, envelope
//! 4 bytes   length of the trailer's envelope, so that it can be found from the end
//! ```
//!
//! Each envelope is bound to the SHA-256 of the header, its number and its kind: chunks cannot be swapped, left out,
//! or moved between backups, the header cannot be edited, and without the trailer, which comes last, nothing counts. Data is what
//! the store exported, in chunks of [`CHUNK_BYTES`]; the trailer holds counts and hashes.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use base::{BackupId, Timestamp};
use db::ExportReport;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use vault::{DataKey, ENVELOPE_OVERHEAD_BYTES, aad};

use crate::model::{Scope, TableRows};

/// Bytes of the export in one envelope: large enough that sealing costs little, small enough to hold in memory.
pub const CHUNK_BYTES: usize = 1024 * 1024;

/// Bytes of a trailer: some 10,000 tables.
const TRAILER_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of a header.
const HEADER_BYTES_MAX: usize = 4 * 1024;

const MAGIC: &[u8; 8] = b"SYBACK1\n";
const DATA: u8 = 0;
const TRAILER: u8 = 1;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refuses.
    #[error("read the backup")]
    Io(#[from] io::Error),
    /// It does not begin like one.
    #[error("this is no backup of Switchyard")]
    Foreign,
    /// It is cut short, altered, or put together from several.
    #[error("the backup is damaged: {0}")]
    Damaged(&'static str),
    /// It was made under another master key.
    #[error(
        "the backup was made under another master key: put that key at <data-dir>/master.key, or set SWITCHYARD_MASTER_KEY"
    )]
    OtherKey,
}

/// The first part of the file. Not secret, but authenticated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) id: BackupId,
    pub(crate) at: Timestamp,
    pub(crate) scope: Scope,
    pub(crate) version: String,
}

/// The last part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trailer {
    pub(crate) completed_at: Timestamp,
    /// Chunks of data before it.
    pub(crate) chunks: u64,
    /// Bytes of data before it, as the store wrote them.
    pub(crate) bytes: u64,
    pub(crate) tables: Vec<TableRows>,
    /// SHA-256 over the rows of each table, in the same order, in hex.
    pub(crate) sums: Vec<String>,
    /// SHA-256 over all, in hex.
    pub(crate) sum: String,
}

impl Trailer {
    pub(crate) fn of(report: &ExportReport, completed_at: Timestamp) -> Trailer {
        let tables =
            report.tables.iter().map(|table| TableRows { table: table.table.clone(), rows: table.rows });
        Trailer {
            completed_at,
            chunks: 0,
            bytes: 0,
            tables: tables.collect(),
            sums: report.tables.iter().map(|table| hex(&table.sha256)).collect(),
            sum: hex(&report.sha256),
        }
    }

    pub(crate) fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    /// Whether an import brought in exactly what was exported.
    pub(crate) fn agrees(&self, report: &ExportReport) -> bool {
        let other = Trailer::of(report, self.completed_at);
        (&self.tables, &self.sums, &self.sum) == (&other.tables, &other.sums, &other.sum)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What every envelope of one backup is bound to besides its own place.
#[derive(Clone)]
struct Binding {
    key: DataKey,
    header_sum: Vec<u8>,
}

impl Binding {
    fn new(key: DataKey, header: &[u8]) -> Binding {
        Binding { key, header_sum: digest(&SHA256, header).as_ref().to_vec() }
    }

    fn aad(&self, number: u64, kind: u8) -> Vec<u8> {
        aad(&[b"backup", &self.header_sum, &number.to_be_bytes(), &[kind]])
    }

    fn open(&self, number: u64, kind: u8, envelope: &[u8]) -> Result<Vec<u8>, FileError> {
        self.key.open(&self.aad(number, kind), envelope).map_err(|error| match error {
            vault::Error::WrongKey => FileError::OtherKey,
            _ => FileError::Damaged("a part of it was altered or moved"),
        })
    }
}

/// Seals what is written to it, in chunks.
pub(crate) struct Sealer<W> {
    sink: W,
    binding: Binding,
    buffer: Vec<u8>,
    chunks: u64,
    bytes: u64,
}

impl<W: Write> Sealer<W> {
    /// Writes the header.
    pub(crate) fn begin(mut sink: W, key: DataKey, header: &Header) -> io::Result<Sealer<W>> {
        let header = serde_json::to_vec(header)?;
        sink.write_all(MAGIC)?;
        sink.write_all(&length(header.len())?)?;
        sink.write_all(&header)?;
        let binding = Binding::new(key, &header);
        Ok(Sealer { sink, binding, buffer: Vec::with_capacity(CHUNK_BYTES), chunks: 0, bytes: 0 })
    }

    /// Writes what is left, and the trailer with its counts. Gives the sink back; syncing it is the caller's.
    pub(crate) fn finish(mut self, trailer: Trailer) -> io::Result<(W, Trailer)> {
        if !self.buffer.is_empty() {
            self.seal_chunk()?;
        }
        let trailer = Trailer { chunks: self.chunks, bytes: self.bytes, ..trailer };
        let envelope = self.seal(TRAILER, &serde_json::to_vec(&trailer)?)?;
        self.sink.write_all(&length(envelope)?)?;
        self.sink.flush()?;
        Ok((self.sink, trailer))
    }

    fn seal_chunk(&mut self) -> io::Result<()> {
        let chunk = std::mem::take(&mut self.buffer);
        self.seal(DATA, &chunk)?;
        self.chunks += 1;
        self.bytes += chunk.len() as u64;
        self.buffer = chunk;
        self.buffer.clear();
        Ok(())
    }

    /// Writes a frame; returns the length of its envelope.
    fn seal(&mut self, kind: u8, plaintext: &[u8]) -> io::Result<usize> {
        let aad = self.binding.aad(self.chunks, kind);
        let envelope = self.binding.key.seal(&aad, plaintext).map_err(io::Error::other)?;
        self.sink.write_all(&[kind])?;
        self.sink.write_all(&length(envelope.len())?)?;
        self.sink.write_all(&envelope)?;
        Ok(envelope.len())
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == CHUNK_BYTES {
            self.seal_chunk()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        // A chunk is sealed when it is full; a part of one would cost an envelope each time.
        Ok(())
    }
}

fn length(bytes: usize) -> io::Result<[u8; 4]> {
    u32::try_from(bytes).map(u32::to_be_bytes).map_err(io::Error::other)
}

/// Reads a file from its beginning, and believes nothing before it was opened.
pub(crate) struct Opener<R> {
    source: R,
    binding: Binding,
    pub(crate) header: Header,
    chunk: Vec<u8>,
    read: usize,
    chunks: u64,
    bytes: u64,
    trailer: Option<Trailer>,
}

impl<R: Read> Opener<R> {
    pub(crate) fn begin(mut source: R, key: DataKey) -> Result<Opener<R>, FileError> {
        let (header, text) = read_header(&mut source)?;
        let binding = Binding::new(key, &text);
        Ok(Opener { source, binding, header, chunk: Vec::new(), read: 0, chunks: 0, bytes: 0, trailer: None })
    }

    /// Reads on to the end; the file is whole if this succeeds.
    pub(crate) fn check(mut self) -> Result<(Header, Trailer), FileError> {
        loop {
            if let Some(trailer) = self.trailer.take() {
                return Ok((self.header, trailer));
            }
            self.next_frame()?;
        }
    }

    /// Opens the next chunk, or the trailer and the end of the file.
    fn next_frame(&mut self) -> Result<(), FileError> {
        let mut head = [0; 5];
        exactly(&mut self.source, &mut head)?;
        let [kind, length @ ..] = head;
        let plain_max = match kind {
            DATA => CHUNK_BYTES,
            TRAILER => TRAILER_BYTES_MAX,
            _ => return Err(FileError::Damaged("a part of it is of no known kind")),
        };
        let length = u32::from_be_bytes(length) as usize;
        if length > plain_max + ENVELOPE_OVERHEAD_BYTES {
            return Err(FileError::Damaged("a part of it is too long"));
        }
        let mut envelope = vec![0; length];
        exactly(&mut self.source, &mut envelope)?;
        let plaintext = self.binding.open(self.chunks, kind, &envelope)?;
        if kind == DATA {
            self.chunks += 1;
            self.bytes += plaintext.len() as u64;
            (self.chunk, self.read) = (plaintext, 0);
            return Ok(());
        }
        let mut end = Vec::new();
        Read::by_ref(&mut self.source).take(5).read_to_end(&mut end)?;
        if end != (length as u32).to_be_bytes() {
            return Err(FileError::Damaged("its end is not where it should be"));
        }
        let trailer = parse_trailer(&plaintext)?;
        if (trailer.chunks, trailer.bytes) != (self.chunks, self.bytes) {
            return Err(FileError::Damaged("its parts are not those that its end counts"));
        }
        self.trailer = Some(trailer);
        Ok(())
    }
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.chunk.len() {
            if self.trailer.is_some() {
                return Ok(0);
            }
            self.next_frame().map_err(|error| match error {
                FileError::Io(error) => error,
                other => io::Error::new(io::ErrorKind::InvalidData, other),
            })?;
        }
        let count = buffer.len().min(self.chunk.len() - self.read);
        buffer[..count].copy_from_slice(&self.chunk[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }
}

/// Header and trailer without what is between: for lists. Says that the file is complete, not that it is undamaged.
pub(crate) fn peek(path: &Path, key: &DataKey) -> Result<(Header, Trailer), FileError> {
    let mut file = File::open(path)?;
    let (header, text) = read_header(&mut BufReader::new(&mut file))?;
    let cut = FileError::Damaged("it is cut short");
    let bytes = file.metadata()?.len();
    let Some(end) = bytes.checked_sub(4) else { return Err(cut) };
    file.seek(SeekFrom::Start(end))?;
    let mut length = [0; 4];
    exactly(&mut file, &mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    let begin =
        end.checked_sub(length as u64).filter(|_| length <= TRAILER_BYTES_MAX + ENVELOPE_OVERHEAD_BYTES);
    let Some(begin) = begin else { return Err(cut) };
    file.seek(SeekFrom::Start(begin))?;
    let mut envelope = vec![0; length];
    exactly(&mut file, &mut envelope)?;
    // The trailer's number is that of chunks before it, which follows from the length: all but the last are full.
    let frame = (CHUNK_BYTES + ENVELOPE_OVERHEAD_BYTES + 5) as u64;
    let before = begin.saturating_sub(5 + (MAGIC.len() + 4 + text.len()) as u64);
    let plaintext = Binding::new(key.clone(), &text).open(before.div_ceil(frame), TRAILER, &envelope)?;
    Ok((header, parse_trailer(&plaintext)?))
}

fn parse_trailer(text: &[u8]) -> Result<Trailer, FileError> {
    serde_json::from_slice(text).map_err(|_| FileError::Damaged("its end cannot be read"))
}

/// The header, parsed and as it stands.
fn read_header(source: &mut impl Read) -> Result<(Header, Vec<u8>), FileError> {
    let mut magic = [0; 8];
    source.read_exact(&mut magic).map_err(|_| FileError::Foreign)?;
    if &magic != MAGIC {
        return Err(FileError::Foreign);
    }
    let mut length = [0; 4];
    exactly(source, &mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > HEADER_BYTES_MAX {
        return Err(FileError::Damaged("its header is too long"));
    }
    let mut text = vec![0; length];
    exactly(source, &mut text)?;
    let header =
        serde_json::from_slice(&text).map_err(|_| FileError::Damaged("its header cannot be read"))?;
    Ok((header, text))
}

fn exactly(source: &mut impl Read, buffer: &mut [u8]) -> Result<(), FileError> {
    source.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => FileError::Damaged("it is cut short"),
        _ => FileError::Io(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{ManualClock, SeededRandom, SystemRandom};
    use vault::{MasterKey, Vault};

    fn key(master: &str) -> DataKey {
        let master = MasterKey::parse(master, "the test").expect("a strong key");
        Vault::new(master, SystemRandom::shared()).derive_key("backups").expect("the vault is open")
    }

    const MASTER: &str = "3b8d1f60c7a94e52d80b6cf9315ea7244f9c02b6e8d7153a90ce46fb72a81d35";
    const OTHER: &str = "c1f4a87e20d95b36ef03718a9d642cb57b1e90d4a3685fc2084de7b61f3a95c8";

    fn header(seed: u64) -> Header {
        let now = Timestamp::from_micros(1_795_176_000_000_000);
        let id = BackupId::new(&ManualClock::new(now), &SeededRandom::new(seed));
        Header { id, at: now, scope: Scope::Store, version: "0.1.0".to_owned() }
    }

    fn trailer() -> Trailer {
        Trailer::of(&ExportReport { tables: Vec::new(), sha256: [7; 32], bytes: 9 }, header(0).at)
    }

    /// Two full chunks and a part of one.
    fn data() -> Vec<u8> {
        (0..CHUNK_BYTES * 5 / 2).map(|at| (at * 31 % 251) as u8).collect()
    }

    fn sealed(seed: u64, data: &[u8]) -> Vec<u8> {
        let mut sealer = Sealer::begin(Vec::new(), key(MASTER), &header(seed)).expect("memory takes all");
        sealer.write_all(data).expect("memory takes all");
        sealer.finish(trailer()).expect("memory takes all").0
    }

    fn check(file: &[u8]) -> Result<(Header, Trailer), FileError> {
        Opener::begin(file, key(MASTER))?.check()
    }

    /// Where each frame begins.
    fn frames(file: &[u8]) -> Vec<usize> {
        let mut at = 12 + u32::from_be_bytes(file[8..12].try_into().expect("four bytes")) as usize;
        let mut frames = Vec::new();
        while at + 5 < file.len() {
            frames.push(at);
            at += 5 + u32::from_be_bytes(file[at + 1..at + 5].try_into().expect("four bytes")) as usize;
        }
        frames
    }

    #[test]
    fn what_was_written_is_read() {
        for size in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, CHUNK_BYTES * 5 / 2] {
            let file = sealed(1, &data()[..size]);
            let (found, end) = check(&file).expect("it is whole");
            assert_eq!((found, end.bytes), (header(1), size as u64));
            let mut read = Vec::new();
            let mut opener = Opener::begin(&file[..], key(MASTER)).expect("it is whole");
            opener.read_to_end(&mut read).expect("it is whole");
            assert!(read == data()[..size], "{size} bytes");
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("file");
            std::fs::write(&path, &file).expect("the folder is ours");
            assert_eq!(peek(&path, &key(MASTER)).expect("it is whole"), (header(1), end));
        }
    }

    #[test]
    fn b2_every_cut_is_refused() {
        let file = sealed(1, &data());
        let ends = frames(&file).into_iter().chain([0, 7, 8, 11, 12, 20, file.len() - 1, file.len() - 4]);
        for end in ends.flat_map(|end| [end.saturating_sub(1), end, end + 1, end + 5]) {
            assert!(end >= file.len() || check(&file[..end]).is_err(), "cut at {end}");
        }
        assert!(check(&[&file[..], b"x"].concat()).is_err(), "something follows");
    }

    #[test]
    fn b2_every_flip_is_refused() {
        let file = sealed(1, b"a short one");
        for at in 0..file.len() {
            let mut flipped = file.clone();
            flipped[at] ^= 0x20;
            assert!(check(&flipped).is_err(), "flipped at {at}");
        }
    }

    #[test]
    fn b2_chunks_cannot_be_moved() {
        let file = sealed(1, &data());
        let frames = frames(&file);
        let (one, two, three, end) = (frames[0], frames[1], frames[2], frames[3]);
        let swapped = [&file[..one], &file[two..three], &file[one..two], &file[three..]].concat();
        assert!(matches!(check(&swapped), Err(FileError::Damaged(_))));
        let left_out = [&file[..two], &file[three..]].concat();
        assert!(matches!(check(&left_out), Err(FileError::Damaged(_))));
        let early_end = [&file[..three], &file[end..]].concat();
        assert!(matches!(check(&early_end), Err(FileError::Damaged(_))));
        let other = sealed(2, &data());
        assert_eq!(other.len(), file.len());
        let foreign = [&file[..two], &other[two..three], &file[three..]].concat();
        assert!(matches!(check(&foreign), Err(FileError::Damaged(_))), "a chunk of another backup");
        let replayed = [&file[..end], &other[end..]].concat();
        assert!(matches!(check(&replayed), Err(FileError::Damaged(_))), "the end of another backup");
        let renamed = [&other[..one], &file[one..]].concat();
        assert!(matches!(check(&renamed), Err(FileError::Damaged(_))), "the header of another backup");
    }

    #[test]
    fn b3_another_key_opens_nothing_and_no_plaintext_is_there() {
        let file = sealed(1, b"canary-7c1e canary-7c1e");
        let opened = Opener::begin(&file[..], key(OTHER)).expect("the header is not secret").check();
        assert!(matches!(opened, Err(FileError::OtherKey)));
        assert!(!file.windows(11).any(|bytes| bytes == b"canary-7c1e"));
        let master: Vec<u8> =
            (0..32).map(|at| u8::from_str_radix(&MASTER[2 * at..2 * at + 2], 16).expect("hex")).collect();
        assert!(!file.windows(32).any(|bytes| bytes == master));
    }

    /// Takes so many bytes, then none.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn f38_a_full_disk_is_an_error_wherever_it_comes() {
        let whole = sealed(1, &data()).len();
        for step in 0..20 {
            let write = || {
                let mut sealer = Sealer::begin(Full(whole * step / 20), key(MASTER), &header(1))?;
                sealer.write_all(&data())?;
                sealer.finish(trailer()).map(drop)
            };
            assert_eq!(write().map_err(|error| error.kind()), Err(io::ErrorKind::StorageFull), "step {step}");
        }
    }
}
