//! What a process does of all that Switchyard does.

use module::CliError;

/// One part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Serves tenants.
    Gateway,
    /// Serves the control API.
    Control,
    /// Runs the services on this machine, and pushes jobs to them.
    Runtime,
    /// Works off built-in queues.
    Worker,
    /// Makes jobs by schedules.
    Scheduler,
}

impl Role {
    /// All of them, with their names.
    const ALL: [(&'static str, Role); 5] = [
        ("gateway", Role::Gateway),
        ("control", Role::Control),
        ("runtime", Role::Runtime),
        ("worker", Role::Worker),
        ("scheduler", Role::Scheduler),
    ];
}

/// A set of roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Roles {
    /// Serves tenants.
    pub(crate) gateway: bool,
    /// Serves the control API.
    pub(crate) control: bool,
    /// Runs services, and pushes jobs to them.
    pub(crate) runtime: bool,
    /// Works off built-in queues.
    pub(crate) worker: bool,
    /// Makes jobs by schedules.
    pub(crate) scheduler: bool,
}

impl Roles {
    /// Everything in one process.
    pub(crate) const ALL: Roles =
        Roles { gateway: true, control: true, runtime: true, worker: true, scheduler: true };

    /// The workers alone, as with `WORKER_MODE=true`.
    pub(crate) const WORKER: Roles =
        Roles { gateway: false, control: false, runtime: false, worker: true, scheduler: false };

    /// Reads `gateway,control,worker`.
    ///
    /// # Errors
    /// An unknown role, or an empty list (2).
    pub(crate) fn parse(text: &str) -> Result<Roles, CliError> {
        let mut roles = Roles::default();
        for name in text.split(',').map(str::trim).filter(|n| !n.is_empty()) {
            match role(name)? {
                Role::Gateway => roles.gateway = true,
                Role::Control => roles.control = true,
                Role::Runtime => roles.runtime = true,
                Role::Worker => roles.worker = true,
                Role::Scheduler => roles.scheduler = true,
            }
        }
        if roles == Roles::default() {
            return Err(CliError::usage("--roles names no role").next(known()));
        }
        Ok(roles)
    }

    /// Whether the API listens here: for operators, or for the services that run here. Other processes serve their own
    /// health and metrics alone.
    pub(crate) fn has_api(self) -> bool {
        self.control || self.runtime
    }

    /// Whether a task of a capability runs here.
    pub(crate) fn runs(self, capability: &str, task: &str) -> bool {
        match (capability, task) {
            ("deployments", _) | ("jobs", "jobs.push") => self.runtime,
            ("jobs", "jobs.workers") => self.worker,
            ("schedules" | "billing", _) => self.scheduler,
            ("backups", _) => self.control,
            // One process a data folder writes its log there; another's stays on its standard error.
            ("logs", _) => self.has_api(),
            _ => true,
        }
    }
}

fn role(name: &str) -> Result<Role, CliError> {
    let found = Role::ALL.into_iter().find(|(known, _)| *known == name);
    found.map(|(_, role)| role).ok_or_else(|| {
        let names = Role::ALL.map(|(known, _)| known);
        let hint = base::nearest(name, names).map(|n| format!(" Did you mean {n}?")).unwrap_or_default();
        CliError::usage(format!("there is no role {name:?}")).next(format!("{}{hint}", known()))
    })
}

/// Names all roles.
fn known() -> &'static str {
    "Roles are gateway, control, runtime, worker and scheduler."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_in_any_order_and_typos_are_told() {
        let all = "control, gateway,scheduler,worker,runtime";
        assert_eq!(Roles::parse(all).expect("five roles"), Roles::ALL);
        assert_eq!(Roles::parse("worker").expect("one role"), Roles::WORKER);
        assert!(!Roles::parse("gateway").expect("one role").control);
        assert_eq!(Roles::parse("").expect_err("none").exit, module::EXIT_USAGE);
        let typo = Roles::parse("gatway").expect_err("a typo");
        assert!(typo.next.is_some_and(|n| n.contains("Did you mean gateway?")));
    }

    #[test]
    fn a_process_runs_the_tasks_of_its_roles() {
        let (worker, all) = (Roles::WORKER, Roles::ALL);
        assert!(worker.runs("jobs", "jobs.workers") && worker.runs("jobs", "jobs.engine"));
        assert!(!worker.runs("jobs", "jobs.push") && !worker.runs("deployments", "deployments.services"));
        assert!(!worker.runs("schedules", "schedules.fire") && !worker.has_api());
        assert!(all.runs("schedules", "schedules.fire") && all.runs("jobs", "jobs.push") && all.has_api());
    }
}
