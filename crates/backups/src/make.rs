//! Making one backup.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};

use authority::SystemCtx;
use base::BackupId;
use db::ExportReport;

use crate::file::{Header, Sealer, Trailer};
use crate::model::Scope;
use crate::state::Backups;

/// Tables that have rows in every store that was ever opened: without them the export saw nothing.
const NEVER_EMPTY: [&str; 2] = ["sy_meta", "sy_events"];

/// Why a backup was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MakeError {
    #[error(transparent)]
    Vault(#[from] vault::Error),
    #[error("export the store: {0}")]
    Store(#[from] db::Error),
    #[error("write the backup: {0}")]
    Io(#[from] io::Error),
    #[error("the export has no rows of {0}, where there must be some; nothing was kept")]
    Empty(&'static str),
    #[error("making the backup was interrupted")]
    Interrupted,
}

/// Writes `<id>.part`, and renames it when it is whole.
pub(crate) async fn make(backups: &Backups, id: BackupId, ctx: &SystemCtx) -> Result<Trailer, MakeError> {
    let key = backups.key()?;
    let header = Header {
        id,
        at: backups.clock.now(),
        scope: Scope::Store,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let part = OpenOptions::new().write(true).create(true).truncate(true).open(backups.folder.part(&id))?;
    let sealer = Sealer::begin(BufWriter::new(part), key, &header)?;
    let (sealer, report) = backups.db.export(ctx, sealer).await?;
    check_rows(&report)?;
    let (folder, trailer) = (backups.folder.clone(), Trailer::of(&report, backups.clock.now()));
    let finished = lifecycle::blocking(move || {
        let (part, trailer) = sealer.finish(trailer)?;
        part.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        folder.complete(&id)?;
        Ok(trailer)
    });
    finished.await.unwrap_or(Err(MakeError::Interrupted))
}

/// B4: an export under row-level security is empty and looks fine.
fn check_rows(report: &ExportReport) -> Result<(), MakeError> {
    for table in NEVER_EMPTY {
        let rows = report.tables.iter().find(|count| count.table == table).map_or(0, |count| count.rows);
        if rows == 0 {
            return Err(MakeError::Empty(table));
        }
    }
    Ok(())
}

/// Opens a whole backup for reading.
pub(crate) fn open_whole(backups: &Backups, id: &BackupId) -> io::Result<File> {
    File::open(backups.folder.whole(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use db::TableCount;

    #[test]
    fn b4_an_export_without_rows_is_a_failure() {
        let report = |rows: &[(&str, u64)]| ExportReport {
            tables: rows
                .iter()
                .map(|(table, rows)| TableCount { table: (*table).to_owned(), rows: *rows, sha256: [0; 32] })
                .collect(),
            sha256: [0; 32],
            bytes: 100,
        };
        assert!(check_rows(&report(&[("sy_events", 3), ("sy_meta", 1), ("tenants", 0)])).is_ok());
        for empty in [&[][..], &[("sy_events", 0), ("sy_meta", 1)], &[("sy_events", 3), ("tenants", 5)]] {
            assert!(matches!(check_rows(&report(empty)), Err(MakeError::Empty(_))), "{empty:?}");
        }
    }
}
