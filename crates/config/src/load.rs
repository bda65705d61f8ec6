//! Settings of the server from their five sources: defaults, `server.toml`, `[server]` in the project file,
//! environment, flags; later ones win.

use crate::fault::{Faults, Located, Place};
use crate::settings::{Layer, PublicUrl, ServerSettings};
use crate::source::{Provenance, Setting, SettingSource};
use crate::text::Text;
use serde_json::{Map, Number, Value};
use shape::Fault;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the names of our environment variables begin with.
pub const ENVIRONMENT_PREFIX: &str = "SWITCHYARD_";

/// The settings' file in the data folder.
pub const SERVER_FILE: &str = "server.toml";

/// The longest grace that is taken; whoever waits longer for a stop has lost patience.
const GRACE_MAX: Duration = Duration::from_secs(600);

/// Entries of a list in an environment variable or flag are separated by this.
const LIST_SEPARATOR: char = ',';

/// Variables without our prefix that count as ours where the prefixed one is not set.
const ALIASES: [(&str, &str); 5] = [
    ("LOG_FORMAT", "log_format"),
    ("LOG_LEVEL", "log_level"),
    ("QUEUE_CONCURRENCY", "queue_concurrency"),
    ("WORKER_MODE", "worker_mode"),
    ("WORKER_QUEUES", "worker_queues"),
];

/// Our variables that are not settings of the server, but of the command line.
const NOT_SETTINGS: [&str; 2] = ["SWITCHYARD_API_KEY", "SWITCHYARD_URL"];

/// Where settings come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The settings' file, which is then to exist; `None` reads `server.toml` in the data folder if it is there.
    pub file: Option<PathBuf>,
    /// `[server]` of the project file, whose mistakes of shape [`ProjectFile::parse`](crate::ProjectFile::parse) has told.
    pub project_section: Option<Value>,
    /// The environment: all of it, others' variables are passed over.
    pub env: Vec<(String, String)>,
    /// Flags without their dashes, and their values.
    pub flags: Vec<(String, String)>,
    /// The folder of the project where no source names one; empty for the current one.
    pub folder: PathBuf,
}

/// The environment variable of a key: `gateway_addr` gives `SWITCHYARD_GATEWAY_ADDR`.
pub fn environment_variable(key: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", key.to_uppercase())
}

/// The schema of `server.toml` and `[server]`.
pub fn server_schema() -> Value {
    shape::schema_of::<Layer>()
}

impl ServerSettings {
    /// Settings out of all sources, and where each came from. Reads one file and nothing else. Every mistake of every
    /// source is told, each with its source.
    pub fn load(sources: Sources) -> Result<(Self, Provenance), Faults> {
        let mut loading = Loading {
            schema: server_schema(),
            faults: Vec::new(),
            chosen: BTreeMap::new(),
            folder: sources.folder.clone(),
        };
        let project_dir = sources.said("project_dir").map_or(sources.folder.clone(), PathBuf::from);
        if let Some(section) = &sources.project_section {
            loading.take_project_section(section, &project_dir);
        }
        let variables = sources.env.iter().filter(|(name, _)| !NOT_SETTINGS.contains(&name.as_str()));
        for (name, text) in variables.clone().filter(|(name, _)| !name.starts_with(ENVIRONMENT_PREFIX)) {
            if let Some((_, key)) = ALIASES.iter().find(|(alias, _)| alias == name) {
                loading.take_text(
                    key,
                    text,
                    Place::Variable(name.clone()),
                    SettingSource::Variable(name.clone()),
                );
            }
        }
        for (name, text) in variables {
            if let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) {
                loading.take_variable(name, &rest.to_lowercase(), text);
            }
        }
        for (name, text) in &sources.flags {
            let key = name.replace('-', "_");
            loading.take_text(&key, text, Place::Flag(name.clone()), SettingSource::Flag(name.clone()));
        }
        loading.take_server_file(sources.file);
        loading.finish()
    }
}

impl Sources {
    /// What flags, else the environment, say about a key.
    fn said(&self, key: &str) -> Option<&str> {
        let variable = environment_variable(key);
        let flag = self.flags.iter().rev().find(|(name, _)| name.replace('-', "_") == key);
        let value = flag.or_else(|| self.env.iter().rev().find(|(name, _)| *name == variable));
        value.map(|(_, text)| text.as_str())
    }
}

/// What has been gathered so far.
struct Loading {
    schema: Value,
    faults: Vec<Located>,
    chosen: BTreeMap<String, (Value, Place, SettingSource)>,
    folder: PathBuf,
}

