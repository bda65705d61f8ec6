//! The keys that sign: rotation with overlap.

use std::time::Duration;

use base::{DeploymentId, codes};
use identity::{PUBLISHED_AFTER, PUBLISHED_BEFORE, SIGNS_FOR, Signer};
use ports::{AssertionSigner as _, ServiceTokens as _, SigningAlgorithm, TokenCheck as _, TokenVerdict};
use serde_json::{Value, json};

use crate::app::{App, apps};
use crate::tokens::{changed, claims, sign};

const ROTATE: &str = "/api/v1/signing-keys/rotate";

fn published(app: &App) -> Vec<String> {
    let set = app.signer.jwks();
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn kid(token: &str) -> String {
    use base64::Engine as _;
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap());
    serde_json::from_slice::<Value>(&header.unwrap()).unwrap()["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_rotation_overlaps_on_both_sides() {
    apps(|app| async move {
        let clock = &app.app.store.clock;
        let operator = app.app.operator();
        let service = DeploymentId::new(clock, &*app.app.store.random);
        let service_token = app.signer.mint(service).unwrap();
        let old = sign(&app, &claims(&app));
        // The next keys are not an hour old: they take over when they are.
        let keys = operator.post(ROTATE, json!({})).await.ok(200);
        assert_eq!(keys["data"].as_array().unwrap().len(), 6);
        assert_eq!(kid(&sign(&app, &claims(&app))), kid(&old), "not yet");
        let before = published(&app);
        clock.advance(PUBLISHED_BEFORE);
        let new = sign(&app, &claims(&app));
        assert_ne!(kid(&new), kid(&old));
        assert!(before.contains(&kid(&new)), "published for an hour before it signed");
        assert!(published(&app).contains(&kid(&old)), "still published");
        for algorithm in [SigningAlgorithm::EdDsa, SigningAlgorithm::Es256] {
            let token = ports::TokenSigner::sign(&*app.signer, algorithm, "JWT", &json!({})).unwrap();
            assert!(before.contains(&kid(&token)));
        }
        // A token that the old key signed in its last moment lives out its life.
        let long = changed(&app, json!({"exp": app.app.store.shared_clock().now().seconds() + 3_600}));
        let long = sign(&app, &long);
        clock.advance(Duration::from_mins(59));
        assert!(matches!(app.tokens.check(app.development, &long), TokenVerdict::Valid(_)));
        clock.advance(PUBLISHED_AFTER);
        assert!(!published(&app).contains(&kid(&old)), "nothing of its can be in use");
        // What services hold goes on, in a process that starts now, too.
        let store = &app.app.store;
        let later = Signer::load(&store.db, store.shared_clock(), &store.random).await.unwrap();
        assert_eq!(later.mint(service).unwrap().expose(), service_token.expose());
        assert_eq!(kid(&sign(&app, &claims(&app))), kid(&new));
        let event = app.app.events(1).await.remove(0);
        assert_eq!((event.kind.as_str(), event.tenant), ("signing_key.rotated", None));
    })
    .await;
}

#[tokio::test]
async fn keys_are_removed_when_they_are_gone_and_never_too_many() {
    apps(|app| async move {
        let (clock, operator) = (&app.app.store.clock, app.app.operator());
        let service = DeploymentId::new(clock, &*app.app.store.random);
        let token = app.signer.mint(service).unwrap();
        // By itself each month; the app's own task may have been faster, and then it is done.
        let monthly = authority::SystemCtx::because("test");
        for _ in 0..5 {
            clock.advance(SIGNS_FOR);
            app.signer.rotate(&monthly, true).await.unwrap();
        }
        assert_eq!(published(&app).len(), 6, "of each kind the old one, the one that signs, the next one");
        let store = &app.app.store;
        let later = Signer::load(&store.db, store.shared_clock(), &store.random).await.unwrap();
        assert_eq!(later.mint(service).unwrap().expose(), token.expose());
        let mut refused = 0;
        for _ in 0..12 {
            let answer = operator.post(ROTATE, json!({})).await;
            if answer.status.as_u16() == 409 {
                answer.problem(&codes::CONFLICT);
                refused += 1;
            }
        }
        assert!(refused > 0);
        app.member(authority::Role::Owner).post(ROTATE, json!({})).await.problem(&codes::FORBIDDEN);
        let before = published(&app);
        app.signer.rotate(&monthly, true).await.unwrap();
        assert_eq!(published(&app), before);
    })
    .await;
}
