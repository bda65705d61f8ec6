//! Which project, which data folder, which installation.

use crate::{Surroundings, tree};
use base::Secret;
use clap::ArgMatches;
use config::PROJECT_FILE;
use module::{CliError, ControlClient, Credentials};
use outbound::Control;
use serde_json::Value;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The file in the data folder that says where a running installation listens.
const LISTENERS_FILE: &str = "listeners.json";

/// The file in the data folder with the operator key.
const OPERATOR_KEY_FILE: &str = "operator.key";

/// Where a run of the command line finds things.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The folder of the project file, or the current one where there is none.
    pub(crate) project_dir: PathBuf,
    /// The data folder.
    pub(crate) data_dir: PathBuf,
    /// The address that was named by a flag or the environment.
    url: Option<String>,
    /// The key that was named by a flag or the environment.
    key: Option<Secret<String>>,
}

impl Place {
    /// Finds them: flags, else the environment, else what is there.
    pub(crate) fn find(matches: &ArgMatches, surroundings: &Surroundings) -> Self {
        let path = |id: &str, variable: &str| {
            let flag = matches.get_one::<PathBuf>(id).cloned();
            flag.or_else(|| surroundings.variable(variable).map(PathBuf::from))
                .map(|path| surroundings.folder.join(path))
        };
        let text = |id: &str, variable: &str| {
            let flag = matches.get_one::<String>(id).cloned();
            flag.or_else(|| surroundings.variable(variable).map(str::to_owned))
        };
        let project_dir = path(tree::PROJECT_DIR, "SWITCHYARD_PROJECT_DIR").unwrap_or_else(|| {
            nearest_project(&surroundings.folder).unwrap_or_else(|| surroundings.folder.clone())
        });
        let data_dir =
            path(tree::DATA_DIR, "SWITCHYARD_DATA_DIR").unwrap_or_else(|| data_dir_of(&project_dir));
        Self {
            project_dir,
            data_dir,
            url: text(tree::URL, "SWITCHYARD_URL"),
            key: text(tree::KEY, "SWITCHYARD_API_KEY").map(Secret::new),
        }
    }

    /// The installation's control API, or the reason why there is none.
    pub(crate) fn client(&self) -> ControlClient {
        match self.reach().and_then(|(url, key)| Ok(Control::new(&url, key.as_ref())?)) {
            Ok(control) => ControlClient::new(control),
            Err(error) => ControlClient::unavailable(error),
        }
    }

    /// The same, as the person who has signed in there where no key is named or found. A named installation is the only one
    /// that the session's token goes to.
    pub(crate) async fn signed_in(&self, credentials: &Credentials) -> ControlClient {
        let Ok((url, None)) = self.reach() else { return self.client() };
        let base = url.trim_end_matches('/');
        match credentials.token(base).await {
            Some(token) => match Control::new(base, Some(&token)) {
                Ok(control) => ControlClient::new(control),
                Err(error) => ControlClient::unavailable(error.into()),
            },
            None => self.client(),
        }
    }

    /// The address, and the key that was named or lies here.
    fn reach(&self) -> Result<(String, Option<Secret<String>>), CliError> {
        let (url, local) = match &self.url {
            Some(url) => (url.clone(), is_loopback(url)),
            None => (format!("http://{}", self.listener("control")?), true),
        };
        // The operator key opens everything: it does not go to an address only because somebody named that.
        let key = match &self.key {
            Some(key) => Some(key.clone()),
            None if local => self.operator_key(),
            None => None,
        };
        Ok((url, key))
    }

    /// Where a listener of the installation here listens.
    pub(crate) fn listener(&self, name: &str) -> Result<String, CliError> {
        let path = self.data_dir.join(LISTENERS_FILE);
        let nothing_runs = || {
            CliError::failure(format!("no Switchyard runs here: there is no {}", path.display()))
                .next("Start one with `switchyard up`, or name a running one with --url and --key.")
        };
        let text = std::fs::read_to_string(&path).map_err(|_| nothing_runs())?;
        let listeners: Value = serde_json::from_str(&text).unwrap_or_default();
        let address = listeners.get(name).and_then(Value::as_str).map(str::to_owned);
        address.ok_or_else(|| {
            CliError::failure(format!("{} does not say where `{name}` listens", path.display()))
                .next("Stop and start that Switchyard, which writes the file anew.")
        })
    }

    fn operator_key(&self) -> Option<Secret<String>> {
        let text = std::fs::read_to_string(self.data_dir.join(OPERATOR_KEY_FILE)).ok()?;
        Some(Secret::new(text.trim().to_owned()))
    }
}

/// The nearest folder upwards that has a project file.
fn nearest_project(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().find(|folder| folder.join(PROJECT_FILE).is_file()).map(Path::to_owned)
}

/// The data folder that the project file names, else the usual one. A file with mistakes is told about by whoever needs
/// it; here only this one key counts.
fn data_dir_of(project_dir: &Path) -> PathBuf {
    let text = std::fs::read_to_string(project_dir.join(PROJECT_FILE)).unwrap_or_default();
    let file: Option<toml::Value> = toml::from_str(&text).ok();
    let named = file.as_ref().and_then(|file| file.get("server")?.get("data_dir")?.as_str());
    project_dir.join(named.unwrap_or(".switchyard"))
}

/// Whether a URL leads to this machine alone.
fn is_loopback(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return false;
    }
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for near in
            ["http://localhost:8081", "http://127.0.0.1", "http://127.1.2.3:1/x", "http://[::1]:8081/"]
        {
            assert!(is_loopback(near), "{near}");
        }
        for far in [
            "http://localhost.evil.example",
            "http://127.0.0.1@evil.example",
            "http://10.0.0.1:8081",
            "http://evil.example/#127.0.0.1",
            "localhost:8081",
            "http://",
            "http://[::2]:1",
        ] {
            assert!(!is_loopback(far), "{far}");
        }
    }
}
