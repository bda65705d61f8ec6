//! What PostgreSQL's SQLSTATE codes mean for a closure and its connection.

use tokio_postgres::Error as Raw;

use crate::Error;
use crate::session::{Failure, Reach};

/// Reads a failure. Messages of the server are kept only where they cannot quote a value.
pub(crate) fn failure(error: &Raw) -> Failure {
    let Some(server) = error.as_db_error() else {
        let lost = error.is_closed() || has_io_source(error);
        return if lost {
            Failure::new(Error::Unavailable("the connection to PostgreSQL is lost".into()), Reach::Connection)
        } else {
            Failure::new(Error::Statement(told(error)), Reach::Closure)
        };
    };
    let code = server.code();
    let closure = |error| Failure::new(error, Reach::Closure);
    let lost = |why: &str| Failure::new(Error::Unavailable(why.into()), Reach::Connection);
    match code.code() {
        "40001" | "40P01" => Failure::new(Error::Busy, Reach::Repeat),
        "57014" | "55P03" => closure(Error::Timeout),
        "53100" => closure(Error::Full),
        // A plan made before a migration of another process; a new connection makes new ones.
        "0A000" if server.message().starts_with("cached plan") => {
            lost("a statement was prepared for an older schema")
        }
        "26000" => lost("PostgreSQL has forgotten a prepared statement"),
        "53300" | "53400" => lost("PostgreSQL has no connection left"),
        "25006" => closure(Error::ReadOnly),
        "25P03" | "57P01" | "57P02" | "57P03" | "57P05" => lost("PostgreSQL is stopping or starting"),
        "28P01" | "28000" => lost("PostgreSQL refuses the user or password of SWITCHYARD_DATABASE_URL"),
        "3D000" => lost("the database of SWITCHYARD_DATABASE_URL does not exist"),
        other if other.starts_with("08") => lost("the connection to PostgreSQL is lost"),
        other if other.starts_with("23") => {
            let named = server.constraint().or(server.column()).unwrap_or(other);
            closure(Error::Conflict { constraint: named.to_owned() })
        }
        other if ["53", "58", "XX"].iter().any(|class| other.starts_with(class)) => {
            closure(Error::Unavailable(format!("PostgreSQL is in trouble ({other})")))
        }
        // Class 42 names tables, columns and words of the statement, which is ours.
        other if other.starts_with("42") || other.starts_with("0A") => {
            closure(Error::Statement(format!("{} ({other})", server.message())))
        }
        other => closure(Error::Statement(format!("PostgreSQL answers {other}"))),
    }
}

fn has_io_source(error: &Raw) -> bool {
    std::iter::successors(std::error::Error::source(error), |inner| inner.source())
        .any(|inner| inner.is::<std::io::Error>())
}

/// The driver's errors and ours about a parameter's type; neither quotes its value.
fn told(error: &Raw) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