impl Loading {
    fn take_project_section(&mut self, section: &Value, project_dir: &Path) {
        let place = Place::Named("[server] in switchyard.toml".to_owned());
        self.tell(shape::check(&self.schema, section), |_| place.clone());
        for (key, value) in section.as_object().into_iter().flatten() {
            let mut value = value.clone();
            // A path in the project file starts where that file is.
            if let (true, Some(path)) = (key.ends_with("_dir"), value.as_str()) {
                value = Value::String(project_dir.join(path).to_string_lossy().into_owned());
            }
            if key == "master_key" {
                let fault =
                    Fault::new("/master_key", "a secret value", "it comes from SWITCHYARD_MASTER_KEY alone");
                self.tell(vec![fault], |_| place.clone());
            }
            self.chosen.insert(key.clone(), (value, place.clone(), SettingSource::ProjectFile));
        }
    }

    /// Takes what `server.toml` says for keys that nothing stronger has.
    fn take_server_file(&mut self, given: Option<PathBuf>) {
        let is_given = given.is_some();
        let path = given.unwrap_or_else(|| self.data_dir().join(SERVER_FILE));
        let name = path.display().to_string();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_given => return,
            Err(error) => {
                let fault =
                    Fault::new("", format!("cannot be read: {error}"), "a readable TOML file is expected");
                return self.tell(vec![fault], |_| Place::Named(name.clone()));
            }
        };
        let (text, broken) = Text::parse(&text, &name);
        self.faults.extend(broken);
        let mut faults = shape::check(&self.schema, text.value());
        for key in ["data_dir", "master_key"] {
            if text.has(&format!("/{key}")) {
                let variable = environment_variable(key);
                let fault =
                    Fault::new(format!("/{key}"), "a key that cannot be here", format!("use {variable}"));
                faults.push(fault);
            }
        }
        self.faults.extend(faults.into_iter().map(|fault| text.locate(fault)));
        for (key, value) in text.value().as_object().into_iter().flatten() {
            let place = text.locate(Fault::new(format!("/{key}"), "", "")).place;
            let source = SettingSource::ServerFile(place.clone());
            self.chosen.entry(key.clone()).or_insert((value.clone(), place, source));
        }
    }

    fn data_dir(&self) -> PathBuf {
        let chosen =
            |key: &str| self.chosen.get(key).and_then(|(value, ..)| value.as_str()).map(PathBuf::from);
        let layer =
            Layer { data_dir: chosen("data_dir"), project_dir: chosen("project_dir"), ..Layer::default() };
        ServerSettings::from_layer(layer, &self.folder).data_dir
    }

    fn take_variable(&mut self, name: &str, key: &str, text: &str) {
        let source = SettingSource::Variable(name.to_owned());
        if self.property(key).is_some() {
            return self.take_text(key, text, Place::Variable(name.to_owned()), source);
        }
        // Others may use our prefix for their own; a name next to one of ours is a slip.
        let nearest = base::nearest(key, self.keys().iter().map(String::as_str)).map(environment_variable);
        if let Some(nearest) = nearest.filter(|nearest| strays_little(nearest, name)) {
            let fault =
                Fault::new("", "an unknown variable", "it would have no effect").or_nearest(Some(&nearest));
            self.tell(vec![fault], |_| Place::Variable(name.to_owned()));
        }
    }

    /// Takes a setting that is given as text, converted to the type that its schema names.
    fn take_text(&mut self, key: &str, text: &str, place: Place, source: SettingSource) {
        let value = self.property(key).map_or(Value::String(text.to_owned()), |schema| typed(schema, text));
        let mut object = Map::new();
        object.insert(key.to_owned(), value.clone());
        let faults = shape::check(&self.schema, &Value::Object(object));
        self.tell(faults, |_| place.clone());
        self.chosen.insert(key.to_owned(), (value, place, source));
    }

    fn property(&self, key: &str) -> Option<&Value> {
        self.schema.get("properties")?.get(key)
    }

    fn keys(&self) -> Vec<String> {
        let properties = self.schema.get("properties").and_then(Value::as_object);
        properties.into_iter().flatten().map(|(key, _)| key.clone()).collect()
    }

    fn tell(&mut self, faults: Vec<Fault>, place: impl Fn(&Fault) -> Place) {
        for fault in faults {
            let path = fault.keys().join(".");
            self.faults.push(Located::of(place(&fault), path, fault));
        }
    }

    /// The settings, once nothing is wrong with any source nor with all of them together. The rules between settings are
    /// asked of those that could be read, so that one mistake does not hide another.
    fn finish(mut self) -> Result<(ServerSettings, Provenance), Faults> {
        let faulty = |key: &String| self.faults.iter().any(|fault| fault.path.split('.').next() == Some(key));
        let sound = self.chosen.iter().filter(|(key, _)| self.property(key).is_some() && !faulty(key));
        let values: Map<String, Value> =
            sound.map(|(key, (value, ..))| (key.clone(), value.clone())).collect();
        let layer = serde_json::from_value::<Layer>(Value::Object(values)).unwrap_or_else(|error| {
            let fault = Fault::new("", "settings that cannot be read", error.to_string());
            self.faults.push(Located::of(Place::Named("settings".to_owned()), String::new(), fault));
            Layer::default()
        });
        let settings = ServerSettings::from_layer(layer, &self.folder);
        self.check_together(&settings);
        Faults::result(std::mem::take(&mut self.faults))?;
        let provenance = self.provenance(&settings);
        Ok((settings, provenance))
    }

    /// Rules that no single key can break.
    fn check_together(&mut self, settings: &ServerSettings) {
        let addresses = [
            ("gateway_addr", settings.gateway_addr),
            ("control_addr", settings.control_addr),
            ("service_addr", settings.service_addr),
        ];
        for (index, (key, address)) in addresses.iter().enumerate() {
            let twin = addresses[..index].iter().find(|(_, other)| other == address && address.port() != 0);
            if let Some((other, _)) = twin {
                self.object(
                    key,
                    format!("the address {address}"),
                    format!("another one than `{other}` is expected"),
                );
            }
        }
        if !settings.control_addr.ip().is_loopback() {
            let found = format!("the address {}", settings.control_addr);
            self.object("control_addr", found, "a loopback address is expected: it has no TLS".to_owned());
        }
        if settings.grace > GRACE_MAX {
            let found = format!("the duration {}", base::HumanDuration(settings.grace));
            self.object("grace", found, "a duration of at most 10m is expected".to_owned());
        }
        let url = settings.database_url.as_ref().map(|url| url.expose().as_str());
        if url.is_some_and(|url| !url.starts_with("postgres://") && !url.starts_with("postgresql://")) {
            let expected = "a URL such as postgres://user:password@host/database is expected".to_owned();
            self.object("database_url", "a secret value".to_owned(), expected);
        }
        if let Some(url) = settings.public_url.as_ref().filter(|url| PublicUrl::parse(url).is_none()) {
            let expected = "a URL such as https://example.com, without a path, is expected".to_owned();
            self.object("public_url", format!("the text {url:?}"), expected);
        }
    }

    /// A fault of a setting, placed where the setting came from.
    fn object(&mut self, key: &str, found: String, message: String) {
        let place = self.chosen.get(key).map(|(_, place, _)| place.clone());
        let place = place.unwrap_or_else(|| Place::Named(environment_variable(key)));
        self.tell(vec![Fault::new(format!("/{key}"), found, message)], |_| place.clone());
    }

    fn provenance(&self, settings: &ServerSettings) -> Provenance {
        let setting = |key: String| {
            let source = self.chosen.get(&key).map(|(.., source)| source.clone());
            let description = self.property(&key).and_then(|schema| schema.get("description")?.as_str());
            Setting {
                value: settings.shown(&key),
                source: source.unwrap_or(SettingSource::Default),
                description: description.unwrap_or_default().replace('\n', " "),
                key,
            }
        };
        Provenance(self.keys().into_iter().map(setting).collect())
    }
}

/// Whether two names differ by a slip of the hand: `nearest` alone also takes beginnings of words.
fn strays_little(known: &str, name: &str) -> bool {
    known.len().abs_diff(name.len()) <= 2
}

/// A text as the type that a schema names; the text itself where it cannot be that, so that the check tells so.
fn typed(schema: &Value, text: &str) -> Value {
    let as_text = || Value::String(text.to_owned());
    let names = |wanted: &str| match schema.get("type") {
        Some(Value::String(one)) => one == wanted,
        Some(Value::Array(many)) => many.iter().any(|one| one == wanted),
        _ => false,
    };
    if names("boolean") {
        match text {
            "true" | "1" => Value::Bool(true),
            "false" | "0" => Value::Bool(false),
            _ => as_text(),
        }
    } else if names("integer") {
        text.parse::<i64>().map_or_else(|_| as_text(), |number| Value::Number(Number::from(number)))
    } else if names("array") {
        let entries = text.split(LIST_SEPARATOR).map(str::trim).filter(|entry| !entry.is_empty());
        Value::Array(entries.map(|entry| Value::String(entry.to_owned())).collect())
    } else {
        as_text()
    }
}
