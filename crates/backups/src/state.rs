//! What the routes and the worker share: the folder, the queue, and what is going on.

use std::collections::BTreeMap;
use std::sync::Arc;

use authority::SystemCtx;
use base::{BackupId, SharedClock, SharedRandom};
use db::{Db, MigrationSet, NewEvent};
use lifecycle::Stop;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use vault::{DataKey, Vault};

use crate::folder::Folder;
use crate::metrics::BackupMetrics;
use crate::model::{Backup, Status, Verification, VerificationState};
use crate::{Config, Deps, make, verify};

/// Backups and verifications that may wait: more are asked for by mistake.
const JOBS_MAX: usize = 8;

/// Failures that are remembered until the process ends.
const FAILURES_MAX: usize = 100;

pub(crate) enum Job {
    Make(BackupId, SystemCtx),
    Verify(BackupId, SystemCtx),
}

pub(crate) struct Backups {
    pub(crate) db: Db,
    pub(crate) clock: SharedClock,
    pub(crate) random: SharedRandom,
    pub(crate) vault: Vault,
    pub(crate) sets: Vec<MigrationSet>,
    pub(crate) folder: Folder,
    pub(crate) jobs: mpsc::Sender<Job>,
    metrics: BackupMetrics,
    going_on: Mutex<GoingOn>,
}

#[derive(Default)]
struct GoingOn {
    /// Queued, running, and failed backups of this process.
    making: BTreeMap<BackupId, (Status, Option<String>)>,
    /// Backups whose verification waits or runs.
    verifying: Vec<BackupId>,
    /// Why the last attempt failed; `None` when it did not.
    last_failure: Option<String>,
}

impl Backups {
    pub(crate) fn new(config: Config, deps: Deps) -> (Arc<Backups>, mpsc::Receiver<Job>) {
        let Config { folder } = config;
        let Deps { db, clock, random, vault, sets, metrics } = deps;
        let (jobs, receiver) = mpsc::channel(JOBS_MAX);
        let folder = Folder::new(folder);
        let metrics = BackupMetrics::new(&metrics);
        let going_on = Mutex::default();
        (Arc::new(Backups { db, clock, random, vault, sets, folder, jobs, metrics, going_on }), receiver)
    }

    /// The key of all backups. It follows from the master key alone, so that a new machine with that key can restore.
    pub(crate) fn key(&self) -> Result<DataKey, vault::Error> {
        key_of(&self.vault)
    }

    /// Does what the queue says, one thing at a time, until told to stop; what is begun is finished.
    pub(crate) async fn work(&self, jobs: &mut mpsc::Receiver<Job>, stop: Stop) {
        self.folder.sweep();
        loop {
            let job = tokio::select! {
                () = stop.stopped() => return,
                job = jobs.recv() => job,
            };
            match job {
                Some(Job::Make(id, ctx)) => self.make(id, &ctx).await,
                Some(Job::Verify(id, ctx)) => self.verify(id, &ctx).await,
                None => return,
            }
        }
    }

    /// Notes that a backup waits.
    pub(crate) fn queued(&self, id: BackupId) {
        self.going_on.lock().making.insert(id, (Status::Queued, None));
    }

    /// Notes that a verification waits; `false` when one does already.
    pub(crate) fn verification_queued(&self, id: BackupId) -> bool {
        let mut going_on = self.going_on.lock();
        if going_on.verifying.contains(&id) {
            return false;
        }
        going_on.verifying.push(id);
        true
    }

    pub(crate) fn last_failure(&self) -> Option<String> {
        self.going_on.lock().last_failure.clone()
    }

    /// Ids of all that there is, the newest first.
    pub(crate) fn ids(&self) -> std::io::Result<Vec<BackupId>> {
        let mut ids: Vec<BackupId> = self.folder.ids()?.into_iter().map(|(id, _)| id).collect();
        ids.extend(self.going_on.lock().making.keys());
        ids.sort_by(|left, right| right.cmp(left));
        ids.dedup();
        Ok(ids)
    }

