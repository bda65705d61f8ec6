use std::io::Write;
use crate::Error;
use crate::store::Inner;

/// What was written or read by an export or import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportReport {
    /// Every table, in order of name.
    pub tables: Vec<TableCount>,
    /// SHA-256 of the uncompressed lines before the manifest.
    pub sha256: [u8; 32],
    /// Uncompressed bytes.
    pub bytes: u64,
}

/// Rows of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableCount {
    /// The table.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// SHA-256 of its lines.
    pub sha256: [u8; 32],
}
pub(crate) fn export<W: Write>(_inner: &Inner, _sink: W) -> Result<(W, ExportReport), Error> { todo!() }
