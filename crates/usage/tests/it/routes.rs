//! Requests of routes with a meter.

use base::{Amount, TenantId, Timestamp};
use ports::{Grace, MeterPeriod, MeterVerdict, RouteMeters as _, UsageLedger as _};

use crate::app::{App, apps, at, build, name};

fn count(app: &App, tenant: TenantId) -> MeterVerdict {
    app.meters.count(app.places.environment(), tenant, &name("calls"))
}

async fn total(app: &App, tenant: TenantId) -> Amount {
    let (from, until) = (at("2025-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
    let totals = app.ledger.totals(app.places.environment(), from, until).await.unwrap();
    totals.iter().find(|total| total.tenant == tenant).map_or(Amount::ZERO, |total| total.value)
}

#[tokio::test]
async fn n8_a_routes_meter_is_counted_and_enforced_from_memory() {
    apps(|app| async move {
        app.world.plan("calls", 100, MeterPeriod::Day, Grace::Hard);
        // Nothing is known yet, and nobody waits.
        assert_eq!(count(&app, app.acme), MeterVerdict::Counted);
        app.meters.write().await.unwrap();
        let verdicts: Vec<_> = (0..150).map(|_| count(&app, app.acme)).collect();
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == MeterVerdict::Counted).count(), 99);
        let resets_at = Some(Timestamp::from_micros(at("2026-01-02T00:00:00Z").micros()));
        let exceeded =
            MeterVerdict::Exceeded { limit: Amount::whole(100), used: Amount::whole(100), resets_at };
        assert_eq!(verdicts.last(), Some(&exceeded));
        assert_eq!(count(&app, app.globex), MeterVerdict::Counted, "another tenant's is its own");
        app.meters.write().await.unwrap();
        assert_eq!(count(&app, app.acme), exceeded);
        assert_eq!(total(&app, app.acme).await, Amount::whole(100));
        // A new day, and a limit of its own.
        app.app.store.clock.set(at("2026-01-02T00:00:00Z"));
        assert_eq!(count(&app, app.acme), MeterVerdict::Counted);
        let limit = serde_json::json!({ "max": 2 });
        app.app.operator().put("/api/v1/tenants/acme/limits/calls", limit).await.ok(200);
        app.meters.write().await.unwrap();
        assert_eq!(count(&app, app.acme), MeterVerdict::Counted);
        assert!(matches!(count(&app, app.acme), MeterVerdict::Exceeded { .. }));
        app.meters.write().await.unwrap();
        assert_eq!(total(&app, app.acme).await, Amount::whole(102));
        app.sums_equal_the_ledger().await;
    })
    .await;
}

#[tokio::test]
async fn m6_what_was_counted_is_written_once_and_a_crash_loses_no_more_than_was_not_written() {
    apps(|app| async move {
        let mut written = 0_u64;
        // Each process counts under its own name; the last of each dies before it writes.
        for process in 0..5_u64 {
            let meters = build(&app.app.store, &app.places, &app.world).meters;
            for _ in 0..7 + process {
                meters.count(app.places.environment(), app.acme, &name("calls"));
            }
            meters.write().await.unwrap();
            meters.write().await.unwrap();
            written += 7 + process;
            for _ in 0..3 {
                meters.count(app.places.environment(), app.acme, &name("calls"));
            }
            drop(meters);
            assert_eq!(total(&app, app.acme).await, Amount::whole(written));
        }
        app.sums_equal_the_ledger().await;
    })
    .await;
}
