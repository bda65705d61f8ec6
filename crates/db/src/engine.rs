//! The two engines behind one face.

use crate::job::Job;
use crate::queue::Refused;
use crate::{Kind, Status, postgres, sqlite};

pub(crate) enum Engine {
    Sqlite(sqlite::Engine),
    Postgres(postgres::Engine),
}

impl Engine {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Sqlite(_) => Kind::Sqlite,
            Self::Postgres(_) => Kind::Postgres,
        }
    }

    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Sqlite(engine) => engine.status(),
            Self::Postgres(engine) => engine.status(),
        }
    }

    /// Closures that wait: to write, to read.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        match self {
            Self::Sqlite(engine) => engine.waiting(),
            Self::Postgres(engine) => engine.waiting(),
        }
    }

    /// Clears away rows that are gone, where they stay until somebody does.
    pub(crate) fn vacuum(&self, tables: &'static [&'static str]) {
        match self {
            Self::Sqlite(_) => {}
            Self::Postgres(engine) => engine.vacuum(tables),
        }
    }

    pub(crate) fn send_write(&self, job: Box<dyn Job>) -> Result<(), Refused<Box<dyn Job>>> {
        match self {
            Self::Sqlite(engine) => engine.send_write(job),
            Self::Postgres(engine) => engine.send_write(job),
        }
    }

    pub(crate) fn send_read(&self, job: Box<dyn Job>) -> Result<(), Refused<Box<dyn Job>>> {
        match self {
            Self::Sqlite(engine) => engine.send_read(job),
            Self::Postgres(engine) => engine.send_read(job),
        }
    }

    /// A read that waits for no other than its like.
    pub(crate) fn send_hot_read(&self, job: Box<dyn Job>) -> Result<(), Refused<Box<dyn Job>>> {
        match self {
            Self::Sqlite(engine) => engine.send_hot_read(job),
            Self::Postgres(engine) => engine.send_read(job),
        }
    }
}
