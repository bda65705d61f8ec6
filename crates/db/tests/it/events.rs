//! The event log.

use base::{PageRequest, Timestamp};
use db::{Error, EventFilter, Sql, params};
use testkit::{Store, stores};

use crate::notes::{self, SET};

#[tokio::test]
async fn events_get_positions_and_are_followed() {
    stores(&[SET], |store| async move {
        let (a, b) = (store.tenant(), store.tenant());
        notes::write_with_event(&store.db, &a, "one").await.expect("write");
        notes::write_with_event(&store.db, &b, "two").await.expect("write");
        let undone = store
            .db
            .write(&a, |tx| {
                tx.emit(notes::created("never"))?;
                Err::<(), _>(Error::Busy)
            })
            .await;
        assert_eq!(undone, Err(Error::Busy));
        store
            .db
            .write_system(&store.system(), |tx| tx.emit(None, notes::created("three")).map(drop))
            .await
            .expect("write");
        let log = store.db.events();
        assert_eq!(log.wait_beyond(2).await, 3);
        let events = log.after(0, 100).await.expect("follow");
        let seen: Vec<_> =
            events.iter().map(|event| (event.position, event.subject.as_str(), event.tenant)).collect();
        assert_eq!(seen, [(1, "one", Some(a.tenant())), (2, "two", Some(b.tenant())), (3, "three", None)]);
        assert_eq!(events[0].after, Some(serde_json::json!({ "id": "one" })));
        assert_eq!(events[0].actor, "system (a test)");
        assert_eq!(events[2].reason.as_deref(), Some("a test"));
        assert_eq!(events.iter().map(|event| event.chain_index).collect::<Vec<_>>(), [1, 1, 1]);
        assert_eq!(log.after(2, 100).await.expect("follow").len(), 1);
        let report = log.verify(&store.system(), None).await.expect("verify");
        assert!(report.ok, "{report:?}");
        assert_eq!((report.events, report.chains, report.unsequenced_tail), (3, 3, 0));
    })
    .await;
}

#[tokio::test]
async fn a_tenant_lists_its_own_events_only() {
    stores(&[SET], |store| async move {
        let (a, b) = (store.tenant(), store.tenant());
        for note in ["one", "two", "three"] {
            notes::write_with_event(&store.db, &a, note).await.expect("write");
            notes::write_with_event(&store.db, &b, note).await.expect("write");
        }
        let log = store.db.events();
        log.wait_beyond(5).await;
        let page = PageRequest::new(Some(2), None).expect("a page");
        let filter = EventFilter { kind: Some("note.*".into()), ..EventFilter::default() };
        let first = log.of_tenant(&a, &page, &filter).await.expect("list");
        let subjects: Vec<_> = first.data.iter().map(|event| event.subject.as_str()).collect();
        assert_eq!(subjects, ["three", "two"]);
        let page = PageRequest::new(Some(2), first.next_cursor).expect("a page");
        let second = log.of_tenant(&a, &page, &filter).await.expect("list");
        assert_eq!(second.data.len(), 1);
        assert!(second.next_cursor.is_none());
        assert!(first.data.iter().chain(&second.data).all(|event| event.tenant == Some(a.tenant())));
        let filter =
            EventFilter { subject: Some("two".into()), tenant: Some(b.tenant()), ..EventFilter::default() };
        let page = PageRequest::new(None, None).expect("a page");
        assert_eq!(log.list(&store.system(), &page, &filter).await.expect("list").data.len(), 1);
        let filter = EventFilter { since: Some(Timestamp::from_micros(i64::MAX)), ..EventFilter::default() };
        assert_eq!(log.list(&store.system(), &page, &filter).await.expect("list").data.len(), 0);
    })
    .await;
}

/// Writes three events each for two tenants, in turns: positions 1 to 6.
async fn six(store: &Store) -> [authority::TenantCtx; 2] {
    let tenants = [store.tenant(), store.tenant()];
    for note in ["one", "two", "three"] {
        for ctx in &tenants {
            notes::write_with_event(&store.db, ctx, note).await.expect("write");
        }
    }
    store.db.events().wait_beyond(5).await;
    tenants
}

