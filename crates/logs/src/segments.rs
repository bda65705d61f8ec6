//! Files under `<data-dir>/logs`, and what is known of each without opening it.
//!
//! ```text
//! 0000000007-00001763650000000000-00001763653600000000.jsonl.zst   sealed: number, first and last time in µs
//! 0000000008.open.jsonl                                            open: lines are appended
//! ```
//!
//! Numbers only grow. A crash leaves the open file; the next start cuts what is no whole line and goes on in it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base::Timestamp;
use parking_lot::{Mutex, RwLock};

/// Bytes that are read of one segment at most: sixteen times its size by default. More is no segment of ours.
const RAW_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// zstd's level: 1 makes two million requests some 50 MiB.
const ZSTD_LEVEL: i32 = 1;

const OPEN_SUFFIX: &str = ".open.jsonl";
const SEALED_SUFFIX: &str = ".jsonl.zst";
const DRAFT_SUFFIX: &str = ".draft";

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    path: PathBuf,
    sealed: bool,
    /// The earliest and latest time of its records.
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    /// Bytes on disk; of an open one those that are whole lines.
    pub(crate) bytes: u64,
}

/// All files. The writer changes it, searches read it.
#[derive(Debug)]
pub(crate) struct Catalog {
    folder: PathBuf,
    loaded: Mutex<bool>,
    segments: RwLock<BTreeMap<u64, Segment>>,
}

/// The file that is written. Only the writer has one.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub(crate) number: u64,
    file: File,
    pub(crate) bytes: u64,
}

impl Catalog {
    /// Knows nothing before [`Catalog::load`].
    pub(crate) fn new(folder: PathBuf) -> Catalog {
        Catalog { folder, loaded: Mutex::default(), segments: RwLock::default() }
    }

    /// The first time that it succeeds: reads the folder, makes it when missing, cuts half lines of open files,
    /// removes drafts. Afterwards does nothing.
    pub(crate) fn load(&self) -> io::Result<()> {
        let mut loaded = self.loaded.lock();
        if *loaded {
            return Ok(());
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name.ends_with(DRAFT_SUFFIX) {
                fs::remove_file(&path)?;
            } else if let Some(segment) = sealed_of(name, &path)? {
                found.insert(segment.number, segment);
            } else if let Some(number) = name.strip_suffix(OPEN_SUFFIX).and_then(|number| number.parse().ok())
            {
                // Sealing may have been cut between its last two steps: then the sealed one, whole, counts.
                let segment = recovered(number, &path)?;
                found.entry(number).or_insert(segment);
            }
        }
        *self.segments.write() = found;
        *loaded = true;
        Ok(())
    }

    /// As they are now, the newest first.
    pub(crate) fn newest_first(&self) -> Vec<Segment> {
        self.segments.read().values().rev().cloned().collect()
    }

