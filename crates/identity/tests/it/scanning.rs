//! The patterns of `docs/secret-scanning.md`, held against what is really handed out.

use authority::key_format::{self, KeyKind};
use base::DeploymentId;
use ports::ServiceTokens as _;

use crate::app::apps;

const DOCUMENT: &str = include_str!("../../../../docs/secret-scanning.md");

/// The pattern that the table gives for a prefix, as the class of its characters and their number.
fn pattern(prefix: &str) -> (String, usize) {
    let start = DOCUMENT.find(&format!("`{prefix}[")).expect("a row of the table") + 1 + prefix.len();
    let (class, rest) = DOCUMENT[start + 1..].split_once("]{").unwrap();
    (class.to_owned(), rest.split_once('}').unwrap().0.parse().unwrap())
}

/// Whether a text is the prefix and so many characters of the class, and nothing else.
fn matches(text: &str, prefix: &str) -> bool {
    let (class, count) = pattern(prefix);
    let allowed = |letter: char| match letter {
        '0'..='9' | 'A'..='Z' | 'a'..='z' => class.starts_with("0-9A-Za-z"),
        other => class.trim_start_matches("0-9A-Za-z").contains(other),
    };
    text.strip_prefix(prefix).is_some_and(|rest| rest.chars().count() == count && rest.chars().all(allowed))
}

#[test]
fn the_published_patterns_match_every_key() {
    for kind in KeyKind::ALL {
        for byte in 0..=255 {
            let key = key_format::encode(kind, &[byte; key_format::SECRET_BYTES]);
            assert!(matches(&key, kind.prefix()), "{key}");
            for other in KeyKind::ALL.into_iter().filter(|other| *other != kind) {
                assert!(!matches(&key, other.prefix()));
            }
        }
    }
    assert!(DOCUMENT.contains(r"`\bsy_(live|test|operator)_[0-9A-Za-z]{49}\b`"));
}

#[tokio::test]
async fn the_published_pattern_matches_the_token_of_a_service() {
    apps(|app| async move {
        let store = &app.app.store;
        let token = app.signer.mint(DeploymentId::new(&store.clock, &*store.random)).unwrap();
        assert!(matches(token.expose(), key_format::SERVICE_TOKEN_PREFIX));
    })
    .await;
}
