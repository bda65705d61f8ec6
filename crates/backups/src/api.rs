//! Routes.

use std::sync::Arc;

use authority::permissions;
use base::{BackupId, Page, codes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use vault::DataKey;
use web::{Call, PageQuery, Problem, Reply, Routes, Spec};

use crate::model::{Backup, Scope, Status};
use crate::state::{Backups, Job, event};

pub(crate) fn routes(backups: &Arc<Backups>) -> Routes {
    Routes::new("backups")
        .route(
            Spec::post("/api/v1/backups", permissions::BACKUPS_WRITE)
                .summary("Back up the store")
                .details(
                    "The backup is made after the reply; read it until its status is `complete` or `failed`.",
                )
                .example(r#"{"scope": "store"}"#)
                .success(202)
                .codes(&[&codes::OVERLOADED, &codes::SEALED]),
            backups.clone(),
            make,
        )
        .route(
            Spec::get("/api/v1/backups", permissions::BACKUPS_READ)
                .summary("List backups")
                .details("Newest first."),
            backups.clone(),
            list,
        )
        .route(
            Spec::get("/api/v1/backups/{b}", permissions::BACKUPS_READ).summary("Read a backup"),
            backups.clone(),
            get,
        )
        .route(
            Spec::post("/api/v1/backups/{b}/verify", permissions::BACKUPS_WRITE)
                .summary("Prove that a backup can be restored")
                .details("It is restored into a scratch store after the reply, and rows are compared.")
                .success(202)
                .repeatable("verifying once more changes nothing")
                .codes(&[&codes::CONFLICT, &codes::OVERLOADED, &codes::SEALED]),
            backups.clone(),
            verify,
        )
        .route(
            Spec::delete("/api/v1/backups/{b}", permissions::BACKUPS_DELETE)
                .summary("Remove a backup")
                .codes(&[&codes::CONFLICT]),
            backups.clone(),
            remove,
        )
}

/// What to back up.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MakeBackup {
    /// `store`: Switchyard's own store, whole.
    pub(crate) scope: Scope,
}

async fn make(backups: Arc<Backups>, call: Call<MakeBackup>) -> Result<Reply<Backup>, Problem> {
    let ctx = call.caller.system_ctx("back up the store")?;
    key(&backups)?;
    let place = backups.jobs.clone().try_reserve_owned().map_err(|_| busy())?;
    let MakeBackup { scope } = call.body;
    let wanted =
        Backup { scope, ..Backup::bare(BackupId::new(&*backups.clock, &*backups.random), Status::Queued) };
    let idempotency = call.idempotency.clone();
    let asked = wanted.clone();
    let backup = backups
        .db
        .write_system(&ctx, move |tx| {
            idempotency.once(tx, |tx| {
                let scope = json!({ "scope": asked.scope });
                tx.emit(None, event("backup.requested", &asked.id, Some(scope)))?;
                Ok::<_, Problem>(asked.clone())
            })
        })
        .await?;
    if backup.id != wanted.id {
        // A repetition: the backup of the first request stands, as it is by now.
        return Ok(Reply::accepted(backups.get(&backup.id, &key(&backups)?).unwrap_or(backup)));
    }
    backups.folder.announce(&backup.id).map_err(disk)?;
    backups.queued(backup.id);
    place.send(Job::Make(backup.id, ctx));
    Ok(Reply::accepted(backup))
}

async fn list(backups: Arc<Backups>, call: Call<(), PageQuery>) -> Result<Reply<Page<Backup>>, Problem> {
    let key = key(&backups)?;
    let request = call.query.page();
    let page = lifecycle::blocking(move || {
        let after = request.after().and_then(|id| BackupId::parse(id).ok());
        let ids = backups.ids()?.into_iter().filter(|id| after.is_none_or(|after| *id < after));
        let found = ids.filter_map(|id| backups.get(&id, &key)).take(request.limit as usize + 1);
        let found = found.map(|backup| Backup { tables: Vec::new(), ..backup }).collect();
        Ok::<_, std::io::Error>(Page::of(found, &request, |backup: &Backup| backup.id.to_string()))
    });
    let page = page.await.ok_or_else(|| Problem::internal("listing backups panicked"))?;
    Ok(Reply::ok(page.map_err(Problem::internal)?))
}

async fn get(backups: Arc<Backups>, call: Call) -> Result<Reply<Backup>, Problem> {
    let id: BackupId = call.path.id("b")?;
    let key = key(&backups)?;
    backups.get(&id, &key).map(Reply::ok).ok_or_else(|| Problem::new(&codes::NOT_FOUND))
}

async fn verify(backups: Arc<Backups>, call: Call) -> Result<Reply<Backup>, Problem> {
    let ctx = call.caller.system_ctx("verify a backup")?;
    let id: BackupId = call.path.id("b")?;
    let key = key(&backups)?;
    let backup = backups.get(&id, &key).ok_or_else(|| Problem::new(&codes::NOT_FOUND))?;
    if backup.status != Status::Complete && backup.status != Status::Unreadable {
        return Err(Problem::new(&codes::CONFLICT).detail("Only a complete backup can be verified."));
    }
    let place = backups.jobs.clone().try_reserve_owned().map_err(|_| busy())?;
    if backups.verification_queued(id) {
        place.send(Job::Verify(id, ctx));
    }
    Ok(Reply::accepted(backups.get(&id, &key).unwrap_or(backup)))
}

async fn remove(backups: Arc<Backups>, call: Call) -> Result<Reply<()>, Problem> {
    let ctx = call.caller.system_ctx("remove a backup")?;
    let id: BackupId = call.path.id("b")?;
    let key = key(&backups)?;
    if backups.get(&id, &key).is_none() {
        return Err(Problem::new(&codes::NOT_FOUND));
    }
    if backups.is_busy(&id) {
        return Err(
            Problem::new(&codes::CONFLICT).detail("It is being made or verified; wait for that to end.")
        );
    }
    // The event first: a backup that is gone without one would be a hole in the record.
    backups
        .db
        .write_system(&ctx, move |tx| {
            tx.emit(None, event("backup.removed", &id, None)).map(drop).map_err(Problem::from)
        })
        .await?;
    backups.remove(&id).map_err(Problem::internal)?;
    Ok(Reply::no_content())
}

fn key(backups: &Backups) -> Result<DataKey, Problem> {
    backups.key().map_err(|_| Problem::new(&codes::SEALED))
}

fn busy() -> Problem {
    Problem::new(&codes::OVERLOADED).detail("Several backups wait already.")
}

fn disk(error: std::io::Error) -> Problem {
    match error.kind() {
        std::io::ErrorKind::StorageFull => {
            Problem::new(&codes::STORE_FULL).detail("The disk of backups is full.")
        }
        _ => Problem::internal(error),
    }
}
