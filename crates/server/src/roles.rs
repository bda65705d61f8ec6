//! What a process does of all that Switchyard does.

use module::CliError;

/// One part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Serves tenants.
    Gateway,
    /// Serves the control API.
    Control,
    /// Runs the services on this machine.
    Runtime,
}

/// A set of roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Roles {
    /// Serves tenants.
    pub(crate) gateway: bool,
    /// Serves the control API.
    pub(crate) control: bool,
    /// Runs services.
    pub(crate) runtime: bool,
}

impl Roles {
    /// Everything in one process.
    pub(crate) const ALL: Roles = Roles { gateway: true, control: true, runtime: true };

    /// Reads `gateway,control,runtime`.
    ///
    /// # Errors
    /// An unknown role, or an empty list (2).
    pub(crate) fn parse(text: &str) -> Result<Roles, CliError> {
        let mut roles = Roles { gateway: false, control: false, runtime: false };
        for name in text.split(',').map(str::trim).filter(|n| !n.is_empty()) {
            match role(name)? {
                Role::Gateway => roles.gateway = true,
                Role::Control => roles.control = true,
                Role::Runtime => roles.runtime = true,
            }
        }
        if roles == (Roles { gateway: false, control: false, runtime: false }) {
            return Err(
                CliError::usage("--roles names no role").next("Roles are gateway, control and runtime.")
            );
        }
        Ok(roles)
    }
}

fn role(name: &str) -> Result<Role, CliError> {
    match name {
        "gateway" => Ok(Role::Gateway),
        "control" => Ok(Role::Control),
        "runtime" => Ok(Role::Runtime),
        _ => {
            let known = ["gateway", "control", "runtime"];
            let hint = base::nearest(name, known).map(|n| format!(" Did you mean {n}?")).unwrap_or_default();
            Err(CliError::usage(format!("there is no role {name:?}"))
                .next(format!("Roles are gateway, control and runtime.{hint}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_in_any_order_and_typos_are_told() {
        assert_eq!(Roles::parse("control, gateway,runtime").expect("three roles"), Roles::ALL);
        assert!(!Roles::parse("gateway").expect("one role").control);
        assert_eq!(Roles::parse("").expect_err("none").exit, module::EXIT_USAGE);
        let typo = Roles::parse("gatway").expect_err("a typo");
        assert!(typo.next.is_some_and(|n| n.contains("Did you mean gateway?")));
    }
}
