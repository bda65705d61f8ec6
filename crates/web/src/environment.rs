//! In which environment a call takes place (SPEC 1): the credential's, else the one that the header names, else the
//! only one there is.

use crate::problem::Problem;
use authority::Caller;
use base::{EnvironmentId, ProjectId, Slug, codes};
use http::{HeaderMap, HeaderName};
use ports::{EnvironmentDirectory, EnvironmentRecord};

/// Names an environment by slug or id.
pub const ENVIRONMENT: HeaderName = HeaderName::from_static("switchyard-environment");

/// The environment of a call; `None` when nothing names one and there is not exactly one, nor a current one.
///
/// # Errors
/// `bad_request` for a header that names none or several; `forbidden` when the credential is bound to another.
pub(crate) fn of_call(
    directory: Option<&dyn EnvironmentDirectory>,
    caller: &Caller,
    headers: &HeaderMap,
) -> Result<Option<EnvironmentRecord>, Problem> {
    let Some(directory) = directory else {
        return Ok(None);
    };
    let named = named(headers)?;
    let all = directory.shared();
    if let Some(bound) = caller.environment() {
        return bound_to(bound, named.as_deref(), &all);
    }
    if let Some(project) = caller.project() {
        return in_project(project, named.as_deref(), &all, directory.current());
    }
    match named {
        Some(name) => find(&name, &all, directory.current().as_ref()).map(Some),
        None if all.len() == 1 => Ok(all.first().cloned()),
        None => Ok(directory.current()),
    }
}

/// Where a permission is asked for.
///
/// # Errors
/// `bad_request` when the route is about an environment and the call has none.
pub(crate) fn needed(
    in_environment: bool,
    environment: Option<&EnvironmentRecord>,
) -> Result<Option<&Slug>, Problem> {
    match (in_environment, environment) {
        (false, _) => Ok(None),
        (true, Some(environment)) => Ok(Some(&environment.slug)),
        (true, None) => {
            Err(refusal("name one of the environments; when there is none yet, apply a project file first"))
        }
    }
}

/// The environment of a caller who is kept to a project: another project's is as good as none.
fn in_project(
    project: ProjectId,
    named: Option<&str>,
    all: &[EnvironmentRecord],
    current: Option<EnvironmentRecord>,
) -> Result<Option<EnvironmentRecord>, Problem> {
    let mut own = all.iter().filter(|one| one.project == project);
    match named {
        Some(name) => {
            let found = own.find(|one| is_called(one, name));
            found.cloned().map(Some).ok_or_else(|| refusal("there is no environment of this name or id"))
        }
        None => Ok(current.filter(|current| current.project == project).or_else(|| {
            let only = own.next()?;
            own.next().is_none().then(|| only.clone())
        })),
    }
}

fn bound_to(
    bound: EnvironmentId,
    named: Option<&str>,
    all: &[EnvironmentRecord],
) -> Result<Option<EnvironmentRecord>, Problem> {
    let own = all.iter().find(|one| one.id == bound);
    let agrees = named.is_none_or(|name| own.is_some_and(|own| is_called(own, name)));
    if agrees {
        return Ok(own.cloned());
    }
    Err(Problem::new(&codes::FORBIDDEN).detail("The credential is bound to another environment."))
}

fn find(
    name: &str,
    all: &[EnvironmentRecord],
    current: Option<&EnvironmentRecord>,
) -> Result<EnvironmentRecord, Problem> {
    let found: Vec<&EnvironmentRecord> = all.iter().filter(|one| is_called(one, name)).collect();
    let own = || found.iter().find(|one| current.is_some_and(|current| current.project == one.project));
    match found.as_slice() {
        [] => Err(refusal("there is no environment of this name or id")),
        [one] => Ok((*one).clone()),
        _ => own()
            .map(|one| (*one).clone())
            .ok_or_else(|| refusal("several projects have one of this name; give its id")),
    }
}

fn is_called(environment: &EnvironmentRecord, name: &str) -> bool {
    environment.slug.as_str() == name || environment.id.to_string() == name
}

fn named(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(ENVIRONMENT).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    text.map(|text| Some(text.to_owned())).ok_or_else(|| refusal("one name or id is expected"))
}

fn refusal(detail: &str) -> Problem {
    Problem::new(&codes::BAD_REQUEST).fault(format!("/header/{ENVIRONMENT}"), detail)
}
