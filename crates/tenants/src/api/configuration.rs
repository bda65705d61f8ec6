//! `PUT /api/v1/environments/{e}/configuration`: the project file, applied whole.

use std::sync::Arc;

use authority::permissions;
use base::{EnvironmentId, Slug, codes};
use config::{Located, ProjectFile};
use ports::{ApplyError, Change, ChangeKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shape::Fault;
use web::{Call, Problem, Reply, Routes, Spec};

use super::{EnvironmentView, State};
use crate::ops::configuration::{self as op, Applied, Apply, Target};

const CONFIGURATION: &str = "/api/v1/environments/{e}/configuration";

/// Longest project file, in bytes: the largest real ones have a few thousand lines.
const TEXT_BYTES_MAX: usize = 512 * 1024;

pub(super) fn routes(state: &Arc<State>) -> Routes {
    Routes::new("tenants").route(
        Spec::put(CONFIGURATION, permissions::CONFIGURATION_WRITE)
            .summary("Apply a project file")
            .details(
                "The file is applied whole, all sections in one transaction. Named by an environment's name, \
                 the file's project and the environment are made when they are missing. `dry_run` tells what \
                 would change and changes nothing; `prune` allows removing what holds data.",
            )
            .codes(&[&codes::CONFLICT, &codes::INVALID])
            .body_max(TEXT_BYTES_MAX * 2)
            .example(r#"{"text": "schema = 1\n[project]\nname = \"agents\"\n", "dry_run": true}"#),
        Arc::clone(state),
        put,
    )
}

/// A project file and how to apply it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// The file's text (TOML).
    #[schemars(length(max = TEXT_BYTES_MAX))]
    pub text: String,
    /// What to call the file in messages; `switchyard.toml` when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub file_name: Option<String>,
    /// Whether to change nothing and only tell what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether things that hold data may be removed.
    #[serde(default)]
    pub prune: bool,
}

/// What an apply did, or would do.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationReply {
    /// The environment as it is after the apply.
    pub environment: EnvironmentView,
    /// What changed, in the order of the sections; empty when all was so already.
    pub changes: Vec<ChangeView>,
    /// Whether all of it was undone.
    pub dry_run: bool,
}

/// One thing that changed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ChangeView {
    /// `created`, `changed` or `removed`.
    pub kind: String,
    /// What, such as `plan free`.
    pub what: String,
}

impl From<Change> for ChangeView {
    fn from(change: Change) -> ChangeView {
        let kind = match change.kind {
            ChangeKind::Created => "created",
            ChangeKind::Changed => "changed",
            ChangeKind::Removed => "removed",
        };
        ChangeView { kind: kind.to_owned(), what: change.what }
    }
}

impl ConfigurationReply {
    fn new(applied: Applied, dry_run: bool) -> ConfigurationReply {
        let Applied { environment, changes } = applied;
        ConfigurationReply {
            environment: environment.into(),
            changes: changes.into_iter().map(ChangeView::from).collect(),
            dry_run,
        }
    }
}

async fn put(state: Arc<State>, call: Call<Configuration>) -> Result<Reply<ConfigurationReply>, Problem> {
    let ctx = call.caller.system_ctx("apply a project file")?;
    let name = call.path.get("e")?;
    let target = match EnvironmentId::parse(name) {
        Ok(id) => Target::Id(id),
        Err(_) => Target::Named(Slug::parse(name).map_err(|_| Problem::new(&codes::NOT_FOUND))?),
    };
    let environment = match &target {
        Target::Id(id) => slug_of(&state, *id)?,
        Target::Named(slug) => slug.clone(),
    };
    let (file, project) = read(&state, &call.body)?;
    let document = file.for_environment(environment.as_str());
    let Configuration { dry_run, prune, .. } = call.body;
    let command = Apply { target, project, document, prune, dry_run };
    let shared = Arc::clone(&state);
    let write = state.db.write_system(&ctx, move |tx| {
        op::apply(tx, &shared.sources, &shared.sections, &*shared.plans, &command)
    });
    let applied = match write.await {
        Ok(applied) => applied,
        Err(op::Error::DryRun(applied)) => return Ok(Reply::ok(ConfigurationReply::new(*applied, true))),
        Err(error) => return Err(problem(error, &file)),
    };
    if let Err(error) = state.environments.refresh().await {
        // The change is made; the follower of the event log reads it again.
        tracing::warn!(%error, "environments are read again later");
    }
    Ok(Reply::ok(ConfigurationReply::new(applied, false)))
}

fn slug_of(state: &State, id: EnvironmentId) -> Result<Slug, Problem> {
    use ports::EnvironmentDirectory as _;
    let all = state.environments.all();
    let found = all.into_iter().find(|environment| environment.id == id);
    Ok(found.ok_or_else(|| Problem::new(&codes::NOT_FOUND))?.slug)
}

/// The file and the name of its project; every mistake at once otherwise.
fn read(state: &State, body: &Configuration) -> Result<(ProjectFile, Slug), Problem> {
    let file_name = body.file_name.as_deref().unwrap_or(config::PROJECT_FILE);
    let file =
        ProjectFile::parse(&body.text, file_name, &state.schemas).map_err(|faults| mistakes(&faults.0))?;
    let name = file.section("project").and_then(|project| project.get("name")).and_then(Value::as_str);
    let project = name.and_then(|name| Slug::parse(name).ok()).ok_or_else(|| {
        let fault = Fault::new("/project", "nothing", "`[project]` with `name = \"…\"` is needed");
        mistakes(&[file.locate(fault)])
    })?;
    Ok((file, project))
}

fn mistakes(faults: &[Located]) -> Problem {
    let problem = Problem::new(&codes::INVALID)
        .detail(format!("The project file has {} mistake(s); nothing was changed.", faults.len()));
    faults.iter().fold(problem, |problem, fault| problem.fault("/text", fault.to_string()))
}

fn problem(error: op::Error, file: &ProjectFile) -> Problem {
    let said = error.to_string();
    match error {
        op::Error::NotFound => Problem::new(&codes::NOT_FOUND),
        op::Error::OtherProject(name) => Problem::new(&codes::CONFLICT).fault(
            "/text",
            format!("the environment belongs to project `{name}`; the file names another one"),
        ),
        op::Error::TooMany => Problem::new(&codes::CONFLICT).detail(format!("{said}; remove one first.")),
        op::Error::Section(ApplyError::Invalid(faults)) => {
            mistakes(&faults.into_iter().map(|fault| file.locate(fault)).collect::<Vec<_>>())
        }
        op::Error::Section(ApplyError::HoldsData(things)) => Problem::new(&codes::CONFLICT).detail(format!(
            "The file removes {}, which hold data; apply it with `prune` to remove them with their data.",
            things.join(", ")
        )),
        op::Error::Section(ApplyError::ManagedByApi(thing)) => {
            Problem::new(&codes::CONFLICT).detail(format!(
                "{thing} was made by API and is managed there; remove it there or take it out of the file."
            ))
        }
        op::Error::Section(ApplyError::Store(error)) => error.into(),
        op::Error::DryRun(_) => Problem::internal("a dry run is no failure"),
    }
}
