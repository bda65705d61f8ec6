//! What is refused, on the wire.

use base::{Code, codes};
use web::Problem;

use crate::Error;

/// The stable code of an error.
pub(crate) fn code_of(error: &Error) -> &'static Code {
    match error {
        Error::QueueUnknown { .. } => &codes::QUEUE_UNKNOWN,
        Error::NotFound => &codes::NOT_FOUND,
        Error::LeaseLost(_) => &codes::LEASE_LOST,
        Error::Duplicate { .. } => &codes::JOB_DUPLICATE,
        Error::QueueFull { .. } => &codes::QUEUE_FULL,
        Error::PayloadTooLarge { .. } => &codes::PAYLOAD_TOO_LARGE,
        Error::NotWaiting { .. } | Error::ManagedByApi(_) => &codes::CONFLICT,
        Error::ManagedByFile(_) => &codes::MANAGED_BY_FILE,
        Error::HoldsJobs { .. } => &codes::QUEUE_IN_USE,
        Error::Invalid { .. } => &codes::INVALID,
        Error::Overloaded => &codes::OVERLOADED,
        Error::Store(_) => &codes::UNAVAILABLE,
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let problem = Problem::new(code_of(&error));
        let said = error.to_string();
        match error {
            Error::QueueUnknown { name, nearest } => {
                let meant = nearest.map(|near| format!(" Did you mean {near}?")).unwrap_or_default();
                problem.detail(format!(
                    "There is no queue {name} in this environment.{meant} Declare one with `[queues.{name}]` in the \
                     project file, `switchyard queues create {name}`, or `PUT /api/v1/queues/{name}`."
                ))
            }
            Error::NotFound => problem,
            Error::LeaseLost(_) => problem.detail(
                "The lease is over, or the job was given to another worker: stop working on it. What was sent does not \
                 count.",
            ),
            Error::Duplicate { existing } => problem
                .detail(format!("{existing} has the same unique key and has not ended, or not for long enough; nothing of the request was done."))
                .member("existing", existing.to_string()),
            Error::QueueFull { retry_after, .. } => {
                problem.detail(format!("{}.", sentence(&said))).retry_after(retry_after)
            }
            Error::PayloadTooLarge { bytes_max, .. } => problem
                .detail(format!("{}. Keep large things in storage, and send a reference.", sentence(&said)))
                .member("limit", bytes_max as u64),
            Error::NotWaiting { .. } => problem.detail(format!("{}.", sentence(&said))),
            Error::HoldsJobs { .. } => {
                problem.detail(format!("{}. `force` removes them as well.", sentence(&said)))
            }
            Error::ManagedByFile(name) => {
                problem.detail(format!("Change `[queues.{name}]` in the project file and apply it."))
            }
            Error::ManagedByApi(_) => problem.detail(format!("{}.", sentence(&said))),
            Error::Invalid { pointer, detail } => {
                problem.detail("One value is not allowed.").fault(pointer, detail)
            }
            Error::Overloaded => problem
                .detail("More work waits for the store than it can take; try again.")
                .retry_after(std::time::Duration::from_secs(1)),
            Error::Store(error) => error.into(),
        }
    }
}

/// The text with a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base::JobId;

    use super::*;

    #[test]
    fn each_refusal_says_what_to_do() {
        let job = JobId::from_uuid_bytes([1; 16]);
        let document = |error: Error| {
            let (status, headers, text) = Problem::from(error).render("req");
            let value: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
            (status.as_u16(), value, headers)
        };
        let (status, unknown, _) =
            document(Error::QueueUnknown { name: "rnus".into(), nearest: Some("runs".into()) });
        assert_eq!((status, &unknown["code"]), (404, &"queue_unknown".into()));
        assert!(
            unknown["detail"].as_str().is_some_and(|text| text.contains("Did you mean runs?")),
            "{unknown}"
        );
        let (status, duplicate, _) = document(Error::Duplicate { existing: job });
        assert_eq!((status, &duplicate["existing"]), (409, &job.to_string().into()));
        let full = Error::QueueFull {
            queue: "runs".into(),
            what: "2000000 jobs of one tenant".into(),
            retry_after: Duration::from_secs(5),
        };
        let (status, _, headers) = document(full);
        assert_eq!((status, &headers[http::header::RETRY_AFTER]), (429, &"5".parse().expect("a value")));
        let large = Error::PayloadTooLarge { what: "payload", bytes: 300_000, bytes_max: 262_144 };
        assert_eq!((document(large.clone()).0, document(large).1["limit"].as_u64()), (413, Some(262_144)));
        assert_eq!(document(Error::LeaseLost(job)).0, 409);
    }
}