    /// Bytes on disk of all.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.read().values().map(|segment| segment.bytes).sum()
    }

    /// The whole lines of a segment, uncompressed; `None` when it is gone meanwhile.
    pub(crate) fn read(&self, number: u64) -> io::Result<Option<Vec<u8>>> {
        // Sealing renames; who looked just before looks once more.
        for _ in 0..2 {
            let Some(segment) = self.segments.read().get(&number).cloned() else { return Ok(None) };
            match read_lines(&segment) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                read => return read.map(Some),
            }
        }
        Ok(None)
    }

    /// The last file, if it is open and has room, else a new one.
    pub(crate) fn open(&self, segment_bytes: u64, now: Timestamp) -> io::Result<OpenSegment> {
        let last = self.segments.read().values().next_back().cloned();
        let (number, path, bytes) = match last {
            Some(last) if !last.sealed && last.bytes < segment_bytes => (last.number, last.path, last.bytes),
            last => {
                let number = last.map_or(1, |last| last.number + 1);
                (number, self.folder.join(format!("{number:010}{OPEN_SUFFIX}")), 0)
            }
        };
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        if file.metadata()?.len() != bytes {
            file.set_len(bytes)?;
        }
        let fresh = Segment { number, path, sealed: false, first: now, last: now, bytes };
        self.segments.write().entry(number).or_insert(fresh);
        Ok(OpenSegment { number, file, bytes })
    }

    /// Appends whole lines whose times lie in `first..=last`. After an error the file holds what it held before, or is
    /// to be opened again.
    pub(crate) fn append(
        &self,
        open: &mut OpenSegment,
        lines: &[u8],
        first: Timestamp,
        last: Timestamp,
    ) -> io::Result<()> {
        if let Err(error) = open.file.write_all(lines) {
            // Half a batch would end in half a line. If that fails too, opening the file again cuts it.
            let _ = open.file.set_len(open.bytes);
            return Err(error);
        }
        let empty = open.bytes == 0;
        open.bytes += lines.len() as u64;
        if let Some(segment) = self.segments.write().get_mut(&open.number) {
            segment.first = if empty { first } else { segment.first.min(first) };
            segment.last = if empty { last } else { segment.last.max(last) };
            segment.bytes = open.bytes;
        }
        Ok(())
    }

    /// Compresses every open file but `except`. Each becomes sealed or stays as it was.
    pub(crate) fn seal(&self, except: Option<u64>) -> io::Result<()> {
        let open: Vec<Segment> = {
            let segments = self.segments.read();
            segments
                .values()
                .filter(|segment| !segment.sealed && Some(segment.number) != except)
                .cloned()
                .collect()
        };
        for segment in open {
            let (first, last) = (segment.first.micros().max(0), segment.last.micros().max(0));
            let sealed =
                self.folder.join(format!("{:010}-{first:020}-{last:020}{SEALED_SUFFIX}", segment.number));
            let bytes = compress(&segment, &sealed)?;
            let old = segment.path.clone();
            let segment = Segment { path: sealed, sealed: true, bytes, ..segment };
            self.segments.write().insert(segment.number, segment);
            fs::remove_file(old)?;
        }
        Ok(())
    }

    /// Removes the oldest until all are younger than `oldest` and together at most `bytes_max`; never `except`.
    pub(crate) fn retain(&self, oldest: Timestamp, bytes_max: u64, except: Option<u64>) -> io::Result<()> {
        loop {
            let total = self.bytes();
            let first = self.segments.read().values().next().cloned();
            let Some(segment) = first.filter(|segment| Some(segment.number) != except) else { return Ok(()) };
            if segment.last >= oldest && total <= bytes_max {
                return Ok(());
            }
            match fs::remove_file(&segment.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.segments.write().remove(&segment.number),
            };
        }
    }
}

impl OpenSegment {
    /// Brings it to disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn sealed_of(name: &str, path: &Path) -> io::Result<Option<Segment>> {
    let Some(parts) = name.strip_suffix(SEALED_SUFFIX) else { return Ok(None) };
    let mut parts = parts.split('-').map(str::parse::<i64>);
    let (Some(Ok(number)), Some(Ok(first)), Some(Ok(last)), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Ok(None);
    };
    let Ok(number) = u64::try_from(number) else { return Ok(None) };
    let (first, last) = (Timestamp::from_micros(first), Timestamp::from_micros(last));
    let bytes = fs::metadata(path)?.len();
    Ok(Some(Segment { number, path: path.to_owned(), sealed: true, first, last, bytes }))
}

/// An open file after a crash: its whole lines, and their times.
fn recovered(number: u64, path: &Path) -> io::Result<Segment> {
    let mut lines = Vec::new();
    File::open(path)?.take(RAW_BYTES_MAX).read_to_end(&mut lines)?;
    let whole = memchr::memrchr(b'\n', &lines).map_or(0, |at| at + 1);
    if whole < lines.len() {
        OpenOptions::new().write(true).open(path)?.set_len(whole as u64)?;
    }
    let mut times = lines[..whole].split(|byte| *byte == b'\n').filter_map(line_time);
    let start = times.next().unwrap_or(Timestamp::from_micros(0));
    let (first, last) = times.fold((start, start), |(first, last), at| (first.min(at), last.max(at)));
    Ok(Segment { number, path: path.to_owned(), sealed: false, first, last, bytes: whole as u64 })
}

