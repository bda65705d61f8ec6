//! F9: a disk that is full or failing.

use std::fs;
use std::os::unix::fs::symlink;

use logs::{Config, Filter, QUEUE_RECORDS_MAX};
use ports::LogSink;

use crate::app::App;

#[tokio::test]
async fn f9_a_full_disk_drops_counts_and_heals() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let app = App::start(folder.path(), Config { segment_bytes: 1, ..Config::default() });
    app.say("before").await;
    // The next segment's file is a device that takes nothing.
    let next = folder.path().join("logs/0000000002.open.jsonl");
    symlink("/dev/full", &next).expect("the folder is ours");
    for _ in 0..3 {
        app.say("lost").await;
    }
    assert_eq!(app.logs.dropped(), 3);
    let failure = app.logs.failure().expect("it is known");
    assert!(failure.contains("full") || failure.contains("space"), "{failure}");
    assert_eq!(app.find(Filter::default()).await, ["before"], "reads go on");
    fs::remove_file(&next).expect("the folder is ours");
    app.say("after").await;
    assert_eq!(app.logs.failure(), None);
    assert_eq!(app.find(Filter::default()).await, ["after", "before"]);
    app.stop().await;
}

#[tokio::test]
async fn f9_a_folder_that_cannot_be_made_heals_too() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("logs"), "in the way").expect("the folder is ours");
    let app = App::start(folder.path(), Config::default());
    app.say("lost").await;
    assert_eq!((app.logs.dropped(), app.logs.failure().is_some()), (1, true));
    fs::remove_file(folder.path().join("logs")).expect("the folder is ours");
    app.say("kept").await;
    assert_eq!(app.find(Filter::default()).await, ["kept"]);
    app.stop().await;
}

#[tokio::test]
async fn a_flood_is_bounded_and_counted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let app = App::start(folder.path(), Config::default());
    let offered = 4 * QUEUE_RECORDS_MAX;
    let flood = vec![app.request("ten_a", "/"); 256];
    for _ in 0..offered / flood.len() {
        app.logs.append_access(flood.clone());
    }
    app.logs.flush().await;
    let filter = Filter { text: Some("nothing holds this".to_owned()), ..Filter::default() };
    assert!(app.find(filter).await.is_empty());
    let dropped = usize::try_from(app.logs.dropped()).expect("not that many");
    app.stop().await;
    let mut lines = 0;
    for file in fs::read_dir(folder.path().join("logs")).expect("it is there").flatten() {
        let bytes = fs::read(file.path()).expect("readable");
        let sealed = file.path().extension().is_some_and(|end| end == "zst");
        let text = if sealed { zstd::decode_all(&bytes[..]).expect("whole") } else { bytes };
        lines += text.iter().filter(|byte| **byte == b'\n').count();
    }
    assert_eq!(lines + dropped, offered, "{dropped} were dropped");
}
