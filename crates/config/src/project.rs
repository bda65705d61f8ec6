//! The project file.

use crate::fault::{Faults, Located};
use crate::overlay::{merged, overlay_of};
use crate::schema::{ENVIRONMENTS, project_schema};
use crate::text::Text;
use serde_json::Value;
use shape::Fault;
use std::collections::HashSet;

/// The name of the file.
pub const PROJECT_FILE: &str = "switchyard.toml";

/// Bytes of the largest project file that is read. A file of a thousand services has a tenth of it.
pub const PROJECT_FILE_BYTES_MAX: usize = 1024 * 1024;

/// The version of the file's shape (`schema = 1`), the only one so far and the one that is meant when nothing is said.
pub const SCHEMA_VERSION: u32 = 1;

/// A section of the project file, contributed by a capability. Keys at the top of the file that no section has are
/// mistakes.
#[derive(Debug, Clone, Copy)]
pub struct SectionSchema {
    /// The key at the top of the file, such as `services`.
    pub key: &'static str,
    /// The schema of its value, usually `|| shape::schema_of::<Section>()`.
    pub schema: fn() -> Value,
    /// What a schema cannot say, such as a route that names a service which is not there. Takes the section (`null` where
    /// the file has none) and the whole file, either possibly malformed; pointers of its faults are relative to
    /// the section. Called once for the file, and once for each environment with overlays, on the merged values.
    pub check: fn(&Value, &Value) -> Vec<Fault>,
}

/// A project file that was read and found right.
#[derive(Debug, Clone)]
pub struct ProjectFile {
    text: Text,
    sections: Vec<&'static str>,
}

impl ProjectFile {
    /// Reads a file's text; `name` is how the user calls it. Every mistake is told, those in overlays of environments
    /// included.
    pub fn parse(text: &str, name: &str, sections: &[SectionSchema]) -> Result<Self, Faults> {
        if text.len() > PROJECT_FILE_BYTES_MAX {
            let (empty, _) = Text::parse("", name);
            let found = format!("a file of {} bytes", text.len());
            let fault = Fault::new("", found, format!("at most {PROJECT_FILE_BYTES_MAX} bytes are expected"));
            return Err(Faults(vec![empty.locate(fault)]));
        }
        let (text, broken) = Text::parse(text, name);
        let broken_lines: HashSet<String> = broken.iter().map(line_of).collect();
        let faults = everything_wrong(text.value(), sections);
        let located = faults.into_iter().map(|fault| text.locate(fault));
        // A line that could not be read gives a made-up value; what is wrong with that is no news.
        let mut all: Vec<Located> = located.filter(|fault| !broken_lines.contains(&line_of(fault))).collect();
        all.extend(broken);
        Faults::result(all)?;
        Ok(Self { text, sections: sections.iter().map(|section| section.key).collect() })
    }

    /// The whole value, as written.
    pub fn value(&self) -> &Value {
        self.text.value()
    }

    /// The value of one section, as written at the top of the file.
    pub fn section(&self, key: &str) -> Option<&Value> {
        self.text.value().get(key)
    }

    /// The text that was read.
    pub fn text(&self) -> &str {
        self.text.text()
    }

    /// How the user calls the file.
    pub fn name(&self) -> &str {
        self.text.name()
    }

    /// The whole value as it is in one environment, with the overlay of `[environments.<name>]` merged in. An environment
    /// that the file does not name has no overlay.
    pub fn for_environment(&self, name: &str) -> Value {
        merged(self.text.value(), name, &self.sections)
    }

    /// The names in `[environments]`.
    pub fn environments(&self) -> Vec<&str> {
        names(self.text.value())
    }

    /// A fault that was found later, in applying the file, with its place. Its pointer is from the top of the file.
    pub fn locate(&self, fault: Fault) -> Located {
        self.text.locate(fault)
    }
}

fn line_of(fault: &Located) -> String {
    let place = fault.place.to_string();
    place.rsplit_once(':').map(|(line, _)| line.to_owned()).unwrap_or(place)
}

fn names(file: &Value) -> Vec<&str> {
    let environments = file.get(ENVIRONMENTS).and_then(Value::as_object);
    environments.into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

/// All faults of a file and of each of its environments.
fn everything_wrong(file: &Value, sections: &[SectionSchema]) -> Vec<Fault> {
    let schema = project_schema(sections);
    let keys: Vec<&str> = sections.iter().map(|section| section.key).collect();
    let mut faults = wrong_with(&schema, file, sections);
    let known: HashSet<(String, String)> =
        faults.iter().map(|fault| (fault.pointer.clone(), fault.sentence())).collect();
    for name in names(file) {
        let overlay = overlay_of(file, name, &keys);
        if overlay.is_empty() {
            continue;
        }
        let whole = merged(file, name, &keys);
        let prefix = shape::below(&shape::below("", ENVIRONMENTS), name);
        let told: HashSet<String> = faults
            .iter()
            .filter_map(|fault| fault.pointer.strip_prefix(&prefix))
            .map(str::to_owned)
            .collect();
        for fault in wrong_with(&schema, &whole, sections) {
            let news = !known.contains(&(fault.pointer.clone(), fault.sentence()));
            let of_environments = fault.pointer.starts_with(&format!("/{ENVIRONMENTS}/"));
            if news && !of_environments && !told.contains(&fault.pointer) {
                faults.push(fault.under(&prefix));
            }
        }
    }
    faults
}

/// What the schema and the sections' own checks say about a value.
fn wrong_with(schema: &Value, file: &Value, sections: &[SectionSchema]) -> Vec<Fault> {
    let mut faults = shape::check(schema, file);
    let told: HashSet<String> = faults.iter().map(|fault| fault.pointer.clone()).collect();
    for section in sections {
        let value = file.get(section.key).unwrap_or(&Value::Null);
        let own = (section.check)(value, file);
        let prefix = format!("/{}", section.key);
        let placed = own.into_iter().map(|fault| fault.under(&prefix));
        // The schema's word about a place is plainer than what a rule makes of the malformed value there.
        faults.extend(placed.filter(|fault| !told.contains(&fault.pointer)));
    }
    faults
}
