//! What a job can be asked to be.

use base::HumanDuration;
use jobs::{
    Backoff, BackoffKind, Draft, Error, JobStatus, OnDuplicate, Payload, QueueSettings, Scope, Unique,
};

use super::{draft, numbers, secs, yards};

fn unique(number: usize, key: &str) -> Draft {
    let unique = Unique { key: key.into(), within: None, on_duplicate: OnDuplicate::Reject };
    Draft { unique: Some(unique), ..draft(number) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_job_is_due_in_time_and_can_be_hurried() {
    yards(QueueSettings::default(), |yard| async move {
        let delayed = Draft { delay: Some(secs(60)), ..draft(1) };
        let at = Draft { run_at: Some(yard.engine.now() + secs(30)), ..draft(2) };
        let made = yard.add(vec![delayed, at, Draft { delay: Some(secs(3_600)), ..draft(3) }]).await;
        assert!(made.iter().all(|job| job.status == JobStatus::Delayed));
        assert!(yard.claim(10).await.is_empty());
        assert_eq!(yard.status().await.delayed, 3);
        yard.pass(secs(31)).await;
        assert_eq!(numbers(&yard.claim(10).await), [2]);
        yard.pass(secs(29)).await;
        assert_eq!(numbers(&yard.claim(10).await), [1]);
        yard.engine.retry(yard.all, made[2].id).await.unwrap();
        assert_eq!(numbers(&yard.claim(10).await), [3]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn priorities_go_first_and_equals_in_their_order() {
    yards(QueueSettings::default(), |yard| async move {
        let with = |number, priority| Draft { priority: Some(priority), ..draft(number) };
        yard.add(vec![with(1, 9), with(2, 5), with(3, 0), with(4, 5), with(5, 0)]).await;
        assert_eq!(numbers(&yard.claim(10).await), [3, 5, 2, 4, 1]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pause_after_a_failure_is_the_jobs_own_or_the_workers() {
    yards(QueueSettings::default(), |yard| async move {
        let fixed = Backoff {
            kind: BackoffKind::Fixed,
            base: HumanDuration(secs(10)),
            max: HumanDuration(secs(10)),
            jitter: false,
        };
        yard.add_one(Draft { backoff: Some(fixed), attempts: Some(5), ..draft(1) }).await;
        let job = yard.claim_one().await;
        assert_eq!(job.attempts, 5);
        yard.fail(&job, "no").await;
        yard.pass(secs(9)).await;
        assert!(yard.claim(1).await.is_empty());
        yard.pass(secs(1)).await;
        let job = yard.claim_one().await;
        let failure = jobs::Failure { error: "no".into(), retry: true, retry_in: Some(secs(0)) };
        let status = yard.engine.fail(yard.all, job.id, job.fence, failure).await.unwrap();
        assert_eq!(status, JobStatus::Waiting);
        assert_eq!(yard.claim_one().await.attempt, 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unique_job_is_one_until_it_ends() {
    yards(QueueSettings::default(), |yard| async move {
        let first = yard.add_one(unique(1, "a")).await;
        let existing = Error::Duplicate { existing: first.id };
        let refused =
            yard.engine.enqueue(&yard.queue, yard.all, vec![draft(2), unique(3, "b"), unique(4, "a")]).await;
        assert_eq!(refused, Err(existing), "all or none");
        let mut asks = unique(5, "a");
        asks.unique.as_mut().unwrap().on_duplicate = OnDuplicate::Existing;
        let views = yard.add(vec![asks, draft(6), unique(7, "b")]).await;
        assert_eq!((views[0].id, views[0].existing, views[1].existing), (first.id, true, false));
        let tenant = Scope::Tenant(yard.environment, yard.tenant());
        yard.engine.enqueue(&yard.queue, tenant, vec![unique(8, "a")]).await.unwrap();
        let claimed = yard.claim(10).await;
        let mut order = numbers(&claimed);
        order.sort_unstable();
        assert_eq!(order, [1, 6, 7, 8]);
        yard.done(&claimed[0]).await.unwrap();
        yard.add_one(unique(9, "a")).await;
        let within = Unique { key: "w".into(), within: Some(secs(60)), on_duplicate: OnDuplicate::Reject };
        let limited = |number| Draft { unique: Some(within.clone()), ..draft(number) };
        yard.add_one(limited(10)).await;
        for job in yard.claim(10).await {
            yard.done(&job).await.unwrap();
        }
        let refused = yard.engine.enqueue(&yard.queue, yard.all, vec![limited(11)]).await;
        assert!(matches!(refused, Err(Error::Duplicate { .. })), "{refused:?}");
        yard.pass(secs(61)).await;
        yard.add_one(limited(12)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_at_once_make_one_unique_job() {
    yards(QueueSettings::default(), |yard| async move {
        let mut tries = tokio::task::JoinSet::new();
        for number in 0..50 {
            let (engine, queue, all) = (yard.engine.clone(), yard.queue.clone(), yard.all);
            tries
                .spawn(async move { engine.enqueue(&queue, all, vec![unique(number, "one")]).await.is_ok() });
        }
        let made = tries.join_all().await.into_iter().filter(|made| *made).count();
        assert_eq!((made, yard.claim(50).await.len()), (1, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_payloads_come_back_whole_and_larger_ones_are_refused() {
    yards(QueueSettings::default(), |yard| async move {
        let text = |bytes: usize| Payload::from_json(format!("\"{}\"", "x".repeat(bytes - 2)));
        let big = text(256 << 10);
        let made = yard.add_one(Draft::new(big.clone())).await;
        let refused =
            yard.engine.enqueue(&yard.queue, yard.all, vec![Draft::new(text((256 << 10) + 1))]).await;
        assert!(matches!(refused, Err(Error::PayloadTooLarge { bytes_max: 262_144, .. })), "{refused:?}");
        let job = yard.claim_one().await;
        assert_eq!(job.payload, big);
        let ack = jobs::Ack { id: job.id, fence: job.fence, result: Some(text((256 << 10) + 1)) };
        let refused = yard.engine.complete(yard.all, vec![ack], None).await.unwrap().0.remove(0);
        assert!(matches!(refused, Err(Error::PayloadTooLarge { what: "result", .. })), "{refused:?}");
        yard.done(&job).await.unwrap();
        assert_eq!(yard.engine.get(yard.all, made.id).await.unwrap().payload, big);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finished_jobs_are_kept_as_long_as_is_said() {
    yards(QueueSettings::default(), |yard| async move {
        let own = Draft { keep: Some(secs(7_200)), tags: vec!["t".into()], ..draft(1) };
        let none = Draft { keep: Some(secs(0)), ..draft(2) };
        let made = yard.add(vec![own, none, draft(3)]).await;
        for job in yard.claim(3).await {
            yard.done(&job).await.unwrap();
        }
        let all = yard.all;
        let is_there = async |index: usize| yard.engine.get(all, made[index].id).await.is_ok();
        assert!(is_there(0).await && !is_there(1).await && is_there(2).await);
        yard.pass(secs(3_601)).await;
        assert!(is_there(0).await && !is_there(2).await);
        assert_eq!(yard.engine.get(all, made[0].id).await.unwrap().tags, ["t"]);
        yard.pass(secs(3_600)).await;
        assert!(!is_there(0).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_cannot_be_are_named() {
    yards(QueueSettings::default(), |yard| async move {
        let bad = |draft: Draft| {
            let (engine, queue, all) = (yard.engine.clone(), yard.queue.clone(), yard.all);
            async move {
                match engine.enqueue(&queue, all, vec![super::draft(0), draft]).await {
                    Err(Error::Invalid { pointer, .. }) => pointer,
                    other => format!("{other:?}"),
                }
            }
        };
        assert_eq!(bad(Draft { priority: Some(10), ..draft(1) }).await, "/jobs/1/priority");
        assert_eq!(bad(Draft { attempts: Some(0), ..draft(1) }).await, "/jobs/1/attempts");
        assert_eq!(bad(Draft { tags: vec![String::new()], ..draft(1) }).await, "/jobs/1/tags");
        let child = Draft { children: vec![Draft { priority: Some(99), ..draft(2) }], ..draft(1) };
        assert_eq!(bad(child).await, "/jobs/1/children/0/priority");
        assert!(yard.claim(10).await.is_empty(), "nothing was made");
        let unknown = jobs::QueueKey::of(yard.environment, super::slug("wrok"));
        let refused = yard.engine.enqueue(&unknown, yard.all, vec![draft(1)]).await;
        assert_eq!(refused, Err(Error::QueueUnknown { name: "wrok".into(), nearest: Some("work".into()) }));
    })
    .await;
}
