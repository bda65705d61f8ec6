use std::io::Read;
use crate::{ExportReport, OpenError, Options};

/// Why an export was not brought in. The store is left empty or must be removed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The store cannot be opened, migrated or written.
    #[error("open the store to import into")]
    Open(#[from] OpenError),
    /// The store holds something already.
    #[error("the store is not empty: import into a new one")]
    NotEmpty,
    /// The export is cut, altered, or of another format.
    #[error("the export is damaged: {0}")]
    Damaged(String),
    /// The export was made by a newer binary.
    #[error("the export was made by a newer switchyard: {0}")]
    Newer(String),
}

/// Brings an export into an empty store of either kind.
///
/// # Errors
/// [`ImportError`].
pub async fn import<R: Read + Send + 'static>(_options: Options, _source: R) -> Result<ExportReport, ImportError> { todo!() }