async fn tamper(store: &Store, sql: &'static str) {
    const CROSSING: fn(&'static str) -> Sql = Sql::One;
    let sql = CROSSING(sql);
    store.db.write_system(&store.system(), move |tx| tx.execute(&sql, &params![])).await.expect("tamper");
}

#[tokio::test]
async fn s8_the_verifier_names_the_first_bad_place() {
    let cases: [(&str, &'static str, i64); 6] = [
        ("edit", "UPDATE sy_events SET subject = 'other' WHERE position = 3", 3),
        ("edit of time", "UPDATE sy_events SET at = at + 1 WHERE position = 4", 4),
        ("delete", "DELETE FROM sy_events WHERE position = 2", 2),
        ("truncated middle", "DELETE FROM sy_events WHERE position > 1 AND position < 5", 2),
        ("truncated end", "DELETE FROM sy_events WHERE position > 4", 5),
        (
            "moved payload",
            "UPDATE sy_events SET payload = (SELECT payload FROM sy_events WHERE position = 1) WHERE position = 5",
            5,
        ),
    ];
    stores(&[SET], |store| async move {
        let tenants = six(&store).await;
        let log = store.db.events();
        assert!(log.verify(&store.system(), None).await.expect("verify").ok);
        drop(tenants);
    })
    .await;
    for (what, sql, position) in cases {
        stores(&[SET], |store| async move {
            let tenants = six(&store).await;
            tamper(&store, sql).await;
            let log = store.db.events();
            let report = log.verify(&store.system(), None).await.expect("verify");
            let bad = report.first_bad.unwrap_or_else(|| panic!("{what} went unseen"));
            assert_eq!(bad.position, position, "{what}: {bad:?}");
            assert!(!report.ok);
            let hurt = usize::from(position % 2 == 0);
            assert!(
                !log.verify(&store.system(), Some(tenants[hurt].tenant())).await.expect("verify").ok,
                "{what}"
            );
        })
        .await;
    }
}

#[tokio::test]
async fn s8_swapped_and_inserted_events_are_seen() {
    stores(&[SET], |store| async move {
        let tenants = six(&store).await;
        // 1 and 3 are the first two of one chain.
        for sql in [
            "UPDATE sy_events SET position = 100, chain_index = 100 WHERE position = 1",
            "UPDATE sy_events SET position = 1, chain_index = 1 WHERE position = 3",
            "UPDATE sy_events SET position = 3, chain_index = 2 WHERE position = 100",
        ] {
            tamper(&store, sql).await;
        }
        let bad = store.db.events().verify(&store.system(), None).await.expect("verify").first_bad;
        assert_eq!(
            bad.map(|bad| (bad.position, bad.tenant, bad.chain_index)),
            Some((1, Some(tenants[0].tenant()), 1))
        );
    })
    .await;
    stores(&[SET], |store| async move {
        let tenants = six(&store).await;
        tamper(
            &store,
            "INSERT INTO sy_events (tenant, id, emitted, kind, subject, at, payload, position, chain_index, hash)
             SELECT tenant, 'forged', emitted, kind, subject, at, payload, 7, 4, hash FROM sy_events WHERE position = 5",
        )
        .await;
        let bad = store.db.events().verify(&store.system(), None).await.expect("verify").first_bad;
        assert_eq!(bad.map(|bad| (bad.position, bad.tenant, bad.chain_index)), Some((7, Some(tenants[0].tenant()), 4)));
    })
    .await;
}

#[tokio::test]
async fn s8_f50_an_anchor_shows_an_older_copy_a_cut_end_and_a_log_written_anew() {
    stores(&[SET], |store| async move {
        let tenants = six(&store).await;
        let log = store.db.events();
        let system = store.system();
        let early = log.verify(&system, None).await.expect("verify").anchor.expect("the log is whole");
        assert_eq!(early.position(), 6);
        assert_eq!(log.verify(&system, Some(tenants[0].tenant())).await.expect("verify").anchor, None);
        for ctx in &tenants {
            notes::write_with_event(&store.db, ctx, "four").await.expect("write");
        }
        log.wait_beyond(7).await;
        let late = log.verify_against(&system, early).await.expect("verify");
        assert!(late.ok, "the same log, grown longer: {late:?}");
        let late = late.anchor.expect("the log is whole");
        assert!(log.verify_against(&system, late).await.expect("verify").ok);
        // The store as it was before: whole in itself, as its chains' records are older as well.
        for sql in [
            "DELETE FROM sy_events WHERE position > 6",
            "UPDATE sy_chains SET length = 3,
               position = (SELECT max(position) FROM sy_events e WHERE e.tenant = sy_chains.tenant),
               hash = (SELECT hash FROM sy_events e WHERE e.tenant = sy_chains.tenant AND chain_index = 3)",
        ] {
            tamper(&store, sql).await;
        }
        assert!(log.verify(&system, None).await.expect("verify").ok, "the store alone does not show it");
        assert!(log.verify_against(&system, early).await.expect("verify").ok);
        let bad =
            log.verify_against(&system, late).await.expect("verify").first_bad.expect("the anchor shows it");
        assert_eq!(bad.position, 7, "{bad:?}");
        // Another log that is as long.
        let other: db::Anchor = format!("4:{}", "0".repeat(64)).parse().expect("an anchor");
        let bad =
            log.verify_against(&system, other).await.expect("verify").first_bad.expect("it is another log");
        assert_eq!(bad.position, 4, "{bad:?}");
    })
    .await;
}

#[tokio::test]
async fn s8_the_unsequenced_tail_is_reported() {
    for kind in [db::Kind::Sqlite, db::Kind::Postgres] {
        let place = crate::place::Place::new(kind);
        let db = place.open().await;
        let (ctx, system) = (place.tenant(), crate::place::system());
        for note in ["one", "two"] {
            notes::write_with_event(&db, &ctx, note).await.expect("write");
        }
        let report = db.events().verify(&system, None).await.expect("verify");
        assert_eq!((report.ok, report.events, report.unsequenced_tail), (true, 0, 2));
        assert!(report.tail_age > std::time::Duration::ZERO);
        let (stop, ended) = lifecycle::Stop::pair();
        stop.stop();
        // A sequencer that is asked to stop at once still empties the tail.
        db.run_sequencer(ended).await;
        let report = db.events().verify(&system, None).await.expect("verify");
        assert_eq!((report.ok, report.events, report.unsequenced_tail), (true, 2, 0));
    }
}

#[tokio::test]
async fn a_forged_payload_stops_no_follower_and_is_named() {
    stores(&[SET], |store| async move {
        six(&store).await;
        tamper(&store, "UPDATE sy_events SET payload = hash WHERE position = 2").await;
        let events = store.db.events().after(0, 10).await.expect("follow");
        assert_eq!(events.len(), 6);
        assert_eq!((events[1].actor.as_str(), events[1].after.as_ref()), ("(unreadable)", None));
        let bad = store.db.events().verify(&store.system(), None).await.expect("verify").first_bad;
        assert_eq!(bad.map(|bad| bad.position), Some(2));
    })
    .await;
}