/// The time of a stored line, which begins with it.
fn line_time(line: &[u8]) -> Option<Timestamp> {
    let rest = line.strip_prefix(br#"{"at":""#)?;
    let end = memchr::memchr(b'"', rest)?;
    Timestamp::parse(std::str::from_utf8(&rest[..end]).ok()?).ok()
}

fn read_lines(segment: &Segment) -> io::Result<Vec<u8>> {
    let file = File::open(&segment.path)?;
    let mut lines = Vec::new();
    if segment.sealed {
        zstd::Decoder::new(file)?.take(RAW_BYTES_MAX).read_to_end(&mut lines)?;
    } else {
        lines.reserve(usize::try_from(segment.bytes.min(RAW_BYTES_MAX)).unwrap_or_default());
        file.take(segment.bytes.min(RAW_BYTES_MAX)).read_to_end(&mut lines)?;
    }
    Ok(lines)
}

/// Writes the compressed form under its name, whole or not at all. Returns its size.
fn compress(segment: &Segment, sealed: &Path) -> io::Result<u64> {
    let mut draft = sealed.as_os_str().to_owned();
    draft.push(DRAFT_SUFFIX);
    let draft = PathBuf::from(draft);
    let write = || {
        let lines = File::open(&segment.path)?.take(segment.bytes);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        zstd::stream::copy_encode(lines, &mut file, ZSTD_LEVEL)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        fs::rename(&draft, sealed)?;
        Ok(bytes)
    };
    let written = write();
    if written.is_err() {
        // What stays behind is removed at the next start.
        let _ = fs::remove_file(&draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn line(second: i64) -> String {
        format!("{{\"at\":\"{}\",\"n\":{second}}}\n", at(second))
    }

    fn loaded(folder: &Path) -> Catalog {
        let catalog = Catalog::new(folder.join("logs"));
        catalog.load().expect("the folder is ours");
        catalog
    }

    fn text(catalog: &Catalog, number: u64) -> Option<String> {
        catalog.read(number).expect("readable").map(|lines| String::from_utf8(lines).expect("UTF-8"))
    }

    #[test]
    fn a_segment_is_written_sealed_and_found_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let catalog = loaded(folder.path());
        let mut open = catalog.open(100, at(5)).expect("the folder is ours");
        catalog.append(&mut open, (line(9) + &line(7)).as_bytes(), at(7), at(9)).expect("there is room");
        assert_eq!(text(&catalog, 1), Some(line(9) + &line(7)));
        catalog.seal(None).expect("there is room");
        let again = loaded(folder.path());
        assert_eq!(again.newest_first(), catalog.newest_first());
        let segment = &again.newest_first()[0];
        assert_eq!((segment.number, segment.first, segment.last, segment.sealed), (1, at(7), at(9), true));
        assert_eq!(text(&again, 1), Some(line(9) + &line(7)));
        assert_eq!(again.open(100, at(10)).expect("the folder is ours").number, 2);
        assert_eq!(text(&again, 3), None);
    }

    #[test]
    fn a_crash_leaves_whole_lines() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let catalog = loaded(folder.path());
        let mut open = catalog.open(1_000, at(1)).expect("the folder is ours");
        catalog.append(&mut open, (line(3) + &line(2)).as_bytes(), at(2), at(3)).expect("there is room");
        open.file.write_all(b"{\"at\":\"half").expect("there is room");
        fs::write(folder.path().join("logs/9.draft"), "x").expect("the folder is ours");
        let again = loaded(folder.path());
        let segment = &again.newest_first()[0];
        assert_eq!((segment.first, segment.last, again.newest_first().len()), (at(2), at(3), 1));
        let mut open = again.open(1_000, at(4)).expect("the folder is ours");
        again.append(&mut open, line(4).as_bytes(), at(4), at(4)).expect("there is room");
        assert_eq!(text(&again, 1), Some(line(3) + &line(2) + &line(4)));
        assert!(!folder.path().join("logs/9.draft").exists());
    }

    #[test]
    fn sealing_cut_in_the_middle_counts_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let catalog = loaded(folder.path());
        let mut open = catalog.open(1_000, at(1)).expect("the folder is ours");
        catalog.append(&mut open, line(1).as_bytes(), at(1), at(1)).expect("there is room");
        let left = catalog.newest_first()[0].path.clone();
        let copy = fs::read(&left).expect("readable");
        catalog.seal(None).expect("there is room");
        fs::write(&left, copy).expect("the folder is ours");
        let again = loaded(folder.path());
        assert_eq!(again.newest_first().len(), 1);
        assert_eq!(text(&again, 1), Some(line(1)));
    }

    #[test]
    fn the_oldest_go_first() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let catalog = loaded(folder.path());
        for second in 1..=4 {
            let mut open = catalog.open(1, at(second)).expect("the folder is ours");
            catalog
                .append(&mut open, line(second).as_bytes(), at(second), at(second))
                .expect("there is room");
            catalog.seal(None).expect("there is room");
        }
        let numbers = || catalog.newest_first().iter().map(|segment| segment.number).collect::<Vec<_>>();
        catalog.retain(at(2), u64::MAX, None).expect("the folder is ours");
        assert_eq!(numbers(), [4, 3, 2]);
        let two = catalog.newest_first().iter().take(2).map(|segment| segment.bytes).sum();
        catalog.retain(at(0), two, None).expect("the folder is ours");
        assert_eq!(numbers(), [4, 3]);
        catalog.retain(at(9), 0, Some(4)).expect("the folder is ours");
        assert_eq!(numbers(), [4]);
    }
}
