//! `[schedules]` of the project file.

use std::collections::BTreeMap;

use ports::{ApplyError, Change, SectionApply as _};
use schedules::model::{CatchUp, State};
use schedules::{SECTION, SchedulesApply};
use serde_json::{Value, json};

use crate::app::{Bench, at, benches, slug};

async fn apply(bench: &Bench, section: Value) -> Result<Vec<Change>, ApplyError> {
    let apply = SchedulesApply { tools: bench.tools.clone() };
    let environment = bench.places.environment();
    let write = bench.store.db.write_system(&bench.system, move |tx| {
        apply.apply(tx, environment, Some(&section).filter(|section| !section.is_null()), false)
    });
    write.await
}

#[tokio::test]
async fn the_file_manages_its_schedules_and_no_others() {
    benches(|bench| async move {
        bench.put("mine", |one| one.cron = Some("@daily".into())).await;
        let section = json!({
            "cleanup": {"cron": "0 2 * * *", "timezone": "UTC", "queue": "runs"},
            "beat": {"every": "5m", "queue": "runs", "catch_up": "once", "payload": {"a": [1, 2]}},
        });
        let changes = apply(&bench, section.clone()).await.unwrap();
        assert_eq!(changes, [Change::created("schedule beat"), Change::created("schedule cleanup")]);
        bench.advance(60);
        assert_eq!(apply(&bench, section).await.unwrap(), [], "the same again changes nothing");
        let beat = bench.get("beat").await;
        assert_eq!(
            (beat.definition.catch_up, beat.place.due),
            (CatchUp::Once, Some(at("2026-01-01T00:05:00Z")))
        );
        // What is paused by hand stays so.
        let (tools, environment) = (bench.tools.clone(), Some(bench.places.environment()));
        let pausing = bench.store.db.write_system(&bench.system, move |tx| {
            schedules::ops::change::pause(tx, &tools, (environment, &slug("beat")), &|_| true)
        });
        pausing.await.unwrap();
        let changes = apply(&bench, json!({"beat": {"every": "10m", "queue": "runs"}})).await.unwrap();
        assert_eq!(changes, [Change::changed("schedule beat"), Change::removed("schedule cleanup")]);
        assert_eq!(bench.get("beat").await.state, State::Paused);
        let taken = apply(&bench, json!({"mine": {"every": "1m", "queue": "runs"}})).await.unwrap_err();
        assert!(matches!(taken, ApplyError::ManagedByApi(_)), "{taken}");
        let unknown = apply(&bench, json!({"other": {"every": "1m", "queue": "unknown"}})).await.unwrap_err();
        let ApplyError::Invalid(faults) = unknown else { panic!("{unknown}") };
        assert_eq!(faults[0].pointer, "/schedules/other/queue");
        assert!(faults[0].message.contains("[queues.unknown]"));
        assert_eq!(bench.get("beat").await.definition.every, Some("10m".parse().unwrap()), "all or nothing");
        assert_eq!(apply(&bench, Value::Null).await.unwrap(), [Change::removed("schedule beat")]);
        bench.get("mine").await;
    })
    .await;
}

#[test]
fn j5_mistakes_in_the_file_are_told_with_their_place() {
    let section = json!({
        "never": {"cron": "0 0 30 2 *", "queue": "runs"},
        "zone": {"cron": "@daily", "timezone": "Europe/Berln", "queue": "runs"},
        "fast": {"every": "100ms", "queue": "runs"},
        "both": {"every": "1m", "cron": "@daily", "queue": "runs"},
        "Upper": {"every": "1m", "queue": "runs"},
        "preview": {"every": "1m", "queue": "runs"},
        "one": {"every": "1m", "queue": "runs", "tenant": "acme"},
        "fine": {"cron": "*/5 * * * *", "queue": "runs"},
    });
    let faults: BTreeMap<String, String> = (SECTION.check)(&section, &json!({}))
        .into_iter()
        .map(|fault| (fault.pointer.clone(), fault.message))
        .collect();
    let told = |pointer: &str, part: &str| {
        let message = faults.get(pointer).unwrap_or_else(|| panic!("nothing at {pointer}: {faults:?}"));
        assert!(message.contains(part), "{pointer}: {message}");
    };
    told("/never/cron", "can never fire");
    told("/zone/timezone", "Europe/Berlin may be meant");
    told("/fast/every", "from 1s");
    told("/both/every", "only one");
    told("/Upper", "lower-case");
    told("/preview", "another name");
    told("/one/tenant", "by API");
    assert_eq!(faults.len(), 7, "{faults:?}");
}
