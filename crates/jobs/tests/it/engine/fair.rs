//! Tenants beside each other.

use jobs::{Draft, QueueSettings};

use super::{draft, secs, yards};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j6_a_quiet_tenants_job_is_next_beside_a_large_backlog() {
    yards(QueueSettings::default(), |yard| async move {
        let (loud, quiet) = (yard.tenant(), yard.tenant());
        for step in 0..20 {
            let drafts = (0..1_000).map(|n| Draft { tenant: Some(loud), ..draft(step * 1_000 + n) });
            yard.add(drafts.collect()).await;
        }
        let held = yard.claim(10).await;
        assert!(held.iter().all(|job| job.tenant == Some(loud)));
        let single = yard.add_one(Draft { tenant: Some(quiet), ..draft(0) }).await;
        let next = yard.claim(2).await;
        assert!(next.iter().any(|job| job.id == single.id), "the next free worker has it");
        assert_eq!(yard.status().await.waiting, 19_989);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_backlog_comes_out_whole_and_in_order() {
    yards(QueueSettings::default(), |yard| async move {
        for step in 0..5 {
            yard.add((0..1_000).map(|n| draft(step * 1_000 + n)).collect()).await;
        }
        let mut seen = Vec::new();
        while seen.len() < 5_000 {
            let jobs = yard.claim(700).await;
            assert!(!jobs.is_empty(), "{} came out", seen.len());
            seen.extend(super::numbers(&jobs));
        }
        assert!(seen.iter().enumerate().all(|(index, number)| index == *number), "in their order");
        assert!(yard.claim(1).await.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_share_by_running_time_not_by_count() {
    yards(QueueSettings::default(), |yard| async move {
        let (long, short) = (yard.tenant(), yard.tenant());
        let of = |tenant| (0..300).map(move |n| Draft { tenant: Some(tenant), ..draft(n) });
        yard.add(of(long).collect()).await;
        yard.add(of(short).collect()).await;
        let mut served = [0_u64; 2];
        for _ in 0..120 {
            let job = yard.claim_one().await;
            let is_long = job.tenant == Some(long);
            let took = if is_long { 10 } else { 1 };
            yard.clock.advance(secs(took));
            served[usize::from(!is_long)] += took;
            yard.done(&job).await.unwrap();
        }
        let (one, other) = (served[0] as f64, served[1] as f64);
        assert!((0.6..1.6).contains(&(one / other)), "{served:?}");
        assert!(yard.status().await.fairness > 0.8);
    })
    .await;
}
