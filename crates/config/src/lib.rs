//! Reads what people write: the project file and the settings of the server.
//!
//! Purpose: `switchyard.toml` is checked against one JSON Schema that is put together from the sections which the
//! capabilities contribute ([`project_schema`], what `switchyard config schema` prints); settings of the server come from
//! five sources in a fixed order ([`ServerSettings::load`]).
//!
//! Invariants:
//! - Every mistake is told at once, sorted by line, each with its place, its key path, what was found, what is allowed
//!   and the nearest valid word ([`Faults`]). Syntax errors do not hide mistakes elsewhere in the file.
//! - What is checked is what the printed schema says, plus the rules between keys that a capability adds.
//! - A fault is one line of text: control characters of the file are escaped. Secret values are never shown.
//! - A misspelt environment variable of ours is a mistake, not silence.
//!
//! Deliberately absent: what the sections mean (each capability reads its own out of [`ProjectFile::for_environment`]),
//! interpolation of variables, and watching files for changes.
//!
//! Life of the main operation: [`ProjectFile::parse`] turns the text into a value and a table of spans, walks the
//! composed schema, calls each section's own check, then does both again for every `[environments.X]` with its
//! overlays merged in, and maps whatever is new back to the line of the overlay.

mod fault;
mod load;
mod overlay;
mod project;
mod schema;
mod settings;
mod source;
mod text;

pub use fault::{Faults, Located, Place};
pub use load::{ENVIRONMENT_PREFIX, SERVER_FILE, Sources, environment_variable, server_schema};
pub use project::{PROJECT_FILE, PROJECT_FILE_BYTES_MAX, ProjectFile, SCHEMA_VERSION, SectionSchema};
pub use schema::project_schema;
pub use settings::{LogFormat, LogLevel, PublicUrl, ServerSettings};
pub use source::{Provenance, Setting, SettingSource};
