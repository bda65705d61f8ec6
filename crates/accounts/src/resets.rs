//! Asked-for resets, worked off behind the answer: whoever asks gets it at once and the same, so that the time that a known
//! address takes tells nothing (A10).

use std::sync::Arc;

use authority::SystemCtx;
use base::Email;
use db::Db;
use lifecycle::{Stop, TaskError};
use tokio::sync::{Mutex, mpsc};

use crate::error::Error;
use crate::letters::Inviter;
use crate::model::{LinkKind, RESET_PAUSE, Realm};
use crate::ops::Sources;
use crate::store;

/// Resets that wait; whoever asks then is told to come back.
const WAITING_MAX: usize = 256;

/// Somebody asked for a new password.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) realms: Vec<Realm>,
    pub(crate) email: Email,
}

/// Where they wait.
#[derive(Clone)]
pub(crate) struct Resets {
    sender: mpsc::Sender<Asked>,
    receiver: Arc<Mutex<mpsc::Receiver<Asked>>>,
}

impl Resets {
    pub(crate) fn new() -> Resets {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        Resets { sender, receiver: Arc::new(Mutex::new(receiver)) }
    }

    /// Puts one into the line.
    pub(crate) fn ask(&self, asked: Asked) -> Result<(), Error> {
        self.sender.try_send(asked).map_err(|_| Error::Busy)
    }

    /// Works them off until `stop`.
    pub(crate) async fn run(
        self,
        db: Db,
        sources: Sources,
        inviter: Inviter,
        stop: Stop,
    ) -> Result<(), TaskError> {
        let mut receiver = self.receiver.lock().await;
        loop {
            let asked = tokio::select! {
                asked = receiver.recv() => asked,
                () = stop.stopped() => None,
            };
            let Some(asked) = asked else { return Ok(()) };
            if let Err(error) = write(&db, &sources, &inviter, asked).await {
                tracing::warn!(%error, "a letter for a new password is not written");
            }
        }
    }
}

async fn write(db: &Db, sources: &Sources, inviter: &Inviter, asked: Asked) -> Result<(), db::Error> {
    let (now, inviter) = (sources.clock.now(), inviter.clone());
    let ctx = SystemCtx::because("write a letter for a new password");
    db.write_system(&ctx, move |tx| {
        for realm in &asked.realms {
            let Some(user) = store::users::by_email(tx, *realm, &asked.email)? else { continue };
            if user.disabled_at.is_some() {
                continue;
            }
            let last = store::links::newest(tx, LinkKind::Reset, &user.id.to_string())?;
            if last.is_none_or(|last| last.created_at + RESET_PAUSE <= now) {
                inviter.reset(tx, &user)?;
            }
        }
        Ok(())
    })
    .await
}
