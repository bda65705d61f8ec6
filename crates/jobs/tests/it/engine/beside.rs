//! Claims that SQLite has beside their jobs.

use db::{Kind, Sql, SystemTx};
use jobs::{Ack, Claimed, JobStatus, Payload, QueueSettings};

use super::{Yard, draft, open, secs, yards};

/// Rows that stand beside their jobs.
async fn beside(yard: &Yard) -> i64 {
    const COUNT: Sql = Sql::One("SELECT count(*) FROM jobs_claims");
    let count = |tx: &mut SystemTx<'_>| tx.query_one(&COUNT, &[])?.get::<i64>(0);
    yard.store.db.read_system::<_, db::Error, _>(&yard.store.system(), count).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_beside_their_jobs_are_seen_by_readers_changes_and_the_next_start() {
    yards(QueueSettings::default(), |yard| async move {
        if yard.store.kind() != Kind::Sqlite {
            return;
        }
        yard.add((0..6).map(draft).collect()).await;
        let held = yard.claim(5).await;
        yard.done_with(&held[0], Some("1")).await.unwrap();
        assert_eq!(beside(&yard).await, 5);
        // A reader.
        let detail = yard.engine.get(yard.all, held[0].id).await.unwrap();
        assert_eq!((detail.view.status, detail.view.attempt), (JobStatus::Completed, 1));
        assert_eq!(detail.result, Some(Payload::from_json("1")));
        assert_eq!(beside(&yard).await, 0);
        // What was taken over ends as well, and what is claimed later stands beside its job again.
        yard.done(&held[1]).await.unwrap();
        let late = yard.claim(5).await;
        assert_eq!((late.len(), beside(&yard).await), (1, 1));
        // A slow change sees the claim that it ends.
        assert_eq!(yard.fail(&late[0], "no").await, JobStatus::Delayed);
        assert_eq!(beside(&yard).await, 0);
        // A heartbeat on either side; then a process that ends at once, and the next.
        yard.add_one(draft(6)).await;
        let last = yard.claim_one().await;
        let leases = vec![(last.id, last.fence), (held[2].id, held[2].fence)];
        yard.clock.advance(secs(10));
        let beats = yard.engine.heartbeat(yard.all, leases).await.unwrap();
        assert!(beats.iter().all(|beat| beat.as_ref().is_ok_and(|beat| beat.lease_until > last.lease_until)));
        yard.done(&held[3]).await.unwrap();
        assert_eq!(beside(&yard).await, 1);
        let next = open(&yard.store).await;
        assert_eq!(beside(&yard).await, 0);
        let detail = next.get(yard.all, last.id).await.unwrap();
        assert_eq!((detail.view.status, detail.view.attempt), (JobStatus::Active, 1));
        let ack = |job: &Claimed| Ack { id: job.id, fence: job.fence, result: None };
        let (told, _) = next.complete(yard.all, vec![ack(&last), ack(&held[2])], None).await.unwrap();
        assert_eq!(told, [Ok(JobStatus::Completed), Ok(JobStatus::Completed)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ended_beside_its_job_is_taken_over_while_others_run_on() {
    yards(QueueSettings::default(), |yard| async move {
        if yard.store.kind() != Kind::Sqlite {
            return;
        }
        yard.add((0..1_000).map(draft).collect()).await;
        let long = yard.claim(10).await;
        for _ in 0..9 {
            for job in yard.claim(100).await {
                yard.done(&job).await.unwrap();
            }
        }
        let left = beside(&yard).await;
        assert!((10..=10 + 400 + 100).contains(&left), "{left} rows stand beside their jobs");
        assert_eq!(yard.status().await.active, 10);
        for job in &long {
            yard.done(job).await.unwrap();
        }
        let status = yard.status().await;
        assert_eq!((status.waiting, status.active), (90, 0));
    })
    .await;
}
