//! Processors, memory, kernel, clock, open files.

use super::finding::Finding;
use base::{ByteSize, Clock, SystemClock, Timestamp};
use rustix::process::{Resource, getrlimit};

/// Memory below which the platform and one service do not fit well.
const MEMORY_BYTES_LOW: u64 = 512 << 20;

/// Open files: a connection of the gateway takes two. Below the first number it does not run, below the second it is soon
/// full.
const FILES_MIN: u64 = 256;
const FILES_LOW: u64 = 4_096;

/// Before this, the clock was never set: it is the year in which this was written.
const CLOCK_FROM: &str = "2026-01-01T00:00:00Z";
/// After this, certificates and tokens of today would all have expired.
const CLOCK_TO: &str = "2100-01-01T00:00:00Z";

pub(super) fn look() -> Vec<Finding> {
    vec![hardware(), kernel(), clock(SystemClock::new().now()), open_files()]
}

fn hardware() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| memory_of(&text));
    let processors = if cores == 1 { "1 processor".to_owned() } else { format!("{cores} processors") };
    match memory {
        Some(bytes) if bytes < MEMORY_BYTES_LOW => {
            let found = format!("{processors}, {}", rounded(bytes));
            Finding::warning("machine", found).next("give it at least 512 MiB of memory")
        }
        Some(bytes) => Finding::fine("machine", format!("{processors}, {}", rounded(bytes))),
        None => Finding::fine("machine", processors),
    }
}

/// The `MemTotal` of `/proc/meminfo`, in bytes.
fn memory_of(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1_024)
}

/// A size in whole MiB, for people.
pub(super) fn rounded(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes >= 10 << 30 {
        ByteSize((bytes >> 30) << 30).to_string()
    } else {
        ByteSize(bytes / MIB * MIB).to_string()
    }
}

fn kernel() -> Finding {
    let name = rustix::system::uname();
    let system = name.sysname().to_string_lossy().into_owned();
    let found = format!("{system} {}", name.release().to_string_lossy());
    if system == "Linux" {
        Finding::fine("kernel", found)
    } else {
        Finding::warning("kernel", found)
            .next("services are limited and isolated on Linux only; use it in production")
    }
}

fn clock(now: Timestamp) -> Finding {
    let bound = |text: &str| Timestamp::parse(text).expect("a literal time");
    if now < bound(CLOCK_FROM) || now > bound(CLOCK_TO) {
        let found = format!("the clock shows {now}");
        return Finding::blocker("clock", found)
            .next("set it, and keep it right with chrony or systemd-timesyncd");
    }
    Finding::fine("clock", format!("{now}"))
}

fn open_files() -> Finding {
    let limit = getrlimit(Resource::Nofile);
    let shown = |value: Option<u64>| value.map_or("unlimited".to_owned(), |value| value.to_string());
    let found = format!("{} (at most {})", shown(limit.current), shown(limit.maximum));
    let advice = "raise it with `ulimit -n 65536`, or LimitNOFILE=65536 in a systemd unit";
    match limit.current {
        Some(low) if low < FILES_MIN => Finding::blocker("open files", found).next(advice),
        Some(low) if low < FILES_LOW => Finding::warning("open files", found).next(advice),
        Some(_) | None => Finding::fine("open files", found),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn memory_is_read_from_its_line() {
        assert_eq!(memory_of("MemTotal:        2048 kB\nMemFree: 1 kB\n"), Some(2 << 20));
        assert_eq!(memory_of("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn a_clock_that_was_never_set_blocks() {
        assert_eq!(clock(Timestamp::EPOCH).state, State::Blocker);
        assert_eq!(clock(Timestamp::parse("2026-11-20T17:00:00Z").expect("a time")).state, State::Fine);
    }

    #[test]
    fn sizes_are_rounded_down() {
        assert_eq!(rounded((3 << 30) + 5), "3GiB");
        assert_eq!(rounded((700 << 20) + 5), "700MiB");
    }
}
