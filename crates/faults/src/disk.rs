//! What is wrong with the disk at the moment, and what a power cut would take back.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use libsqlite3_sys as ffi;
use parking_lot::Mutex;

use crate::vfs;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The database.
    Db,
    /// Its write-ahead log.
    Wal,
    /// Everything that SQLite makes for itself: statement journals, sorted runs.
    Temp,
}

/// A disk under test. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Disk {
    name: &'static str,
    state: Arc<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State(Mutex<Faults>);

#[derive(Debug, Default)]
struct Faults {
    full: HashSet<Class>,
    fail_sync: HashSet<Class>,
    sync_takes: Duration,
    /// Syncs are counted and not passed on.
    syncs_end_here: bool,
    read_only: bool,
    without_power: bool,
    /// Writes until the power goes by itself.
    power_for: Option<u64>,
    unsynced: HashMap<PathBuf, Vec<Change>>,
    writes: u64,
    syncs: u64,
}

/// One operation on a file that no sync has covered yet.
#[derive(Debug)]
pub(crate) enum Change {
    Write {
        offset: u64,
        /// What was there, as far as the file reached.
        old: Vec<u8>,
        new: Vec<u8>,
        old_size: u64,
    },
    Truncate {
        /// What was cut off.
        old: Vec<u8>,
        old_size: u64,
        new_size: u64,
    },
}

impl Disk {
    /// Registers a new layer over the system's; its name is [`Disk::vfs`].
    ///
    /// # Errors
    /// When SQLite refuses, with its code.
    pub fn install() -> Result<Self, i32> {
        let state = Arc::new(State::default());
        let name = vfs::register(state.clone())?;
        Ok(Self { name, state })
    }

    /// The name to open a database with.
    #[must_use]
    pub fn vfs(&self) -> &'static str {
        self.name
    }

    /// The next sync of a file of this class answers EIO, once. What it should have synced stays unsynced.
    pub fn fail_sync_once(&self, class: Class) {
        self.state.0.lock().fail_sync.insert(class);
    }

    /// From now on no file of this class can grow or change (ENOSPC); or again it can.
    pub fn set_full(&self, class: Class, full: bool) {
        let mut faults = self.state.0.lock();
        if full {
            faults.full.insert(class)
        } else {
            faults.full.remove(&class)
        };
    }

    /// From now on each sync takes at least this long.
    pub fn set_sync_time(&self, takes: Duration) {
        self.state.0.lock().sync_takes = takes;
    }

    /// From now on no file can be changed, made or removed (EROFS); or again it can.
    pub fn set_read_only(&self, read_only: bool) {
        self.state.0.lock().read_only = read_only;
    }

    /// From now on everything that changes a file or reads it fails.
    pub fn cut_power(&self) {
        self.state.0.lock().without_power = true;
    }

    /// Cuts the power after this many more writes.
    pub fn cut_power_after(&self, writes: u64) {
        self.state.0.lock().power_for = Some(writes);
    }

    /// Whether the power is gone.
    #[must_use]
    pub fn is_without_power(&self) -> bool {
        self.state.0.lock().without_power
    }

    /// Puts on the disk what a power cut leaves, and lets operations pass again. Call it once the database is closed.
    /// With a seed, a random choice of the unsynced sectors survives; without one, none. A failure that was ordered and did
    /// not come by is forgotten.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn restore_power(&self, seed: Option<u64>) -> io::Result<()> {
        let mut faults = self.state.0.lock();
        let mut dice = seed.map(Dice);
        let mut files: Vec<_> = std::mem::take(&mut faults.unsynced).into_iter().collect();
        files.sort_by(|(left, _), (right, _)| left.cmp(right));
        for (path, changes) in files {
            forget(&path, &changes, dice.as_mut())?;
        }
        faults.without_power = false;
        faults.power_for = None;
        faults.fail_sync.clear();
        Ok(())
    }

    /// Lets operations pass again with all that was written in place: what a killed process leaves on a machine that goes
    /// on. Call it once the database is closed.
    pub fn survive(&self) {
        let mut faults = self.state.0.lock();
        faults.unsynced.clear();
        faults.without_power = false;
        faults.power_for = None;
        faults.fail_sync.clear();
    }

    /// Everything as it was when the layer was made, but for the counts: for the next database on the same layer.
    pub fn reset(&self) {
        let mut faults = self.state.0.lock();
        *faults = Faults {
            syncs_end_here: faults.syncs_end_here,
            writes: faults.writes,
            syncs: faults.syncs,
            ..Faults::default()
        };
    }

    /// From now on syncs end in this layer. A power cut is as real as before, for it is made here; the thousands of
    /// syncs of a simulation cost nothing then.
    pub fn keep_syncs(&self) {
        self.state.0.lock().syncs_end_here = true;
    }

    /// Writes so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.state.0.lock().writes
    }

    /// Syncs so far that succeeded.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state.0.lock().syncs
    }
}

