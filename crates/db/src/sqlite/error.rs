//! What SQLite's result codes mean for a closure, its group and the store.

use std::path::Path;

use rusqlite::{Error as Raw, ErrorCode, ffi};
use rustix::fs::{StatVfsMountFlags, statvfs};

use super::session::Role;
use crate::Error;
use crate::session::{Failure, Reach};

/// Reads a failure. `dir` is asked whether it has become read-only: the library answers the same code for that and
/// for a broken disk.
pub(crate) fn failure(error: &Raw, role: Role, dir: &Path) -> Failure {
    match error {
        Raw::SqliteFailure(code, message) => of_code(*code, message.as_deref().unwrap_or(""), role, dir),
        Raw::InvalidParameterCount(given, wanted) => Failure::new(
            Error::Statement(format!("{given} parameters were given, the statement has {wanted}")),
            Reach::Closure,
        ),
        Raw::FromSqlConversionFailure(index, ..) | Raw::IntegralValueOutOfRange(index, _) => {
            Failure::new(Error::Decode(format!("column {index} cannot be read")), Reach::Closure)
        }
        Raw::Utf8Error(index, _) => {
            Failure::new(Error::Decode(format!("column {index} is not UTF-8")), Reach::Closure)
        }
        other => Failure::new(Error::Statement(other.to_string()), Reach::Closure),
    }
}

fn of_code(code: ffi::Error, message: &str, role: Role, dir: &Path) -> Failure {
    let closure = |error| Failure::new(error, Reach::Closure);
    let group = |error| Failure::new(error, Reach::Group);
    let fence =
        || Failure::new(Error::Fenced, if role == Role::Writer { Reach::Fence } else { Reach::Group });
    match code.code {
        ErrorCode::ConstraintViolation => closure(Error::Conflict { constraint: constraint(message) }),
        ErrorCode::DiskFull => group(Error::Full),
        ErrorCode::SystemIoFailure if code.extended_code == ffi::SQLITE_IOERR_SHMSIZE => group(Error::Full),
        ErrorCode::ReadOnly if role == Role::Reader => {
            closure(Error::Statement("a read transaction writes".into()))
        }
        ErrorCode::ReadOnly => group(Error::ReadOnly),
        ErrorCode::SystemIoFailure if is_read_only(dir) => group(Error::ReadOnly),
        // A failed sync may leave pages marked clean that never reached the disk: trying again would succeed and lie.
        ErrorCode::SystemIoFailure if changes_the_disk(code.extended_code) => fence(),
        ErrorCode::SystemIoFailure => group(Error::Unavailable("the disk cannot be read".into())),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase if role == Role::Writer => fence(),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            group(Error::Unavailable("the database file is damaged".into()))
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => group(Error::Busy),
        ErrorCode::OperationInterrupted => closure(Error::Timeout),
        ErrorCode::OutOfMemory => group(Error::Unavailable("there is not enough memory".into())),
        ErrorCode::CannotOpen => group(Error::Unavailable("a file of the store cannot be opened".into())),
        // Such messages name tables, columns and words of the statement, which is ours, never values.
        _ => closure(Error::Statement(message.to_owned())),
    }
}

fn changes_the_disk(extended: i32) -> bool {
    matches!(
        extended,
        ffi::SQLITE_IOERR_FSYNC
            | ffi::SQLITE_IOERR_DIR_FSYNC
            | ffi::SQLITE_IOERR_WRITE
            | ffi::SQLITE_IOERR_TRUNCATE
            | ffi::SQLITE_IOERR_DELETE
            | ffi::SQLITE_IOERR_CLOSE
    )
}

/// `UNIQUE constraint failed: t.a, t.b` names the columns after the colon.
fn constraint(message: &str) -> String {
    message.split_once(": ").map_or(message, |(_, name)| name).to_owned()
}

/// Whether the file system of the folder is mounted read-only now.
pub(crate) fn is_read_only(dir: &Path) -> bool {
    statvfs(dir).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY))
}
