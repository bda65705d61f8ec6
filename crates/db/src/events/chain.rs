//! The link of a tenant's chain: SHA-256 over the predecessor's link and the whole stored event.

use ring::digest::{Context, SHA256, digest};

use crate::{Error, Row};

pub(crate) type Link = [u8; 32];

/// An event as it is stored: what its link covers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub(crate) tenant: String,
    pub(crate) id: String,
    pub(crate) environment: Option<String>,
    pub(crate) kind: String,
    pub(crate) subject: String,
    pub(crate) at: i64,
    pub(crate) payload: Vec<u8>,
}

/// Columns of [`Stored`], in the order that [`Stored::read`] wants them.
macro_rules! stored_columns {
    () => {
        "tenant, id, environment, kind, subject, at, payload"
    };
}
pub(crate) use stored_columns;

impl Stored {
    pub(crate) fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            tenant: row.get(0)?,
            id: row.get(1)?,
            environment: row.get(2)?,
            kind: row.get(3)?,
            subject: row.get(4)?,
            at: row.get(5)?,
            payload: row.get(6)?,
        })
    }

    /// The link of this event at its place. Each part goes in with its length, so that no two events read alike.
    pub(crate) fn link(&self, before: &Link, chain_index: i64, position: i64) -> Link {
        let mut context = Context::new(&SHA256);
        let mut part = |bytes: &[u8]| {
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        };
        part(b"switchyard event 1");
        part(before);
        part(&chain_index.to_be_bytes());
        part(&position.to_be_bytes());
        part(self.tenant.as_bytes());
        part(self.id.as_bytes());
        part(self.environment.as_deref().unwrap_or("").as_bytes());
        part(self.kind.as_bytes());
        part(self.subject.as_bytes());
        part(&self.at.to_be_bytes());
        part(&self.payload);
        bytes(context.finish().as_ref())
    }
}

/// What the first event of a chain is linked to.
pub(crate) fn origin(tenant: &str) -> Link {
    bytes(digest(&SHA256, format!("switchyard chain 1 {tenant}").as_bytes()).as_ref())
}

fn bytes(digest: &[u8]) -> Link {
    let mut link = [0; 32];
    link.copy_from_slice(digest);
    link
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
