//! Queues.

use base::{EnvironmentId, Slug};
use db::{Error, Row, SYSTEM_SCOPE, Sql, SystemTx, params};

use crate::{ManagedBy, QueueKey, QueueSettings, QueueView};

/// A queue and the number that its jobs name it by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QueueRow {
    pub(crate) number: i64,
    pub(crate) view: QueueView,
}

macro_rules! queue_columns {
    () => {
        "number, environment, name, settings, paused, managed_by, created_at, updated_at"
    };
}

fn environment_text(key: &QueueKey) -> String {
    key.environment.map_or_else(|| SYSTEM_SCOPE.to_owned(), |environment| environment.to_string())
}

fn read(row: &Row) -> Result<QueueRow, Error> {
    let decode = |what: &str| Error::Decode(format!("a queue's {what} is not one"));
    let environment: String = row.get(1)?;
    let environment = match environment.as_str() {
        SYSTEM_SCOPE => None,
        text => Some(EnvironmentId::parse(text).map_err(|_| decode("environment"))?),
    };
    let name = Slug::parse(&row.get::<String>(2)?).map_err(|_| decode("name"))?;
    let settings: QueueSettings =
        serde_json::from_str(&row.get::<String>(3)?).map_err(|_| decode("settings"))?;
    let view = QueueView {
        key: QueueKey { environment, name },
        settings,
        paused: row.get(4)?,
        managed_by: ManagedBy::parse(&row.get::<String>(5)?)?,
        created_at: row.get(6)?,
        updated_at: row.get(7)?,
    };
    Ok(QueueRow { number: row.get(0)?, view })
}

const ALL: Sql = Sql::One(concat!("SELECT ", queue_columns!(), " FROM jobs_queues ORDER BY number"));

/// All queues.
pub(crate) fn all(tx: &mut SystemTx<'_>) -> Result<Vec<QueueRow>, Error> {
    tx.query(&ALL, &[])?.iter().map(read).collect()
}

const OF: Sql =
    Sql::One(concat!("SELECT ", queue_columns!(), " FROM jobs_queues WHERE environment = $1 ORDER BY name"));

/// The queues of an environment by name.
pub(crate) fn of(tx: &mut SystemTx<'_>, environment: EnvironmentId) -> Result<Vec<QueueRow>, Error> {
    tx.query(&OF, &params![environment.to_string()])?.iter().map(read).collect()
}

const ONE: Sql =
    Sql::One(concat!("SELECT ", queue_columns!(), " FROM jobs_queues WHERE environment = $1 AND name = $2"));

/// One queue.
pub(crate) fn one(tx: &mut SystemTx<'_>, key: &QueueKey) -> Result<Option<QueueRow>, Error> {
    let found = tx.query_opt(&ONE, &params![environment_text(key), key.name.as_str()])?;
    found.as_ref().map(read).transpose()
}

const NUMBER: Sql = Sql::One("SELECT coalesce(max(number), 0) + 1 FROM jobs_queues");
const ADD: Sql = Sql::One(
    "INSERT INTO jobs_queues (number, environment, name, settings, paused, managed_by, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
);

/// Adds a queue and gives it its number. [`Error::Conflict`] when it is there.
pub(crate) fn add(tx: &mut SystemTx<'_>, view: QueueView) -> Result<QueueRow, Error> {
    let number: i64 = tx.query_one(&NUMBER, &[])?.get(0)?;
    let values = params![
        number,
        environment_text(&view.key),
        view.key.name.as_str(),
        settings_text(&view.settings)?,
        view.paused,
        view.managed_by.as_str(),
        view.created_at,
        view.updated_at
    ];
    tx.execute(&ADD, &values)?;
    Ok(QueueRow { number, view })
}

const CHANGE: Sql = Sql::One(
    "UPDATE jobs_queues SET settings = $2, paused = $3, managed_by = $4, updated_at = $5 WHERE number = $1",
);

/// Writes what may change of a queue.
pub(crate) fn change(tx: &mut SystemTx<'_>, row: &QueueRow) -> Result<(), Error> {
    let view = &row.view;
    let values = params![
        row.number,
        settings_text(&view.settings)?,
        view.paused,
        view.managed_by.as_str(),
        view.updated_at
    ];
    tx.execute(&CHANGE, &values).map(drop)
}

fn settings_text(settings: &QueueSettings) -> Result<String, Error> {
    serde_json::to_string(settings)
        .map_err(|error| Error::Statement(format!("write a queue's settings: {error}")))
}

/// Removes a queue; its jobs are the caller's business.
pub(crate) fn remove(tx: &mut SystemTx<'_>, number: i64) -> Result<(), Error> {
    const REMOVE: Sql = Sql::One("DELETE FROM jobs_queues WHERE number = $1");
    tx.execute(&REMOVE, &params![number]).map(drop)
}

/// Keeps other processes from claiming of this queue until the transaction ends. On SQLite nobody else is there.
pub(crate) const LOCK: Sql = Sql::Split {
    sqlite: "SELECT number FROM jobs_queues WHERE number = $1",
    postgres: "SELECT number FROM jobs_queues WHERE number = $1 FOR UPDATE",
};
