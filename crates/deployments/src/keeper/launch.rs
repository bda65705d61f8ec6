//! The last form: becomes the process.

use super::complain;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit, setsid,
    umask,
};
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Files that a process may have open, where the host allows as many. Servers with many sockets need more than
/// the usual 1,024.
const OPEN_FILES: u64 = 65_536;

/// How ready the kernel is to end the process when memory runs out (proc(5), `oom_score_adj`): before the
/// platform, which would take all down with it.
const OOM_SCORE: &str = "300";

/// What a shell returns for a command that cannot be executed.
const EXIT_CANNOT_EXECUTE: u8 = 127;

/// What the guard says by arguments. The command comes last.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Setup {
    /// The guard. When it is gone already, there is nothing to launch for.
    pub(super) parent: u32,
    /// Bytes of data segment, where no group limits the memory.
    pub(super) data_bytes_max: Option<u64>,
    /// Files to write oneself into.
    pub(super) groups: Vec<PathBuf>,
    /// Given to `sh -c`.
    pub(super) command: OsString,
}

impl Setup {
    /// As arguments, which [`Setup::parse`] reads.
    pub(super) fn args(self) -> Vec<OsString> {
        let Self { parent, data_bytes_max, groups, command } = self;
        let mut args = vec![parent.to_string().into()];
        args.push(data_bytes_max.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()).into());
        args.extend(groups.into_iter().map(PathBuf::into_os_string));
        args.push("--".into());
        args.push(command);
        args
    }

    fn parse(args: &[OsString]) -> Option<Self> {
        let [parent, data, rest @ ..] = args else { return None };
        let end = rest.iter().position(|arg| arg == "--")?;
        let [_, command] = &rest[end..] else { return None };
        Some(Self {
            parent: parent.to_str()?.parse().ok()?,
            data_bytes_max: data.to_str()?.parse().ok(),
            groups: rest[..end].iter().map(PathBuf::from).collect(),
            command: command.clone(),
        })
    }
}

/// Sets this process up and executes the command. Returns only when that failed.
pub(super) fn main(args: &[OsString]) -> ExitCode {
    let Some(setup) = Setup::parse(args) else {
        complain(format_args!("`launch` is for the keeper, not for people"));
        return ExitCode::from(2);
    };
    if let Err(error) = prepare(&setup) {
        complain(format_args!("prepare process: {error}"));
        return ExitCode::from(EXIT_CANNOT_EXECUTE);
    }
    let error = Command::new("/bin/sh").arg("-c").arg(&setup.command).exec();
    complain(format_args!("execute /bin/sh: {error}"));
    ExitCode::from(EXIT_CANNOT_EXECUTE)
}

fn prepare(setup: &Setup) -> rustix::io::Result<()> {
    // First, so that from here on the guard's end is this process's end, too.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent = Pid::from_raw(setup.parent.cast_signed());
    if getppid() != parent {
        return Err(rustix::io::Errno::SRCH);
    }
    setsid()?;
    for group in &setup.groups {
        // A group that cannot be joined leaves the process without that limit, which the guard has told.
        let _unlimited = std::fs::write(group, "0");
    }
    let _no_such_file = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    umask(rustix::fs::Mode::from_raw_mode(0o077));
    // Core dumps would hold the variables.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let files = getrlimit(Resource::Nofile);
    let current = files.maximum.map_or(OPEN_FILES, |hard| hard.min(OPEN_FILES));
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: files.maximum })?;
    if let Some(bytes) = setup.data_bytes_max {
        setrlimit(Resource::Data, Rlimit { current: Some(bytes), maximum: Some(bytes) })?;
    }
    // A set-user-id program in the source gives nobody more rights (P4).
    rustix::thread::set_no_new_privs(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_survive_the_way() {
        for (data_bytes_max, groups) in [(None, vec![]), (Some(5), vec![PathBuf::from("/a b/cgroup.procs")])]
        {
            let setup =
                || Setup { parent: 7, data_bytes_max, groups: groups.clone(), command: "-- x".into() };
            assert_eq!(Setup::parse(&setup().args()), Some(setup()));
        }
        assert_eq!(Setup::parse(&["1".into()]), None);
    }
}
