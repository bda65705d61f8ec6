//! Where the master key comes from, and which ones are refused.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base::{Random, Secret};

use crate::KeyError;

/// Name of the key's file in the data folder.
pub const MASTER_KEY_FILE: &str = "master.key";

/// The environment variable that goes before the file.
pub const MASTER_KEY_VARIABLE: &str = "SWITCHYARD_MASTER_KEY";

/// Bytes read of the key file: 64 characters, a newline, and enough more to see that it is something else.
const FILE_BYTES_MAX: u64 = 256;

/// Distinct values that the 32 bytes must have. 32 random bytes have fewer than 16 once in 10^18.
const DISTINCT_BYTES_MIN: usize = 16;

/// Bytes in a row that may differ by the same step (0 is repetition, 1 counting). A random key has such a run of 8
/// once in 10^13.
const STEP_RUN_MAX: usize = 7;

/// The key that wraps all others. Prints as `[redacted]`, is wiped when dropped.
#[derive(Debug)]
pub struct MasterKey(Secret<[u8; 32]>);

impl MasterKey {
    /// The key of `SWITCHYARD_MASTER_KEY` (`env_value`), else of `<data_dir>/master.key`. Only when `first_start` says
    /// that there is no data yet, and there is neither, a new key is made from `random` and written with mode 0600.
    ///
    /// # Errors
    /// [`KeyError`]: the caller goes on with [`crate::Vault::sealed`] and its text.
    pub fn load(
        data_dir: &Path,
        env_value: Option<Secret<String>>,
        first_start: bool,
        random: &dyn Random,
    ) -> Result<MasterKey, KeyError> {
        if let Some(value) = env_value {
            return parse(value.expose(), MASTER_KEY_VARIABLE);
        }
        let path = data_dir.join(MASTER_KEY_FILE);
        match read(&path)? {
            Some(text) => parse(text.expose(), &path.display().to_string()),
            None if first_start => create(data_dir, &path, random),
            None => Err(KeyError::Missing { path }),
        }
    }

    /// A key from 64 hexadecimal characters, checked for strength. `place` is named in errors.
    ///
    /// # Errors
    /// [`KeyError::Malformed`], [`KeyError::Weak`].
    pub fn parse(text: &str, place: &str) -> Result<MasterKey, KeyError> {
        parse(text, place)
    }

    pub(crate) fn into_secret(self) -> Secret<[u8; 32]> {
        self.0
    }
}

fn parse(text: &str, place: &str) -> Result<MasterKey, KeyError> {
    let text = text.trim();
    let malformed = || KeyError::Malformed { place: place.to_owned() };
    if text.len() != 64 {
        return Err(malformed());
    }
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let (high, low) = (hex_digit(pair[0]), hex_digit(pair[1]));
        *byte = high.zip(low).map(|(high, low)| high << 4 | low).ok_or_else(malformed)?;
    }
    match weakness(&key) {
        Some(why) => Err(KeyError::Weak { place: place.to_owned(), why }),
        None => Ok(MasterKey(Secret::new(key))),
    }
}

fn hex_digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The rule that `key` breaks, if any. Keys that are random never do.
fn weakness(key: &[u8; 32]) -> Option<&'static str> {
    if key.iter().all(|byte| *byte == key[0]) {
        return Some("all bytes are equal");
    }
    if [2, 4, 8, 16].iter().any(|period| key.chunks(*period).all(|chunk| chunk == &key[..*period])) {
        return Some("it repeats itself");
    }
    if longest_step_run(key) > STEP_RUN_MAX {
        return Some("it counts");
    }
    let mut seen = [false; 256];
    key.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    if seen.iter().filter(|seen| **seen).count() < DISTINCT_BYTES_MIN {
        return Some("too few different bytes");
    }
    if key.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
        return Some("it is the code of a readable text");
    }
    None
}

/// The longest run of neighbours that differ by one and the same step, in bytes.
fn longest_step_run(key: &[u8; 32]) -> usize {
    let steps: Vec<u8> = key.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    let mut longest = 0;
    let mut run = 0;
    for (at, step) in steps.iter().enumerate() {
        run = if at > 0 && steps[at - 1] == *step { run + 1 } else { 2 };
        longest = longest.max(run);
    }
    longest
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::Io { action, path, source }
}

/// The file's text; `None` when there is no file. Refuses links, foreign owners and open modes.
fn read(path: &Path) -> Result<Option<Secret<String>>, KeyError> {
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).expect("an open flag fits an int");
    let mut file = match fs::OpenOptions::new().read(true).custom_flags(no_follow).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("open", path)(error)),
    };
    let metadata = file.metadata().map_err(io("inspect", path))?;
    let exposed = |why: String| KeyError::Exposed { path: path.to_owned(), why };
    if !metadata.is_file() {
        return Err(exposed("it is no regular file".to_owned()));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(exposed(format!("mode {mode:04o}, expected 0600")));
    }
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != me && metadata.uid() != 0 {
        return Err(exposed(format!("owner {}, expected {me}", metadata.uid())));
    }
    let mut text = String::new();
    let read = Read::by_ref(&mut file).take(FILE_BYTES_MAX).read_to_string(&mut text);
    match read {
        Ok(_) => Ok(Some(Secret::new(text))),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(KeyError::Malformed { place: path.display().to_string() })
        }
        Err(error) => Err(io("read", path)(error)),
    }
}

/// Makes a key and its file. The file appears whole under its name or not at all, and never replaces another: it is
/// written beside, synced, and linked into place.
fn create(data_dir: &Path, path: &Path, random: &dyn Random) -> Result<MasterKey, KeyError> {
    let mut key = [0; 32];
    random.fill(&mut key);
    let text = Secret::new(key.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let master = parse(text.expose(), &path.display().to_string())?;
    let draft: PathBuf = data_dir.join(format!(".{MASTER_KEY_FILE}.{}", std::process::id()));
    let written = write_draft(&draft, text.expose())
        .and_then(|()| fs::hard_link(&draft, path))
        .and_then(|()| fs::File::open(data_dir)?.sync_all());
    // Gone in any case: a draft left behind would be a second copy of the key.
    let removed = fs::remove_file(&draft);
    written.map_err(io("create", path))?;
    removed.map_err(io("remove", &draft))?;
    Ok(master)
}

fn write_draft(draft: &Path, text: &str) -> std::io::Result<()> {
    match fs::remove_file(draft) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    // The process's umask may have taken bits away, never added some; say exactly what is meant.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}
