//! Rows of letters. Their text holds links that open accounts, so it is sealed.

use base::{Email, TenantId, Timestamp};
use db::{Error, Sql, SystemTx, params};
use ports::Mail;

use super::email;
use crate::model::{MailId, OUTBOX_MAX};

const INSERT: Sql = Sql::One(
    "INSERT INTO accounts_outbox (id, recipient, kind, subject, sealed, tenant, created_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)",
);
const PAGE: Sql = Sql::One(
    "SELECT id, recipient, kind, subject, sealed, tenant, created_at FROM accounts_outbox \
     WHERE id < $1 ORDER BY id DESC LIMIT $2",
);
const PAGE_TO: Sql = Sql::One(
    "SELECT id, recipient, kind, subject, sealed, tenant, created_at FROM accounts_outbox \
     WHERE recipient = $3 AND id < $1 ORDER BY id DESC LIMIT $2",
);
const TRIM: Sql = Sql::One(
    "DELETE FROM accounts_outbox WHERE id <= \
     (SELECT id FROM accounts_outbox ORDER BY id DESC LIMIT 1 OFFSET $1)",
);
const DELETE_OF_TENANT: Sql = Sql::One("DELETE FROM accounts_outbox WHERE tenant = $1");
/// Behind every id.
const LAST: &str = "mail_8";

/// A letter with its text open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) id: MailId,
    pub(crate) to: Email,
    pub(crate) kind: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) created_at: Timestamp,
}

/// Leaves a letter.
pub(crate) fn insert(tx: &mut SystemTx, id: MailId, mail: &Mail, now: Timestamp) -> Result<(), Error> {
    let sealed = tx.seal(&aad(id), mail.text.as_bytes())?;
    let to = mail.to.as_str();
    tx.execute(&INSERT, &params![id, to, mail.kind, mail.subject.as_str(), sealed, mail.tenant, now])?;
    Ok(())
}

/// Letters before `before` (empty for the newest), the newest first; those to an address where one is given.
pub(crate) fn page(
    tx: &mut SystemTx,
    to: Option<&Email>,
    before: &str,
    limit: u32,
) -> Result<Vec<Letter>, Error> {
    let before = if before.is_empty() { LAST } else { before };
    let rows = match to {
        Some(to) => tx.query(&PAGE_TO, &params![before, limit, to.as_str()])?,
        None => tx.query(&PAGE, &params![before, limit])?,
    };
    rows.iter()
        .map(|row| {
            let id = row.get(0)?;
            let text = tx.open(&aad(id), &row.get::<Vec<u8>>(4)?)?;
            Ok(Letter {
                id,
                to: email(&row.get::<String>(1)?)?,
                kind: row.get(2)?,
                subject: row.get(3)?,
                text: String::from_utf8_lossy(&text).into_owned(),
                tenant: row.get(5)?,
                created_at: row.get(6)?,
            })
        })
        .collect()
}

/// Removes all but the newest [`OUTBOX_MAX`].
pub(crate) fn trim(tx: &mut SystemTx) -> Result<u64, Error> {
    tx.execute(&TRIM, &params![OUTBOX_MAX])
}

/// Removes the letters in a tenant's name.
pub(crate) fn delete_of_tenant(tx: &mut SystemTx, tenant: TenantId) -> Result<(), Error> {
    tx.execute(&DELETE_OF_TENANT, &params![tenant])?;
    Ok(())
}

fn aad(id: MailId) -> Vec<u8> {
    vault::aad(&[b"accounts outbox", id.as_bytes()])
}
