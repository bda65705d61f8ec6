//! One command of a deployment that runs to its end: build, check, pre-deploy.

use super::{Work, kill_lost};
use crate::keeper::protocol::{Exit, Launch};
use crate::output::Tag;
use crate::processes::Names;
use crate::store::DeploymentRow;
use std::path::PathBuf;
use std::time::Duration;

/// Time that a command has between SIGTERM and SIGKILL when it took too long.
const STEP_GRACE: Duration = Duration::from_secs(5);

/// Starts of a command whose end nobody saw, since the keeper ended as well.
const ATTEMPTS_MAX: u32 = 2;

/// Which command it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Build,
    Check,
    PreDeploy,
}

impl Step {
    /// As logs and processes show it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Check => "check",
            Self::PreDeploy => "pre-deploy",
        }
    }

    /// Whether it may run twice. What comes before a release changes things outside, such as a database.
    fn is_repeatable(self) -> bool {
        match self {
            Self::Build | Self::Check => true,
            Self::PreDeploy => false,
        }
    }

    /// The key of the project file.
    fn key(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Check => "checks",
            Self::PreDeploy => "pre_deploy",
        }
    }
}

/// Runs a command. `dir` replaces the folder that it would run in.
///
/// # Errors
/// A sentence about how it failed, with the end of its output.
pub(super) async fn run(
    work: &Work,
    row: &DeploymentRow,
    (step, command): (Step, &str),
    dir: Option<PathBuf>,
) -> Result<(), String> {
    let rt = &work.rt;
    let name = format!("{}.{}", row.id, step.name());
    let (project, environment) = rt.names(row.environment);
    let names = Names { project: &project, environment: &environment, replica: step.name() };
    let mut launch: Launch = match step {
        Step::Build | Step::Check => rt.processes.build(row, &names, &name, command),
        Step::PreDeploy => rt.processes.pre_deploy(row, &names, &name, command),
    };
    if let Some(dir) = dir {
        launch.dir = dir;
    }
    let tag = Tag {
        service: row.service_name.to_string(),
        service_id: row.service.to_string(),
        environment: environment.clone(),
        deployment: row.id,
        replica: step.name().to_owned(),
        ordinal: 0,
        port: 0,
    };
    rt.outputs.say(row.id, &format!("{}: {command}", step.key()));
    let folders = rt.processes.folders_of(row, &name);
    let temporary = folders.temporary.clone();
    let cache = rt.folders.cache(row.environment);
    let made = lifecycle::blocking(move || folders.make().and_then(|()| crate::folders::make(&cache))).await;
    if let Some(Err(error)) = made {
        return Err(format!("the folders of `{}` cannot be made: {error}", step.key()));
    }
    rt.outputs.tag(&name, tag.clone());
    let meta = serde_json::to_value(&tag).unwrap_or_default();
    let mut attempts = if step.is_repeatable() { ATTEMPTS_MAX } else { 1 };
    let result = loop {
        attempts -= 1;
        let ended = match work.keeper.start(&name, meta.clone(), launch.clone()).await {
            Ok(_) => wait(work, (step, command), &name).await,
            Err(error) => Err(format!("`{}` cannot be started: {error}", step.key())),
        };
        // Not its own end, so that its deployment has not failed: the next start takes it up again.
        work.unless_stopping().await;
        work.keeper.forget(&name).await;
        match ended {
            Ok(Exit::Lost) if attempts > 0 => {
                rt.outputs.say(row.id, "lost with the keeper of the processes: again");
                let own = vec![row.id.to_string()];
                let _panicked = lifecycle::blocking(move || kill_lost("SWITCHYARD_DEPLOYMENT", &own)).await;
            }
            ended => break ended.and_then(|exit| judge(work, row, (step, command), exit)),
        }
    };
    rt.outputs.untag(&name);
    let _panicked = lifecycle::blocking(move || crate::folders::remove(&temporary)).await;
    result
}

/// Waits for the end of a command, and ends it when it takes too long.
async fn wait(work: &Work, (step, command): (Step, &str), name: &str) -> Result<Exit, String> {
    let limit = work.rt.config.step_timeout;
    let Ok(exit) = tokio::time::timeout(limit, work.keeper.exit(name)).await else {
        let _gone = work.keeper.stop(name, STEP_GRACE).await;
        work.keeper.exit(name).await;
        let limit = base::HumanDuration(limit);
        return Err(format!("`{}` did not end within {limit} (it is `{command}`)", step.key()));
    };
    Ok(exit)
}

fn judge(work: &Work, row: &DeploymentRow, (step, command): (Step, &str), exit: Exit) -> Result<(), String> {
    if exit.is_success() {
        return Ok(());
    }
    let last = work.rt.outputs.last_lines(row.id);
    let last =
        if last.is_empty() { "it printed nothing".to_owned() } else { format!("its last output: {last}") };
    Err(match exit {
        Exit::Code(127) => {
            format!("command not found in `{}`: {last}. Install it or correct `{command}`", step.key())
        }
        Exit::Lost => format!("`{}` was lost with the keeper of the processes: deploy again", step.key()),
        _ => format!("`{}` (`{command}`) ended with {exit}; {last}", step.key()),
    })
}
