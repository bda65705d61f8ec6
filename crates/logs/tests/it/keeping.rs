//! Writing, searching, sealing, removing.

use std::time::Duration;

use logs::{Config, Filter, SourceKind};
use ports::LogSink;
use telemetry::Level;

use crate::app::App;

fn small() -> Config {
    Config { segment_bytes: 300, ..Config::default() }
}

#[tokio::test]
async fn records_are_found_the_newest_first_over_segments_and_restarts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let app = App::start(folder.path(), small());
    for number in 0..7 {
        app.say(&format!("record {number}")).await;
    }
    let expected: Vec<String> = (0..7).rev().map(|number| format!("record {number}")).collect();
    assert_eq!(app.find(Filter::default()).await, expected);
    app.stop().await;
    let app = App::start(folder.path(), small());
    app.say("record 7").await;
    assert_eq!(app.find(Filter::default()).await.len(), 8);
    assert_eq!(app.find(Filter { text: Some("ORD 3".to_owned()), ..Filter::default() }).await, ["record 3"]);
    let files = std::fs::read_dir(folder.path().join("logs")).expect("it is there");
    assert!(
        files.flatten().filter(|file| file.path().extension().is_some_and(|end| end == "zst")).count() >= 1
    );
    app.stop().await;
}

#[tokio::test]
async fn requests_and_lines_are_told_apart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let app = App::start(folder.path(), Config::default());
    let mut refused = app.request("ten_b", "/b");
    refused.status = 429;
    app.logs.append_access(vec![app.request("ten_a", "/a?x"), refused]);
    app.say("token=abcdef is on").await;
    let find = async |filter| app.find(filter).await;
    assert_eq!(
        find(Filter { tenant: Some("ten_a".to_owned()), ..Filter::default() }).await,
        ["GET /a?x 200"]
    );
    assert_eq!(find(Filter { level: Some(Level::Warn), ..Filter::default() }).await, ["GET /b 429"]);
    assert_eq!(find(Filter { service: Some("web".to_owned()), ..Filter::default() }).await.len(), 2);
    assert_eq!(find(Filter { hide_platform: true, ..Filter::default() }).await.len(), 2);
    let platform = Filter { source: Some(SourceKind::Platform), ..Filter::default() };
    assert_eq!(find(platform).await, ["token=[redacted] is on"]);
    app.stop().await;
}

#[tokio::test]
async fn time_chooses_segments() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let app = App::start(folder.path(), small());
    for minute in 0..6 {
        app.say(&format!("{minute} {}", "x".repeat(300))).await;
        app.clock.advance(Duration::from_secs(60));
    }
    let noon = base::Timestamp::from_micros(crate::app::NOON);
    let between = Filter {
        since: Some(noon + Duration::from_secs(120)),
        until: Some(noon + Duration::from_secs(240)),
        ..Filter::default()
    };
    let found = app.find(between).await;
    assert_eq!(found.iter().map(|message| &message[..1]).collect::<Vec<_>>(), ["3", "2"]);
    app.stop().await;
}

#[tokio::test]
async fn old_records_go_and_small_segments_are_sealed_by_age() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let app = App::start(folder.path(), Config::default());
    app.say("old").await;
    app.clock.advance(Duration::from_secs(2 * 3600));
    // What is written when the segment is too old still goes into it; then it is sealed.
    app.say("older than an hour").await;
    app.say("of the next segment").await;
    app.clock.advance(Duration::from_secs(7 * 24 * 3600 + 60));
    app.say("a week later").await;
    app.stop().await;
    let app = App::start(folder.path(), Config::default());
    let messages = app.find(Filter::default()).await;
    app.stop().await;
    assert_eq!(messages, ["a week later", "of the next segment"], "the segment of the old ones is gone");
}

#[tokio::test]
async fn the_total_is_bounded() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = Config { segment_bytes: 4_000, bytes_max: 10_000, ..Config::default() };
    let app = App::start(folder.path(), config);
    for number in 0..200_u32 {
        // Numbers that zstd cannot make small.
        let noise: String =
            (0..60_u32).map(|at| format!("{:08x}", (number * 61 + at).wrapping_mul(2_654_435_761))).collect();
        app.say(&noise).await;
    }
    let kept = app.find(Filter::default()).await.len();
    app.stop().await;
    let bytes: u64 = std::fs::read_dir(folder.path().join("logs"))
        .expect("it is there")
        .flatten()
        .map(|file| file.metadata().expect("it is there").len())
        .sum();
    assert!(bytes <= 10_000 + 4_000, "{bytes} bytes");
    assert!(kept > 5 && kept < 200, "{kept} records are kept");
}
