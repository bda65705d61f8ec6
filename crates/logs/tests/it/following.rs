//! Following live: no gap, no repetition, and no patience with slow readers.

use futures_util::StreamExt;
use logs::{Config, FOLLOW_RECORDS_MAX, Filter, Followed};
use ports::LogSink;

use crate::app::App;

fn message(followed: Followed) -> String {
    match followed {
        Followed::Record(record) => record.message,
        Followed::Cut(missed) => format!("cut {missed}"),
    }
}

#[tokio::test]
async fn a_follower_gets_the_tail_and_then_everything_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let app = App::start(folder.path(), Config { segment_bytes: 500, ..Config::default() });
    for number in 0..5 {
        app.say(&format!("record {number}")).await;
    }
    let stream = app.logs.clone().follow(Filter::default(), 3).await.expect("segments can be read");
    // Written after the stream began, read after the tail: neither lost nor twice.
    app.logs.append_batch((5..20).map(|number| app.record(&format!("record {number}"))).collect());
    let found: Vec<String> = stream.take(18).map(message).collect().await;
    let expected: Vec<String> = (2..20).map(|number| format!("record {number}")).collect();
    assert_eq!(found, expected);
    app.stop().await;
}

#[tokio::test]
async fn a_follower_gets_only_what_it_wants() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let app = App::start(folder.path(), Config::default());
    let filter = Filter { tenant: Some("ten_a".to_owned()), ..Filter::default() };
    let mut stream = Box::pin(app.logs.clone().follow(filter, 10).await.expect("segments can be read"));
    app.logs.append(app.record("of the platform"));
    app.logs.append_access(vec![app.request("ten_b", "/b"), app.request("ten_a", "/a?password=hunter2")]);
    assert_eq!(stream.next().await.map(message).as_deref(), Some("GET /a?password=[redacted] 200"));
    app.stop().await;
}

#[tokio::test]
async fn a_slow_reader_is_cut_and_counted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let app = App::start(folder.path(), Config::default());
    let stream = app.logs.clone().follow(Filter::default(), 0).await.expect("segments can be read");
    let many = FOLLOW_RECORDS_MAX + 10;
    app.logs.append_batch((0..many).map(|number| app.record(&format!("record {number}"))).collect());
    app.logs.flush().await;
    let found: Vec<String> = stream.map(message).collect().await;
    assert_eq!(found, ["cut 10"]);
    app.stop().await;
}
