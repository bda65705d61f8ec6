//! The project file of a folder.

use config::{PROJECT_FILE, ProjectFile, SectionSchema};
use module::CliError;
use std::path::Path;

/// Reads the project file of a folder; `None` when it has none.
///
/// # Errors
/// A file that cannot be read, and all mistakes in it at once (exit code 2).
pub fn read_project(folder: &Path, sections: &[SectionSchema]) -> Result<Option<ProjectFile>, CliError> {
    let path = folder.join(PROJECT_FILE);
    if !path.exists() {
        return Ok(None);
    }
    read_file(&path, sections).map(Some)
}

/// Reads a project file by its path. Its mistakes name it as the user would: without the current folder before it.
pub(crate) fn read_file(path: &Path, sections: &[SectionSchema]) -> Result<ProjectFile, CliError> {
    let name = shown_path(path);
    let bytes = std::fs::read(path).map_err(|error| {
        CliError::usage(format!("{name} cannot be read: {error}"))
            .next("`switchyard init` writes one for this folder.")
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        CliError::usage(format!("{name} is not UTF-8: byte {at} cannot be read")).next("Save it as UTF-8.")
    })?;
    ProjectFile::parse(&text, &name, sections).map_err(|faults| mistakes(&faults))
}

/// All mistakes of a file or of the settings as one error.
pub(crate) fn mistakes(faults: &config::Faults) -> CliError {
    let count = faults.0.len();
    let head = if count == 1 { "1 mistake".to_owned() } else { format!("{count} mistakes") };
    CliError::usage(format!("{head}\n{faults}"))
        .next("`switchyard config schema` prints all that is allowed.")
}

/// A path relative to the current folder where it lies within it.
pub(crate) fn shown_path(path: &Path) -> String {
    let current = std::env::current_dir().unwrap_or_default();
    let inside = path.strip_prefix(&current).ok().filter(|inside| !inside.as_os_str().is_empty());
    inside.unwrap_or(path).display().to_string()
}
