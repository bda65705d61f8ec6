//! Operations on many jobs.

use jobs::{Draft, Error, JobFilter, JobStatus, QueueSettings, Swept};

use super::{draft, numbers, secs, yards};

/// What was done, all of it in one call.
fn count(swept: Result<Swept, Error>) -> u64 {
    let swept = swept.unwrap();
    assert!(!swept.more);
    swept.count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_filtered_and_retried() {
    yards(QueueSettings::default(), |yard| async move {
        let once = |number: usize| Draft {
            attempts: Some(1),
            tags: vec![if number.is_multiple_of(2) { "even" } else { "odd" }.into()],
            ..draft(number)
        };
        yard.add((0..10).map(once).collect()).await;
        for job in yard.claim(10).await {
            yard.fail(&job, if job.payload.as_str().contains('7') { "seven" } else { "other" }).await;
        }
        let dead = |filter: JobFilter| JobFilter { status: Some(JobStatus::Dead), ..filter };
        let list = async |filter, after| {
            yard.engine.list(&yard.queue, yard.all, filter, after, 4).await.unwrap().jobs
        };
        let first = list(dead(JobFilter::default()), None).await;
        assert_eq!(first.len(), 4);
        assert!(first[0].view.id > first[3].view.id, "newest first");
        let second = list(dead(JobFilter::default()), Some(first[3].view.id)).await;
        assert!(second[0].view.id < first[3].view.id);
        let seven = JobFilter { error: Some("sev".into()), ..JobFilter::default() };
        assert_eq!(list(dead(seven.clone()), None).await.len(), 1);
        assert_eq!(count(yard.engine.retry_dead(&yard.queue, yard.all, seven, 100).await), 1);
        assert_eq!(numbers(&yard.claim(10).await), [7]);
        let even = JobFilter { tag: Some("even".into()), ..JobFilter::default() };
        assert_eq!(count(yard.engine.retry_dead(&yard.queue, yard.all, even.clone(), 3).await), 3);
        assert_eq!(numbers(&yard.claim(10).await), [0, 2, 4]);
        assert_eq!(count(yard.engine.purge(&yard.queue, yard.all, even).await), 2);
        assert_eq!(yard.status().await.dead, 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_empties_what_waits_and_leaves_what_runs() {
    yards(QueueSettings::default(), |yard| async move {
        yard.add((0..1_000).map(draft).collect()).await;
        yard.add((0..500).map(|n| Draft { delay: Some(secs(60)), ..draft(n) }).collect()).await;
        let running = yard.claim(5).await;
        assert_eq!(count(yard.engine.drain(&yard.queue, yard.all).await), 1_495);
        assert!(yard.claim(10).await.is_empty());
        let status = yard.status().await;
        assert_eq!((status.waiting, status.delayed, status.active, status.bytes), (0, 0, 5, 0));
        assert_eq!(yard.done(&running[0]).await, Ok(JobStatus::Completed));
        yard.add_one(draft(1)).await;
        assert_eq!(yard.claim(10).await.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_of_many_windows_is_drained_and_purged_beside_another() {
    yards(QueueSettings::default(), |yard| async move {
        let other = yard.other_queue("other", QueueSettings::default()).await;
        // Plans are made, and kept, while the tables are small.
        for _ in 0..8 {
            yard.add((0..10).map(draft).collect()).await;
            assert_eq!(count(yard.engine.drain(&yard.queue, yard.all).await), 10);
            assert_eq!(count(yard.engine.purge(&yard.queue, yard.all, JobFilter::default()).await), 0);
        }
        for _ in 0..6 {
            yard.add((0..1_000).map(draft).collect()).await;
            yard.engine.enqueue(&other, yard.all, (0..1_000).map(draft).collect()).await.unwrap();
        }
        let ended = yard.claim(300).await;
        for job in &ended {
            yard.done(job).await.unwrap();
        }
        let left = 6_000 - ended.len() as u64;
        assert_eq!(count(yard.engine.drain(&yard.queue, yard.all).await), left);
        let kept = count(yard.engine.purge(&yard.queue, yard.all, JobFilter::default()).await);
        assert_eq!(kept, ended.len() as u64);
        assert!(yard.claim(10).await.is_empty());
        assert_eq!(yard.engine.status(&other, yard.all).await.unwrap().waiting, 6_000);
        assert_eq!(count(yard.engine.drain(&other, yard.all).await), 6_000);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_move_to_another_queue() {
    yards(QueueSettings::default(), |yard| async move {
        let other = yard.other_queue("other", QueueSettings::default()).await;
        let tagged = |n: usize| Draft { tags: vec![format!("t{}", n % 2)], ..draft(n) };
        yard.add((0..10).map(tagged).collect()).await;
        let odd = JobFilter { tag: Some("t1".into()), ..JobFilter::default() };
        assert_eq!(count(yard.engine.move_to(&yard.queue, yard.all, odd, &other).await), 5);
        let request = jobs::ClaimRequest { limit: 10, ..jobs::ClaimRequest::one(other, yard.all) };
        assert_eq!(numbers(&yard.engine.claim(request).await.unwrap()), [1, 3, 5, 7, 9]);
        assert_eq!(numbers(&yard.claim(10).await), [0, 2, 4, 6, 8]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_is_replayed() {
    yards(QueueSettings::default(), |yard| async move {
        let start = yard.engine.now();
        for number in 0..6 {
            yard.add_one(draft(number)).await;
            let job = yard.claim_one().await;
            yard.done(&job).await.unwrap();
            yard.clock.advance(secs(10));
        }
        let window =
            JobFilter { from: Some(start + secs(10)), to: Some(start + secs(40)), ..JobFilter::default() };
        assert_eq!(count(yard.engine.replay(&yard.queue, yard.all, window).await), 3);
        assert_eq!(numbers(&yard.claim(10).await), [1, 2, 3]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_with_jobs_is_removed_by_force_only() {
    yards(QueueSettings::default(), |yard| async move {
        let ctx = yard.store.system();
        yard.add_one(draft(1)).await;
        let refused = yard.engine.delete_queue(&ctx, &yard.queue, false).await;
        assert!(matches!(refused, Err(Error::HoldsJobs { jobs: 1, .. })), "{refused:?}");
        let job = yard.claim_one().await;
        yard.engine.delete_queue(&ctx, &yard.queue, true).await.unwrap();
        assert!(yard.engine.queue(&yard.queue).is_err());
        assert_eq!(yard.done(&job).await, Err(Error::NotFound));
        assert!(matches!(
            yard.engine.delete_queue(&ctx, &yard.queue, true).await,
            Err(Error::QueueUnknown { .. })
        ));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_searches_goes_on_where_it_stopped() {
    yards(QueueSettings::default(), |yard| async move {
        let rare = |n: usize| Draft { tags: vec!["rare".into()], ..draft(n) };
        yard.add(vec![rare(0)]).await;
        // More than one call looks through.
        for thousand in 0..26 {
            yard.add((0..1_000).map(|n| draft(thousand * 1_000 + n)).collect()).await;
        }
        yard.add(vec![rare(1)]).await;
        let filter = JobFilter { tag: Some("rare".into()), ..JobFilter::default() };
        let first = yard.engine.list(&yard.queue, yard.all, filter.clone(), None, 51).await.unwrap();
        assert_eq!(first.jobs.len(), 1);
        assert!(first.stopped_at.is_some_and(|at| at < first.jobs[0].view.id));
        let second = yard.engine.list(&yard.queue, yard.all, filter, first.stopped_at, 51).await.unwrap();
        assert_eq!((second.jobs.len(), second.stopped_at), (1, None));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_drained_lies_in_no_claims_way() {
    let settings = QueueSettings { concurrency: Some(1_000), ..QueueSettings::default() };
    yards(settings, |yard| async move {
        let tenants: Vec<_> = (0..4).map(|_| yard.tenant()).collect();
        let of = |n: usize| Draft { tenant: Some(tenants[n % 4]), ..draft(n) };
        for page in 0..6 {
            yard.add((page * 1_000..(page + 1) * 1_000).map(of).collect()).await;
        }
        while yard.engine.drain(&yard.queue, yard.all).await.unwrap().more {}
        assert_eq!(yard.status().await.waiting, 0);
        yard.add((0..8).map(of).collect()).await;
        let before = yard.store.db.stats();
        for _ in 0..8 {
            let job = yard.claim_one().await;
            yard.done(&job).await.unwrap();
        }
        let after = yard.store.db.stats();
        // A transaction for each claim and each end, and a few to read the windows: not one for each job that is gone.
        let rounds = after.commits - before.commits;
        assert!(rounds <= 16 + 2 * 4, "{rounds} transactions for 8 jobs");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_starts_anew_is_filled_without_being_asked() {
    yards(QueueSettings::default(), |yard| async move {
        yard.add((0..600).map(draft).collect()).await;
        // All of them come before those that are there, and are more than a window takes.
        for page in 0..4 {
            let first = |n: usize| Draft { priority: Some(0), ..draft(n) };
            yard.add((page * 400..(page + 1) * 400).map(first).collect()).await;
        }
        let mut seen = 0;
        while seen < 2_200 {
            let claimed = yard.claim(100).await;
            assert!(!claimed.is_empty(), "{seen} of 2,200 came out");
            let acks = claimed.iter().map(|job| jobs::Ack { id: job.id, fence: job.fence, result: None });
            seen += claimed.len();
            yard.engine.complete(yard.all, acks.collect(), None).await.unwrap();
        }
    })
    .await;
}

/// Removes a tenant's jobs a part at a time; answers how many each part had.
async fn remove_parts(yard: &super::Yard, gone: base::TenantId, limit: u32) -> Vec<u64> {
    let mut parts = Vec::new();
    loop {
        let engine = yard.engine.clone();
        let remove =
            move |tx: &mut db::SystemTx<'_>| ports::TenantRows::remove_part(&engine, tx, gone, limit);
        match yard.store.db.write_system(&yard.store.system(), remove).await.unwrap() {
            0 => return parts,
            count => parts.push(count),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_tenants_jobs_go_a_part_at_a_time() {
    yards(QueueSettings::default(), |yard| async move {
        let (gone, stays) = (yard.tenant(), yard.tenant());
        let of = |tenant, n| Draft { tenant: Some(tenant), ..draft(n) };
        // Some have ended, one runs, one waits for its children, and those of another lie between them.
        yard.add((0..4).map(|n| of(gone, n)).collect()).await;
        for job in yard.claim(3).await {
            yard.done(&job).await.unwrap();
        }
        let runs = yard.claim_one().await;
        yard.add(vec![of(stays, 10)]).await;
        let children = vec![of(gone, 6), of(gone, 7)];
        let parent = yard.add_one(Draft { children, ..of(gone, 5) }).await;
        yard.add(vec![of(stays, 11), Draft { delay: Some(secs(60)), ..of(gone, 8) }]).await;
        assert_eq!(
            remove_parts(&yard, gone, 2).await,
            [2, 2, 1, 2, 1],
            "those that live, then those that ended"
        );
        assert!(yard.done(&runs).await.is_err());
        for id in [runs.id, parent.id] {
            assert!(yard.engine.get(yard.all, id).await.is_err());
        }
        assert_eq!(numbers(&yard.claim(10).await), [10, 11]);
        yard.clock.advance(secs(61));
        assert!(yard.claim(10).await.is_empty());
        // What comes in behind the place where it goes on is found by the end, and a removal anew begins at the beginning.
        yard.add(vec![of(gone, 20)]).await;
        assert_eq!(remove_parts(&yard, gone, 2).await, [1]);
        let engine = yard.engine.clone();
        let remove = move |tx: &mut db::SystemTx<'_>| ports::TenantRows::remove(&engine, tx, gone);
        yard.store.db.write_system(&yard.store.system(), remove).await.unwrap();
    })
    .await;
}
