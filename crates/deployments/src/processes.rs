//! What a process gets: its command, its variables, its folders, its port.

use crate::folders::{Folders, ProcessFolders};
use crate::keeper::protocol::Launch;
use crate::model::ProcessSpec;
use crate::section::volume_variable;
use crate::store::DeploymentRow;
use base::{DeploymentId, Secret, ServiceId, SharedRandom};
use parking_lot::Mutex;
use ports::ServiceTokens;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

/// Variables of whoever started Switchyard that every process gets. Nothing else is inherited: what is in the
/// environment of the platform (its keys, its database) is none of the app's business.
const INHERITED: [&str; 11] = [
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "USER",
    "LOGNAME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
];

/// Variables that builds get besides: where tools are, keep their caches, and reach their registries.
const INHERITED_BY_BUILDS: [&str; 26] = [
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "NVM_DIR",
    "PYENV_ROOT",
    "PYENV_VERSION",
    "GOPATH",
    "GOCACHE",
    "GOMODCACHE",
    "GOPROXY",
    "JAVA_HOME",
    "CC",
    "CXX",
    "PKG_CONFIG_PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "UV_CACHE_DIR",
    "PNPM_HOME",
    "YARN_CACHE_FOLDER",
    "BUN_INSTALL",
];

/// Beginnings of further variables that builds get.
const INHERITED_BY_BUILDS_BEGINNING: [&str; 5] =
    ["CARGO_NET_", "CARGO_HTTP_", "npm_config_", "NPM_CONFIG_", "PIP_"];

/// Where commands are looked for when whoever started Switchyard had no `PATH`.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// Ports that replicas get: below those that systems give to outgoing connections (32768 and up on Linux), so that
/// none of these takes a replica's port between its choice and its use.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Attempts to find a free port.
const PORT_ATTEMPTS: u32 = 200;

/// Makes what processes get.
pub(crate) struct Processes {
    inherited: BTreeMap<String, String>,
    inherited_by_builds: BTreeMap<String, String>,
    folders: Folders,
    callback: Callback,
    ports: Mutex<BTreeSet<u16>>,
    random: SharedRandom,
}

/// How processes reach Switchyard.
pub(crate) struct Callback {
    /// The service API.
    pub(crate) url: String,
    /// Makes what they show there.
    pub(crate) tokens: Arc<dyn ServiceTokens>,
}

/// The names that a process is told.
#[derive(Debug, Clone)]
pub(crate) struct Names<'a> {
    pub(crate) project: &'a str,
    pub(crate) environment: &'a str,
    /// The replica's id, or what else it is.
    pub(crate) replica: &'a str,
}

impl Processes {
    /// `environment` is that of whoever started Switchyard.
    pub(crate) fn new(
        environment: &[(String, String)],
        folders: Folders,
        callback: Callback,
        random: SharedRandom,
    ) -> Self {
        let pick = |wanted: &dyn Fn(&str) -> bool| {
            environment.iter().filter(|(name, _)| wanted(name)).cloned().collect::<BTreeMap<_, _>>()
        };
        let mut inherited = pick(&|name| INHERITED.contains(&name));
        inherited.entry("PATH".to_owned()).or_insert_with(|| PATH_DEFAULT.to_owned());
        let inherited_by_builds = pick(&|name| {
            INHERITED_BY_BUILDS.contains(&name)
                || INHERITED_BY_BUILDS_BEGINNING.iter().any(|start| name.starts_with(start))
        });
        Self { inherited, inherited_by_builds, folders, callback, ports: Mutex::default(), random }
    }

    /// By what a service knows that a job comes from Switchyard; `None` while the store is sealed.
    pub(crate) fn push_secret(&self, service: ServiceId) -> Option<Secret<String>> {
        self.callback.tokens.push_secret(service)
    }

    /// A replica of a deployment.
    pub(crate) fn replica(&self, row: &DeploymentRow, names: &Names<'_>, process: &str, port: u16) -> Launch {
        let mut env = self.common(row, names, process);
        env.insert("PORT".to_owned(), port.to_string());
        env.insert("HOST".to_owned(), "127.0.0.1".to_owned());
        self.launch(row, &row.spec.start, env)
    }

    /// The command before a release, with all that replicas get but a port.
    pub(crate) fn pre_deploy(
        &self,
        row: &DeploymentRow,
        names: &Names<'_>,
        process: &str,
        command: &str,
    ) -> Launch {
        let env = self.common(row, names, process);
        self.launch(row, command, env)
    }

    fn launch(&self, row: &DeploymentRow, command: &str, env: BTreeMap<String, String>) -> Launch {
        let artefact = row.artefact.unwrap_or(row.id);
        Launch {
            dir: self.folders.source(artefact),
            command: command.to_owned(),
            env,
            limits: row.spec.limits,
        }
    }

