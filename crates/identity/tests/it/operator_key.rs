//! The operators' key and its file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use authority::key_format::{self, KeyKind};
use identity::{OPERATOR_KEY_FILE, OperatorKey, OperatorKeyError, RESET_FILE};

use crate::app::{App, apps};

async fn start(app: &App) -> Result<OperatorKey, OperatorKeyError> {
    let store = &app.app.store;
    identity::operator_key(&store.db, store.dir.clone(), &store.shared_clock(), &store.random).await
}

#[tokio::test]
async fn the_first_start_makes_the_key_and_the_next_keeps_it() {
    apps(|app| async move {
        let path = app.app.store.dir.join(OPERATOR_KEY_FILE);
        assert_eq!(start(&app).await.unwrap(), OperatorKey::Made(path.clone()));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        let key = text.trim();
        assert_eq!(key_format::check(key), Ok(KeyKind::Operator));
        let me = app.with_key(key).get("/api/v1/me").await.ok(200);
        assert_eq!(me["kind"], "operator");
        app.with_key(key).get("/api/v1/tenants/acme/keys").await.ok(200);
        assert_eq!(start(&app).await.unwrap(), OperatorKey::Kept(path.clone()));
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "never written over");
        let events = app.app.events(1).await;
        assert_eq!(events[0].kind, "operator_key.created");
        assert!(!format!("{events:?}").contains(key));
    })
    .await;
}

#[tokio::test]
async fn a_lost_file_is_recovered_by_who_can_write_to_the_folder() {
    apps(|app| async move {
        let dir = &app.app.store.dir;
        let path = dir.join(OPERATOR_KEY_FILE);
        start(&app).await.unwrap();
        let old = fs::read_to_string(&path).unwrap();
        fs::write(dir.join(RESET_FILE), "").unwrap();
        let refused = start(&app).await.unwrap_err();
        assert!(matches!(refused, OperatorKeyError::InTheWay(_)), "{refused}");
        fs::remove_file(&path).unwrap();
        fs::remove_file(dir.join(RESET_FILE)).unwrap();
        assert_eq!(start(&app).await.unwrap(), OperatorKey::Lost(path.clone()));
        assert!(!path.exists(), "nothing is made unasked");
        app.with_key(old.trim()).get("/api/v1/me").await.ok(200);
        fs::write(dir.join(RESET_FILE), "").unwrap();
        assert_eq!(start(&app).await.unwrap(), OperatorKey::Made(path.clone()));
        assert!(!dir.join(RESET_FILE).exists());
        let new = fs::read_to_string(&path).unwrap();
        assert_ne!(new, old);
        let answer = app.with_key(old.trim()).get("/api/v1/me").await;
        assert_eq!(answer.status.as_u16(), 401);
        app.with_key(new.trim()).get("/api/v1/me").await.ok(200);
    })
    .await;
}

#[tokio::test]
async fn a_start_that_was_cut_short_is_finished_by_the_next() {
    apps(|app| async move {
        let path = app.app.store.dir.join(OPERATOR_KEY_FILE);
        // The file was written, the store does not know it yet.
        let key = key_format::encode(KeyKind::Operator, &[9; 32]);
        fs::write(&path, format!("{key}\n")).unwrap();
        assert_eq!(start(&app).await.unwrap(), OperatorKey::Made(path.clone()));
        app.with_key(&key).get("/api/v1/me").await.ok(200);
        // A file that holds something else is nobody's to overwrite.
        fs::write(&path, "not a key").unwrap();
        let refused = start(&app).await.unwrap_err();
        assert!(matches!(refused, OperatorKeyError::Foreign(_)), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "not a key");
    })
    .await;
}
