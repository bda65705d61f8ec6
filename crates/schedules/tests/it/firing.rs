//! What fires when, and what does not: policies, tenants, refusals.

use base::Timestamp;
use ports::TenantStatus;
use schedules::model::{CatchUp, HISTORY_MAX, Outcome, Overlap, State, Zones};
use schedules::ops::change;

use crate::app::{Bench, at, benches, slug, tools};

#[tokio::test]
async fn a_due_schedule_fires_once_and_moves_on() {
    benches(|bench| async move {
        let made = bench
            .put("report", |one| {
                one.cron = Some("*/10 * * * *".into());
                one.payload = serde_json::json!({"kind": "daily"});
                one.tags = vec!["nightly".into()];
            })
            .await;
        assert_eq!(made.place.due, Some(at("2026-01-01T00:10:00Z")));
        let mut scheduler = bench.scheduler().await;
        bench.to("2026-01-01T00:09:59.999Z");
        assert_eq!(scheduler.fire_due().await.unwrap().unwrap().fired, 0);
        bench.to("2026-01-01T00:10:00.250Z");
        let passed = scheduler.fire_due().await.unwrap().unwrap();
        assert_eq!((passed.fired, passed.skipped, passed.lost), (1, 0, 0));
        assert_eq!(passed.late_max.as_millis(), 250);
        assert_eq!(scheduler.fire_due().await.unwrap().unwrap().fired, 0, "once");
        let jobs = bench.jobs().await;
        assert_eq!(jobs.len(), 1);
        assert_eq!((jobs[0].queue.as_str(), jobs[0].payload.as_str()), ("runs", r#"{"kind":"daily"}"#));
        assert_eq!(jobs[0].tags, "nightly,schedule:report,due:2026-01-01T00:10:00Z");
        let after = bench.get("report").await;
        assert_eq!(after.place.due, Some(at("2026-01-01T00:20:00Z")));
        assert_eq!((after.tally.fired, after.tally.last_job), (1, Some(jobs[0].id)));
        assert_eq!(after.revision, made.revision, "firing is no change");
        let history = bench.history("report").await;
        assert_eq!(
            (history.len(), history[0].outcome, history[0].job),
            (1, Outcome::Fired, Some(jobs[0].id))
        );
    })
    .await;
}

/// Sets one schedule of each policy for downtimes, hourly, and lets six hours pass without a scheduler.
async fn downtime(bench: &Bench) {
    for policy in [CatchUp::Skip, CatchUp::Once, CatchUp::All] {
        bench
            .put(policy.word(), |one| {
                one.cron = Some("0 * * * *".into());
                one.catch_up = policy;
            })
            .await;
    }
    bench.to("2026-01-01T06:30:00Z");
    bench.scheduler().await.fire_due().await.unwrap().unwrap();
}

#[tokio::test]
async fn each_policy_makes_up_for_a_downtime_in_its_way() {
    benches(|bench| async move {
        downtime(&bench).await;
        assert_eq!(bench.dues("skip").await, Vec::<String>::new());
        assert_eq!(bench.dues("once").await, ["2026-01-01T06:00:00Z"]);
        let all: Vec<String> = (1..=6).map(|hour| format!("2026-01-01T0{hour}:00:00Z")).collect();
        assert_eq!(bench.dues("all").await, all);
        for (name, skipped) in [("skip", 6), ("once", 5), ("all", 0)] {
            let schedule = bench.get(name).await;
            assert_eq!(schedule.tally.skipped, skipped, "{name}");
            assert_eq!(schedule.place.due, Some(at("2026-01-01T07:00:00Z")), "{name}");
        }
        let missed = &bench.history("once").await[0];
        assert_eq!(
            (missed.outcome, missed.count, missed.due_at),
            (Outcome::Missed, 5, at("2026-01-01T01:00:00Z"))
        );
    })
    .await;
}

#[tokio::test]
async fn all_fires_the_oldest_thousand_and_keeps_the_last_hundred_in_mind() {
    benches(|bench| async move {
        bench
            .put("often", |one| {
                one.every = Some("1s".parse().unwrap());
                one.catch_up = CatchUp::All;
            })
            .await;
        bench.to("2026-01-01T00:30:00Z");
        let passed = bench.scheduler().await.fire_due().await.unwrap().unwrap();
        assert_eq!(passed.fired, 1_000);
        let dues = bench.dues("often").await;
        assert_eq!(dues.len(), 1_000);
        assert_eq!((dues[0].as_str(), dues[999].as_str()), ("2026-01-01T00:00:01Z", "2026-01-01T00:16:40Z"));
        let schedule = bench.get("often").await;
        assert_eq!(schedule.place.due, Some(at("2026-01-01T00:30:01Z")));
        assert_eq!(schedule.place.allowance, None);
        assert!(schedule.tally.skipped > 0);
        assert_eq!(bench.history("often").await.len(), HISTORY_MAX as usize);
    })
    .await;
}

#[tokio::test]
async fn overlapping_firings_go_by_their_policy() {
    benches(|bench| async move {
        for policy in [Overlap::Allow, Overlap::Skip, Overlap::BufferOne, Overlap::CancelPrevious] {
            let name = policy.word().replace('_', "-");
            bench
                .put(&name, |one| {
                    one.every = Some("1m".parse().unwrap());
                    one.overlap = policy;
                })
                .await;
        }
        let mut scheduler = bench.scheduler().await;
        for minute in 1..=3 {
            bench.to(&format!("2026-01-01T00:0{minute}:00Z"));
            scheduler.fire_due().await.unwrap().unwrap();
        }
        let jobs = bench.jobs().await;
        let of = |name: &str| jobs.iter().filter(|job| job.schedule() == name).collect::<Vec<_>>();
        assert_eq!(of("allow").len(), 3);
        assert_eq!(of("skip").len(), 1);
        assert_eq!(of("buffer-one").len(), 1);
        let cancelled: Vec<i64> = of("cancel-previous").iter().map(|job| job.finished).collect();
        assert_eq!(cancelled, [2, 2, 0]);
        let waiting = bench.get("buffer-one").await;
        assert_eq!(waiting.place.buffered, Some(at("2026-01-01T00:03:00Z")), "the latest waits");
        assert_eq!(waiting.tally.skipped, 1);
        // It comes when the job before is finished, and not sooner.
        bench.advance(5);
        scheduler.fire_due().await.unwrap().unwrap();
        assert_eq!(bench.dues("buffer-one").await.len(), 1);
        bench.finish(of("buffer-one")[0].id).await;
        bench.finish(of("skip")[0].id).await;
        bench.advance(5);
        scheduler.fire_due().await.unwrap().unwrap();
        assert_eq!(bench.dues("buffer-one").await, ["2026-01-01T00:01:00Z", "2026-01-01T00:03:00Z"]);
        bench.to("2026-01-01T00:04:00Z");
        scheduler.fire_due().await.unwrap().unwrap();
        assert_eq!(bench.dues("skip").await, ["2026-01-01T00:01:00Z", "2026-01-01T00:04:00Z"]);
    })
    .await;
}

#[tokio::test]
async fn z17_a_suspended_tenants_schedule_rests_and_catches_up() {
    benches(|bench| async move {
        let tenant = bench.places.tenant("acme");
        for policy in [CatchUp::Skip, CatchUp::All] {
            let name = policy.word();
            bench
                .put_for(name, Some(tenant), |one| {
                    one.cron = Some("0 * * * *".into());
                    one.catch_up = policy;
                })
                .await;
        }
        let mut scheduler = bench.scheduler().await;
        bench.to("2026-01-01T01:00:01Z");
        scheduler.fire_due().await.unwrap().unwrap();
        assert_eq!(bench.jobs().await.iter().filter(|job| job.tenant == Some(tenant)).count(), 2);
        bench.places.change(tenant, |acme| acme.status = TenantStatus::Suspended);
        bench.to("2026-01-01T02:00:01Z");
        let mut scheduler = bench.scheduler().await;
        assert_eq!(scheduler.fire_due().await.unwrap().unwrap().fired, 0);
        assert_eq!(bench.get("all").await.state, State::Resting);
        bench.to("2026-01-01T04:30:00Z");
        assert_eq!(scheduler.fire_due().await.unwrap().unwrap().looked_at, 0, "it rests");
        assert_eq!(scheduler.wake_served().await.unwrap(), 0);
        bench.places.change(tenant, |acme| acme.status = TenantStatus::Active);
        assert_eq!(bench.scheduler().await.wake_served().await.unwrap(), 2);
        bench.scheduler().await.fire_due().await.unwrap().unwrap();
        assert_eq!(bench.dues("skip").await, ["2026-01-01T01:00:00Z"]);
        let all: Vec<String> = (1..=4).map(|hour| format!("2026-01-01T0{hour}:00:00Z")).collect();
        assert_eq!(bench.dues("all").await, all);
        // Its rows go with the tenant.
        let write =
            bench.store.db.write_system(&bench.system, move |tx| change::remove_of_tenant(tx, tenant));
        write.await.unwrap();
        bench.to("2026-01-01T05:30:00Z");
        assert_eq!(bench.scheduler().await.fire_due().await.unwrap().unwrap().looked_at, 0);
    })
    .await;
}

#[tokio::test]
async fn a_queue_that_refuses_is_told_in_the_history_and_does_not_stop_the_schedule() {
    benches(|bench| async move {
        for (name, queue) in [("gone", "missing"), ("burst", "full"), ("fine", "runs")] {
            bench
                .put(name, |one| {
                    one.queue = slug(queue);
                    one.every = Some("1m".parse().unwrap());
                })
                .await;
        }
        let mut scheduler = bench.scheduler().await;
        for minute in 1..=2 {
            bench.to(&format!("2026-01-01T00:0{minute}:00Z"));
            let passed = scheduler.fire_due().await.unwrap().unwrap();
            assert_eq!((passed.fired, passed.refused), (1, 2));
        }
        let history = bench.history("gone").await;
        let notes: Vec<_> = history.iter().map(|one| (one.outcome, one.note.as_deref())).collect();
        assert_eq!(notes, [(Outcome::Refused, Some("there is no queue missing")); 2]);
        assert_eq!(bench.history("burst").await[0].note.as_deref(), Some("queue full is full"));
        assert_eq!(bench.dues("fine").await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn paused_ones_do_not_fire_and_go_on_after_now() {
    benches(|bench| async move {
        bench
            .put("hourly", |one| {
                one.cron = Some("0 * * * *".into());
                one.catch_up = CatchUp::All;
            })
            .await;
        let (tools, environment) = (bench.tools.clone(), Some(bench.places.environment()));
        let pausing = tools.clone();
        let write = bench.store.db.write_system(&bench.system, move |tx| {
            change::pause(tx, &pausing, (environment, &slug("hourly")), &|_| true)
        });
        assert_eq!(write.await.unwrap().state, State::Paused);
        bench.to("2026-01-01T03:30:00Z");
        assert_eq!(bench.scheduler().await.fire_due().await.unwrap().unwrap().looked_at, 0);
        let write = bench.store.db.write_system(&bench.system, move |tx| {
            change::resume(tx, &tools, (environment, &slug("hourly")), &|_| true)
        });
        assert_eq!(write.await.unwrap().place.due, Some(at("2026-01-01T04:00:00Z")));
        assert_eq!(bench.scheduler().await.fire_due().await.unwrap().unwrap().fired, 0);
        bench.to("2026-01-01T04:00:00Z");
        assert_eq!(bench.scheduler().await.fire_due().await.unwrap().unwrap().fired, 1);
    })
    .await;
}

#[tokio::test]
async fn jitter_delays_the_firing_and_not_the_next_time() {
    benches(|bench| async move {
        let made = bench
            .put("spread", |one| {
                one.cron = Some("0 * * * *".into());
                one.jitter = Some("30m".parse().unwrap());
            })
            .await;
        let clockwork = made.clockwork(&Zones::system()).unwrap();
        let due = at("2026-01-01T01:00:00Z");
        let fires = clockwork.fires_at(due);
        assert!(fires > due);
        let mut scheduler = bench.scheduler().await;
        bench.store.clock.set(Timestamp::from_micros(fires.micros() - 1));
        assert_eq!(scheduler.fire_due().await.unwrap().unwrap().fired, 0);
        bench.store.clock.set(fires);
        assert_eq!(scheduler.fire_due().await.unwrap().unwrap().fired, 1);
        assert_eq!(bench.dues("spread").await, ["2026-01-01T01:00:00Z"]);
        assert_eq!(bench.get("spread").await.place.due, Some(at("2026-01-01T02:00:00Z")));
    })
    .await;
}

#[tokio::test]
async fn the_same_definition_again_keeps_the_next_time() {
    benches(|bench| async move {
        let first = bench.put("beat", |one| one.every = Some("1h".parse().unwrap())).await;
        bench.to("2026-01-01T00:20:00Z");
        let again = bench.put("beat", |one| one.every = Some("1h".parse().unwrap())).await;
        assert_eq!(again, first);
        let other = bench
            .put("beat", |one| {
                one.every = Some("1h".parse().unwrap());
                one.payload = serde_json::json!(1);
            })
            .await;
        assert_eq!((other.place.due, other.revision), (first.place.due, first.revision + 1));
        let moved = bench.put("beat", |one| one.every = Some("2h".parse().unwrap())).await;
        assert_eq!(moved.place.due, Some(at("2026-01-01T02:20:00Z")));
    })
    .await;
}

#[tokio::test]
async fn f24_new_rules_of_a_zone_move_next_times_once() {
    benches(|mut bench| async move {
        let (winter, summer) = ("CET-1", "CET-1CEST,M1.1.0,M10.5.0/3");
        let rules = |rule| Zones::of_rules(&[("Test/City", rule)]).unwrap();
        bench.tools = tools(&bench.store, bench.store.db.clone(), rules(winter));
        bench
            .put("opening", |one| {
                one.cron = Some("0 9 * * *".into());
                one.timezone = Some("Test/City".into());
            })
            .await;
        bench.put("utc", |one| one.cron = Some("0 9 * * *".into())).await;
        bench.to("2026-01-05T12:00:00Z");
        bench.scheduler().await.fire_due().await.unwrap().unwrap();
        assert_eq!(bench.get("opening").await.place.due, Some(at("2026-01-06T08:00:00Z")));
        // The zone now has daylight saving since Sunday the 4th of January.
        bench.tools = tools(&bench.store, bench.store.db.clone(), rules(summer));
        assert_eq!(bench.scheduler().await.revise().await.unwrap(), 1);
        assert_eq!(bench.get("opening").await.place.due, Some(at("2026-01-06T07:00:00Z")));
        assert_eq!(bench.scheduler().await.revise().await.unwrap(), 0);
        bench.to("2026-01-06T08:30:00Z");
        bench.scheduler().await.fire_due().await.unwrap().unwrap();
        bench.to("2026-01-06T09:00:00Z");
        bench.scheduler().await.fire_due().await.unwrap().unwrap();
        assert_eq!(bench.get("opening").await.place.due, Some(at("2026-01-07T07:00:00Z")));
    })
    .await;
}

#[tokio::test]
async fn a_schedule_whose_zone_is_gone_waits_for_somebody() {
    benches(|mut bench| async move {
        let zones = Zones::of_rules(&[("Test/City", "CET-1")]).unwrap();
        bench.tools = tools(&bench.store, bench.store.db.clone(), zones);
        bench
            .put("lost", |one| {
                one.cron = Some("0 * * * *".into());
                one.timezone = Some("Test/City".into());
            })
            .await;
        bench.tools = tools(&bench.store, bench.store.db.clone(), Zones::system());
        bench.to("2026-01-01T01:00:00Z");
        let mut scheduler = bench.scheduler().await;
        assert_eq!(scheduler.fire_due().await.unwrap().unwrap().looked_at, 1);
        assert_eq!(scheduler.fire_due().await.unwrap().unwrap().looked_at, 0, "it is not looked at again");
        let found = bench.put("lost", |one| one.cron = Some("0 * * * *".into())).await;
        assert_eq!(found.place.due, Some(at("2026-01-01T02:00:00Z")));
    })
    .await;
}