impl State {
    /// Whether a file may be read now.
    pub(crate) fn read(&self) -> i32 {
        if self.0.lock().without_power { ffi::SQLITE_IOERR_READ } else { ffi::SQLITE_OK }
    }

    /// Whether a file may be changed now; counts it as a write.
    pub(crate) fn write(&self, class: Class) -> i32 {
        let mut faults = self.0.lock();
        if let Some(left) = faults.power_for {
            faults.power_for = left.checked_sub(1);
            faults.without_power |= left == 0;
        }
        if faults.without_power {
            return ffi::SQLITE_IOERR_WRITE;
        }
        if faults.read_only {
            return ffi::SQLITE_READONLY;
        }
        if faults.full.contains(&class) {
            return ffi::SQLITE_FULL;
        }
        faults.writes += 1;
        ffi::SQLITE_OK
    }

    /// Whether a file may be made or removed now.
    pub(crate) fn make(&self) -> i32 {
        let faults = self.0.lock();
        match (faults.without_power, faults.read_only) {
            (true, _) => ffi::SQLITE_IOERR,
            (_, true) => ffi::SQLITE_READONLY,
            _ => ffi::SQLITE_OK,
        }
    }

    /// Whether a sync succeeds; waits as long as it takes.
    pub(crate) fn sync(&self, class: Class) -> i32 {
        let (takes, answer) = {
            let mut faults = self.0.lock();
            let failed = faults.without_power || faults.fail_sync.remove(&class);
            (faults.sync_takes, if failed { ffi::SQLITE_IOERR_FSYNC } else { ffi::SQLITE_OK })
        };
        if !takes.is_zero() {
            std::thread::sleep(takes);
        }
        answer
    }

    /// Whether a sync goes on to the system.
    pub(crate) fn syncs_for_real(&self) -> bool {
        !self.0.lock().syncs_end_here
    }

    /// Notes what a change overwrites.
    pub(crate) fn changed(&self, path: &Path, change: Change) {
        self.0.lock().unsynced.entry(path.to_path_buf()).or_default().push(change);
    }

    /// All of a file is on the disk.
    pub(crate) fn synced(&self, path: &Path) {
        let mut faults = self.0.lock();
        faults.syncs += 1;
        faults.unsynced.remove(path);
    }

    /// A file is gone, its changes with it.
    pub(crate) fn removed(&self, path: &Path) {
        self.0.lock().unsynced.remove(path);
    }
}

/// Takes changes back, then puts those sectors in again that the dice let survive.
fn forget(path: &Path, changes: &[Change], dice: Option<&mut Dice>) -> io::Result<()> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        // Removed meanwhile: there is nothing to take back.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for change in changes.iter().rev() {
        match change {
            Change::Write { offset, old, old_size, .. } => {
                file.write_all_at(old, *offset)?;
                file.set_len(*old_size)?;
            }
            Change::Truncate { old, old_size, new_size } => {
                file.set_len(*old_size)?;
                file.write_all_at(old, *new_size)?;
            }
        }
    }
    let Some(dice) = dice else { return file.sync_all() };
    for change in changes {
        match change {
            Change::Write { offset, new, .. } => survive(&file, *offset, new, dice)?,
            Change::Truncate { new_size, .. } if dice.coin() => file.set_len(*new_size)?,
            Change::Truncate { .. } => {}
        }
    }
    file.sync_all()
}

fn survive(file: &File, offset: u64, new: &[u8], dice: &mut Dice) -> io::Result<()> {
    // The first part ends where a sector of the disk does.
    let first = SECTOR_BYTES - (offset as usize % SECTOR_BYTES);
    let (mut at, mut rest) = (offset, new);
    let mut length = first;
    while !rest.is_empty() {
        let (sector, after) = rest.split_at(length.min(rest.len()));
        if dice.coin() {
            file.write_all_at(sector, at)?;
        }
        at += sector.len() as u64;
        rest = after;
        length = SECTOR_BYTES;
    }
    Ok(())
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn coin(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) & 1 == 1
    }
}
