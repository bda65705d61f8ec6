//! The file layer does what it says, seen through SQLite itself.

use std::path::Path;

use faults::{Class, Disk};
use rusqlite::{Connection, ErrorCode, OpenFlags};

fn open(disk: &Disk, path: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = Connection::open_with_flags_and_vfs(path, flags, disk.vfs()).expect("open");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;
             CREATE TABLE IF NOT EXISTS t (a INTEGER)",
        )
        .expect("set up");
    connection
}

fn count(connection: &Connection) -> i64 {
    connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("count")
}

fn code(result: Result<usize, rusqlite::Error>) -> Option<ErrorCode> {
    result.err().and_then(|error| error.sqlite_error_code())
}

#[test]
fn without_faults_nothing_changes() {
    let (dir, disk) = (tempfile::tempdir().expect("a folder"), Disk::install().expect("install"));
    let path = dir.path().join("a.db");
    let connection = open(&disk, &path);
    for _ in 0..100 {
        connection.execute("INSERT INTO t VALUES (1)", []).expect("insert");
    }
    drop(connection);
    assert_eq!(count(&open(&disk, &path)), 100);
    assert!(disk.syncs() >= 100);
}

#[test]
fn a_power_cut_takes_back_what_was_not_synced_and_nothing_else() {
    for seed in [None, Some(1), Some(2), Some(3)] {
        let (dir, disk) = (tempfile::tempdir().expect("a folder"), Disk::install().expect("install"));
        let path = dir.path().join("a.db");
        let connection = open(&disk, &path);
        for _ in 0..10 {
            connection.execute("INSERT INTO t VALUES (1)", []).expect("insert");
        }
        connection.execute_batch("PRAGMA synchronous = OFF").expect("set");
        for _ in 0..10 {
            connection.execute("INSERT INTO t VALUES (2)", []).expect("insert");
        }
        disk.cut_power();
        assert!(connection.execute("INSERT INTO t VALUES (3)", []).is_err());
        drop(connection);
        disk.restore_power(seed).expect("restore");
        let connection = open(&disk, &path);
        let found = count(&connection);
        assert!((10..=20).contains(&found), "{found} with {seed:?}");
        assert!(seed.is_some() || found == 10, "nothing unsynced survives without a seed, {found}");
        let sound: String =
            connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("check");
        assert_eq!(sound, "ok");
    }
}

#[test]
fn each_fault_answers_as_the_system_would() {
    let (dir, disk) = (tempfile::tempdir().expect("a folder"), Disk::install().expect("install"));
    let connection = open(&disk, &dir.path().join("a.db"));
    let insert = || code(connection.execute("INSERT INTO t VALUES (1)", []));
    disk.set_full(Class::Wal, true);
    assert_eq!(insert(), Some(ErrorCode::DiskFull));
    disk.set_full(Class::Wal, false);
    assert_eq!(insert(), None);
    disk.set_read_only(true);
    assert_eq!(insert(), Some(ErrorCode::ReadOnly));
    disk.set_read_only(false);
    disk.fail_sync_once(Class::Wal);
    assert_eq!(insert(), Some(ErrorCode::SystemIoFailure));
    assert_eq!(insert(), None, "once only");
}