    /// A build, or a check, in the folder of the deployment itself.
    pub(crate) fn build(
        &self,
        row: &DeploymentRow,
        names: &Names<'_>,
        process: &str,
        command: &str,
    ) -> Launch {
        let mut env = self.inherited.clone();
        env.extend(self.inherited_by_builds.clone());
        let cargo = self.folders.cargo_target(row.environment);
        env.insert("CARGO_TARGET_DIR".to_owned(), cargo.display().to_string());
        let cache = self.folders.cache(row.environment);
        env.insert("SWITCHYARD_CACHE_DIR".to_owned(), cache.display().to_string());
        env.insert("CI".to_owned(), "true".to_owned());
        env.extend(row.spec.build_variables());
        env.extend(self.told(row, names));
        env.insert("TMPDIR".to_owned(), self.folders.temporary(process).display().to_string());
        Launch {
            dir: self.folders.source(row.id),
            command: command.to_owned(),
            env,
            limits: crate::keeper::protocol::Limits::default(),
        }
    }

    fn common(&self, row: &DeploymentRow, names: &Names<'_>, process: &str) -> BTreeMap<String, String> {
        let mut env = self.inherited.clone();
        let own = row.spec.variables.iter();
        env.extend(own.map(|(name, variable)| (name.clone(), variable.value.clone())));
        env.extend(self.told(row, names));
        let folders = self.folders_of(row, process);
        env.insert("TMPDIR".to_owned(), folders.temporary.display().to_string());
        env.insert("SWITCHYARD_SHARED_DIR".to_owned(), folders.shared.display().to_string());
        for (name, dir) in folders.volumes {
            env.insert(volume_variable(&name), dir.display().to_string());
        }
        env.insert("SWITCHYARD_URL".to_owned(), self.callback.url.clone());
        if let Some(token) = self.callback.tokens.mint(row.id) {
            env.insert("SWITCHYARD_TOKEN".to_owned(), token.expose().clone());
        }
        if let Some(secret) = self.push_secret(row.service) {
            env.insert("SWITCHYARD_PUSH_SECRET".to_owned(), secret.expose().clone());
        }
        env
    }

    fn told(&self, row: &DeploymentRow, names: &Names<'_>) -> BTreeMap<String, String> {
        let Names { project, environment, replica } = names;
        BTreeMap::from([
            ("SWITCHYARD_PROJECT".to_owned(), (*project).to_owned()),
            ("SWITCHYARD_ENVIRONMENT".to_owned(), (*environment).to_owned()),
            ("SWITCHYARD_SERVICE".to_owned(), row.service_name.to_string()),
            ("SWITCHYARD_DEPLOYMENT".to_owned(), row.id.to_string()),
            ("SWITCHYARD_REPLICA".to_owned(), (*replica).to_owned()),
        ])
    }

    /// The folders that a process needs.
    pub(crate) fn folders_of(&self, row: &DeploymentRow, process: &str) -> ProcessFolders {
        let volumes = self.folders.volumes(row.environment, &row.service_name);
        ProcessFolders {
            temporary: self.folders.temporary(process),
            shared: self.folders.shared(row.environment),
            volumes: row.spec.volumes.keys().map(|name| (name.clone(), volumes.join(name))).collect(),
        }
    }

    /// A port of the loopback interface that nobody listens at and no other replica was given. `None` when none
    /// was found. A program that finds it taken all the same ends, and is started again with another.
    pub(crate) fn take_port(&self) -> Option<u16> {
        let mut taken = self.ports.lock();
        let span = u64::from(PORTS.end - PORTS.start);
        (0..PORT_ATTEMPTS).find_map(|_| {
            let offset = u16::try_from(self.random.below(span)).ok()?;
            let port = PORTS.start + offset;
            let free = !taken.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            (free && taken.insert(port)).then_some(port)
        })
    }

    /// Notes a port that an adopted replica has.
    pub(crate) fn keep_port(&self, port: u16) {
        self.ports.lock().insert(port);
    }

    /// Gives a port back.
    pub(crate) fn give_port_back(&self, port: u16) {
        self.ports.lock().remove(&port);
    }
}

/// Whether a process of this deployment may find what it was built for: its folder is there.
pub(crate) fn has_artefact(folders: &Folders, spec: &ProcessSpec, artefact: DeploymentId) -> bool {
    let source = folders.source(artefact);
    let linked =
        |path: &String| std::fs::symlink_metadata(source.join(path)).is_ok_and(|meta| meta.is_symlink());
    source.is_dir() && spec.volumes.values().filter_map(|volume| volume.path.as_ref()).all(linked)
}