    /// One backup as it is now; `None` when there is none of that id.
    pub(crate) fn get(&self, id: &BackupId, key: &DataKey) -> Option<Backup> {
        let (making, verifying) = {
            let going_on = self.going_on.lock();
            (going_on.making.get(id).cloned(), going_on.verifying.contains(id))
        };
        if let Some((status, error)) = making {
            return Some(Backup { error, ..Backup::bare(*id, status) });
        }
        if let Some(mut backup) = self.folder.describe(id, key) {
            if verifying {
                backup.verification =
                    Verification { state: VerificationState::Running, at: None, error: None };
            }
            return Some(backup);
        }
        let left = self.folder.part(id).exists();
        left.then(|| Backup {
            error: Some("the process ended while it was made".to_owned()),
            ..Backup::bare(*id, Status::Failed)
        })
    }

    /// Forgets a failure, and removes the files.
    pub(crate) fn remove(&self, id: &BackupId) -> std::io::Result<bool> {
        let removed = self.folder.remove(id)?;
        Ok(self.going_on.lock().making.remove(id).is_some() || removed)
    }

    /// Whether it is being made or verified.
    pub(crate) fn is_busy(&self, id: &BackupId) -> bool {
        let going_on = self.going_on.lock();
        let made = going_on.making.get(id).is_some_and(|(status, _)| *status != Status::Failed);
        made || going_on.verifying.contains(id)
    }

    async fn make(&self, id: BackupId, ctx: &SystemCtx) {
        self.going_on.lock().making.insert(id, (Status::Running, None));
        let (kind, after) = match make::make(self, id, ctx).await {
            Ok(trailer) => {
                let mut going_on = self.going_on.lock();
                going_on.making.remove(&id);
                going_on.last_failure = None;
                self.metrics.complete.inc();
                self.metrics.last_success.set(trailer.completed_at.micros() / 1_000_000);
                ("backup.completed", json!({ "bytes": trailer.bytes, "rows": trailer.rows() }))
            }
            Err(error) => {
                tracing::error!(backup.id = %id, %error, "backup failed");
                self.folder.give_up(&id);
                self.failed(id, error.to_string());
                ("backup.failed", json!({ "error": error.to_string() }))
            }
        };
        self.emit(ctx, kind, id, after).await;
    }

    async fn verify(&self, id: BackupId, ctx: &SystemCtx) {
        let result = verify::verify(self, id).await;
        let error = result.err().map(|error| error.to_string());
        if let Some(error) = &error {
            tracing::error!(backup.id = %id, %error, "backup could not be restored");
        }
        let held = error.is_none();
        let state = if held { VerificationState::Verified } else { VerificationState::Failed };
        let verification = Verification { state, at: Some(self.clock.now()), error: error.clone() };
        let kept = self
            .key()
            .map_err(std::io::Error::other)
            .and_then(|key| self.folder.keep_verification(&id, &key, &verification));
        if let Err(error) = kept {
            tracing::warn!(backup.id = %id, %error, "the result of a verification could not be kept");
        }
        {
            let mut going_on = self.going_on.lock();
            going_on.verifying.retain(|other| *other != id);
            going_on.last_failure = error.map(|error| format!("backup {id} could not be restored: {error}"));
        }
        self.emit(ctx, "backup.verified", id, json!({ "held": held })).await;
    }

    fn failed(&self, id: BackupId, error: String) {
        self.metrics.failed.inc();
        let mut going_on = self.going_on.lock();
        going_on.last_failure = Some(format!("the last backup failed: {error}"));
        going_on.making.insert(id, (Status::Failed, Some(error)));
        let failures = going_on.making.values().filter(|(status, _)| *status == Status::Failed).count();
        if failures > FAILURES_MAX {
            let oldest = going_on.making.iter().find(|(_, (status, _))| *status == Status::Failed);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                going_on.making.remove(&oldest);
            }
        }
    }

    /// Records what happened. A store that cannot take it (it may be what failed) only leaves a line in the log.
    async fn emit(&self, ctx: &SystemCtx, kind: &'static str, id: BackupId, after: Value) {
        let written =
            self.db.write_system(ctx, move |tx| tx.emit(None, event(kind, &id, Some(after.clone())))).await;
        if let Err(error) = written {
            let error: db::Error = error;
            tracing::warn!(backup.id = %id, kind, %error, "an event could not be written");
        }
    }
}

pub(crate) fn key_of(vault: &Vault) -> Result<DataKey, vault::Error> {
    vault.derive_key("backups")
}

pub(crate) fn event(kind: &'static str, id: &BackupId, after: Option<Value>) -> NewEvent {
    NewEvent { kind, subject: id.to_string(), environment: None, before: None, after }
}
