//! The life of a job.
#![expect(clippy::disallowed_methods, reason = "a test spawns on its own runtime, which ends with it")]

use std::time::Duration;

use futures_util::FutureExt as _;
use jobs::{Ack, ClaimRequest, Error, EventKind, Failure, JobStatus, Outcome, Payload, QueueSettings, Scope};

use super::{draft, numbers, open, secs, yards};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_made_claimed_and_completed() {
    yards(QueueSettings::default(), |yard| async move {
        let made = yard.add(vec![draft(1), draft(2), draft(3)]).await;
        assert!(made.iter().all(|job| job.status == JobStatus::Waiting && job.attempts == 3));
        assert!(made.windows(2).all(|pair| pair[0].id < pair[1].id));
        let claimed = yard.claim(2).await;
        assert_eq!(numbers(&claimed), [1, 2]);
        assert_eq!((claimed[0].attempt, claimed[0].fence), (1, 1));
        assert_eq!(claimed[0].lease_until, yard.engine.now() + secs(30));
        let status = yard.status().await;
        assert_eq!((status.waiting, status.active, status.completed), (1, 2, 0));
        assert_eq!(yard.done_with(&claimed[0], Some("[7]")).await, Ok(JobStatus::Completed));
        let kept = yard.engine.get(yard.all, claimed[0].id).await.unwrap();
        assert_eq!((kept.view.status, kept.result), (JobStatus::Completed, Some(Payload::from_json("[7]"))));
        assert_eq!(kept.payload.as_str(), "{\"n\":1}");
        assert_eq!(yard.done(&claimed[0]).await, Err(Error::LeaseLost(claimed[0].id)));
        assert_eq!(yard.done(&claimed[1]).await, Ok(JobStatus::Completed));
        assert_eq!(numbers(&yard.claim(10).await), [3]);
        assert!(yard.claim(10).await.is_empty());
        let status = yard.status().await;
        assert_eq!((status.waiting, status.active, status.completed), (0, 1, 2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completing_and_claiming_is_one_call() {
    yards(QueueSettings { concurrency: Some(2), ..QueueSettings::default() }, |yard| async move {
        yard.add((0..6).map(draft).collect()).await;
        let held = yard.claim(10).await;
        assert_eq!(numbers(&held), [0, 1], "two may run at once");
        let acks = held.iter().map(|job| Ack { id: job.id, fence: job.fence, result: None }).collect();
        let (ended, next) = yard.engine.complete(yard.all, acks, Some(yard.request(10))).await.unwrap();
        assert!(ended.iter().all(|result| *result == Ok(JobStatus::Completed)));
        assert_eq!(numbers(&next), [2, 3], "the places of those that ended are free in the same transaction");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_waits_for_a_job_and_gives_up_in_time() {
    yards(QueueSettings::default(), |yard| async move {
        let waiting = ClaimRequest { wait: secs(30), ..yard.request(5) };
        let (engine, request) = (yard.engine.clone(), waiting.clone());
        let claim = tokio::spawn(async move { engine.claim(request).await });
        while yard.status().await.claims_waiting == 0 {
            tokio::task::yield_now().await;
        }
        yard.add_one(draft(1)).await;
        assert_eq!(numbers(&claim.await.unwrap().unwrap()), [1]);
        let short = ClaimRequest { wait: Duration::from_millis(20), ..waiting };
        assert!(yard.engine.claim(short).await.unwrap().is_empty());
        assert_eq!(yard.status().await.claims_waiting, 0);
        let (engine, request) = (yard.engine.clone(), ClaimRequest { wait: secs(30), ..yard.request(5) });
        let claim = tokio::spawn(async move { engine.claim(request).await });
        while yard.status().await.claims_waiting == 0 {
            tokio::task::yield_now().await;
        }
        yard.engine.close();
        assert!(claim.await.unwrap().unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_fails_is_tried_again_and_ends_dead_with_its_history() {
    yards(QueueSettings::default(), |yard| async move {
        let made = yard.add_one(draft(1)).await;
        for attempt in 1..=3 {
            let job = yard.claim_one().await;
            assert_eq!(job.attempt, attempt);
            let status = yard.fail(&job, &format!("no {attempt}")).await;
            assert_eq!(status, if attempt < 3 { JobStatus::Delayed } else { JobStatus::Dead });
            assert!(yard.claim(1).await.is_empty(), "it pauses");
            yard.pass(secs(5)).await;
        }
        let detail = yard.engine.get(yard.all, made.id).await.unwrap();
        assert_eq!((detail.view.status, detail.error.as_deref()), (JobStatus::Dead, Some("no 3")));
        let history: Vec<_> =
            detail.history.iter().map(|attempt| (attempt.attempt, attempt.error.as_str())).collect();
        assert_eq!(history, [(1, "no 1"), (2, "no 2"), (3, "no 3")]);
        assert_eq!(yard.status().await.dead, 1);
        let again = yard.engine.retry(yard.all, made.id).await.unwrap();
        assert_eq!((again.status, again.attempt), (JobStatus::Waiting, 0));
        let job = yard.claim_one().await;
        assert!(job.attempt == 1 && job.fence == 4, "the fence goes on: {job:?}");
        let fatal = Failure { error: "never".into(), retry: false, retry_in: None };
        assert_eq!(yard.engine.fail(yard.all, job.id, job.fence, fatal).await, Ok(JobStatus::Dead));
        assert_eq!(yard.engine.get(yard.all, made.id).await.unwrap().history.len(), 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j1_another_tenants_job_does_not_exist() {
    yards(QueueSettings::default(), |yard| async move {
        let (mine, other) = (yard.tenant(), yard.tenant());
        let (my, their) = (Scope::Tenant(yard.environment, mine), Scope::Tenant(yard.environment, other));
        let made = yard.engine.enqueue(&yard.queue, my, vec![draft(1), draft(2)]).await.unwrap();
        let request = |scope| ClaimRequest { limit: 10, ..ClaimRequest::one(yard.queue.clone(), scope) };
        assert!(yard.engine.claim(request(their)).await.unwrap().is_empty());
        let job = yard.engine.claim(ClaimRequest { limit: 1, ..request(my) }).await.unwrap().remove(0);
        assert_eq!(job.tenant, Some(mine));
        let ack = || vec![Ack { id: job.id, fence: job.fence, result: None }];
        let elsewhere = Scope::Environment(Some(base::EnvironmentId::new(&yard.clock, &*yard.store.random)));
        for scope in [their, elsewhere] {
            assert_eq!(yard.engine.complete(scope, ack(), None).await.unwrap().0, [Err(Error::NotFound)]);
            assert_eq!(
                yard.engine.heartbeat(scope, vec![(job.id, job.fence)]).await.unwrap(),
                [Err(Error::NotFound)]
            );
            assert_eq!(
                yard.engine.release(scope, vec![(job.id, job.fence)]).await.unwrap(),
                [Err(Error::NotFound)]
            );
            let failed = yard.engine.fail(scope, job.id, job.fence, super::failure("x")).await;
            assert_eq!(failed, Err(Error::NotFound));
            assert_eq!(yard.engine.progress(scope, job.id, job.fence, 1, None).await, Err(Error::NotFound));
            for id in [job.id, made[1].id] {
                assert_eq!(yard.engine.get(scope, id).await, Err(Error::NotFound));
                assert_eq!(yard.engine.cancel(scope, id).await, Err(Error::NotFound));
                assert_eq!(yard.engine.retry(scope, id).await, Err(Error::NotFound));
                assert_eq!(yard.engine.wait(scope, id, secs(0)).await, Err(Error::NotFound));
            }
        }
        let list = yard.engine.list(&yard.queue, their, Default::default(), None, 10).await.unwrap();
        assert!(list.jobs.is_empty());
        assert_eq!(yard.engine.drain(&yard.queue, their).await.map(|swept| swept.count), Ok(0));
        assert_eq!(yard.engine.complete(my, ack(), None).await.unwrap().0, [Ok(JobStatus::Completed)]);
        assert_eq!(yard.engine.complete(their, ack(), None).await.unwrap().0, [Err(Error::NotFound)]);
        let strange = vec![jobs::Draft { tenant: Some(other), ..draft(3) }];
        assert_eq!(yard.engine.enqueue(&yard.queue, my, strange).await, Err(Error::NotFound));
        assert_eq!(yard.engine.drain(&yard.queue, my).await.map(|swept| swept.count), Ok(1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j2_a_stale_lease_is_lost_for_good() {
    yards(QueueSettings::default(), |yard| async move {
        yard.add_one(draft(1)).await;
        let stale = yard.claim_one().await;
        yard.pass(secs(31)).await;
        let fresh = yard.claim_one().await;
        assert_eq!((fresh.id, fresh.attempt, fresh.fence), (stale.id, 2, 2));
        let lost = Error::LeaseLost(stale.id);
        assert_eq!(yard.done(&stale).await, Err(lost.clone()));
        let beat = yard.engine.heartbeat(yard.all, vec![(stale.id, stale.fence)]).await.unwrap();
        assert_eq!(beat, [Err(lost.clone())]);
        let failed = yard.engine.fail(yard.all, stale.id, stale.fence, super::failure("x")).await;
        assert_eq!(failed, Err(lost.clone()));
        assert_eq!(yard.engine.progress(yard.all, stale.id, stale.fence, 5, None).await, Err(lost.clone()));
        assert_eq!(yard.engine.release(yard.all, vec![(stale.id, stale.fence)]).await.unwrap(), [Err(lost)]);
        assert!(yard.engine.cancelled(stale.id, stale.fence).is());
        assert!(!yard.engine.cancelled(fresh.id, fresh.fence).is());
        assert_eq!(yard.done(&fresh).await, Ok(JobStatus::Completed));
        let history = yard.engine.get(yard.all, fresh.id).await.unwrap().history;
        assert_eq!(history[0].outcome, Outcome::LeaseExpired);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_keeps_the_lease_but_not_past_the_time_out() {
    let settings = QueueSettings { timeout: Some(base::HumanDuration(secs(70))), ..QueueSettings::default() };
    yards(settings, |yard| async move {
        yard.add_one(draft(1)).await;
        let job = yard.claim_one().await;
        let start = yard.engine.now();
        for (passed, lease) in [(20, 50), (20, 70), (20, 70)] {
            yard.pass(secs(passed)).await;
            let beat =
                yard.engine.heartbeat(yard.all, vec![(job.id, job.fence)]).await.unwrap().remove(0).unwrap();
            assert_eq!(beat.lease_until, start + secs(lease));
        }
        yard.pass(secs(11)).await;
        let detail = yard.engine.get(yard.all, job.id).await.unwrap();
        assert_eq!(detail.view.status, JobStatus::Delayed, "a time-out pauses as a failure does");
        assert_eq!(detail.history[0].outcome, Outcome::TimedOut);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f32_a_job_that_takes_its_worker_down_is_dead_after_its_attempts() {
    yards(QueueSettings::default(), |yard| async move {
        let poison = yard.add_one(draft(1)).await;
        for _ in 0..3 {
            yard.claim_one().await;
            yard.pass(secs(31)).await;
        }
        assert!(yard.claim(1).await.is_empty());
        let detail = yard.engine.get(yard.all, poison.id).await.unwrap();
        assert_eq!((detail.view.status, detail.history.len()), (JobStatus::Dead, 3));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_given_back_is_first_again_and_no_attempt_is_counted() {
    yards(QueueSettings::default(), |yard| async move {
        yard.add(vec![draft(1), draft(2)]).await;
        let job = yard.claim_one().await;
        let released = yard.engine.release(yard.all, vec![(job.id, job.fence)]).await.unwrap();
        assert_eq!(released, [Ok(JobStatus::Waiting)]);
        let again = yard.claim_one().await;
        assert_eq!((again.id, again.attempt, again.fence), (job.id, 1, 2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_reaches_jobs_that_wait_and_workers_that_run() {
    yards(QueueSettings::default(), |yard| async move {
        let made = yard.add(vec![draft(1), draft(2)]).await;
        let job = yard.claim_one().await;
        let listener = yard.engine.cancelled(job.id, job.fence);
        assert_eq!(yard.engine.cancel(yard.all, made[1].id).await.unwrap().status, JobStatus::Cancelled);
        assert_eq!(yard.engine.cancel(yard.all, job.id).await.unwrap().status, JobStatus::Active);
        listener.wait().await;
        let beat = yard.engine.heartbeat(yard.all, vec![(job.id, job.fence)]).await.unwrap().remove(0);
        assert!(beat.unwrap().cancel);
        assert_eq!(yard.fail(&job, "stopped").await, JobStatus::Cancelled);
        assert!(yard.claim(5).await.is_empty());
        let refused = yard.engine.cancel(yard.all, job.id).await;
        assert!(
            matches!(refused, Err(Error::NotWaiting { status: JobStatus::Cancelled, .. })),
            "{refused:?}"
        );
        yard.engine.retry(yard.all, made[1].id).await.unwrap();
        assert_eq!(yard.claim_one().await.id, made[1].id);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_job_ends_with_it() {
    yards(QueueSettings::default(), |yard| async move {
        let made = yard.add_one(draft(1)).await;
        let job = yard.claim_one().await;
        let (engine, all, id) = (yard.engine.clone(), yard.all, made.id);
        let wait = tokio::spawn(async move { engine.wait(all, id, secs(30)).await });
        tokio::task::yield_now().await;
        yard.done_with(&job, Some("\"ok\"")).await.unwrap();
        let detail = wait.await.unwrap().unwrap();
        assert_eq!(
            (detail.view.status, detail.result),
            (JobStatus::Completed, Some(Payload::from_json("\"ok\"")))
        );
        let other = yard.add_one(draft(2)).await;
        assert_eq!(
            yard.engine.wait(yard.all, other.id, secs(0)).await.unwrap().view.status,
            JobStatus::Waiting
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_and_events_tell_what_happens() {
    yards(QueueSettings::default(), |yard| async move {
        let mut events = yard.engine.subscribe(&yard.queue, yard.all, None).unwrap();
        yard.add_one(draft(1)).await;
        let job = yard.claim_one().await;
        yard.engine.progress(yard.all, job.id, job.fence, 40, Some("half".into())).await.unwrap();
        let detail = yard.engine.get(yard.all, job.id).await.unwrap();
        assert_eq!(detail.progress.map(|note| (note.percent, note.note)), Some((40, Some("half".into()))));
        yard.done(&job).await.unwrap();
        let mut kinds = Vec::new();
        let mut last = 0;
        for _ in 0..5 {
            let event = events.next().await.unwrap();
            kinds.push(event.kind);
            last = event.seq;
        }
        use EventKind::{Active, Added, Completed, Drained, Progress};
        assert_eq!(kinds, [Added, Active, Progress, Completed, Drained]);
        let mut resumed = yard.engine.subscribe(&yard.queue, yard.all, Some(last - 2)).unwrap();
        assert_eq!(resumed.next().await.unwrap().kind, Completed);
        yard.engine.pause(&yard.store.system(), &yard.queue).await.unwrap();
        assert_eq!(events.next().await.unwrap().kind, EventKind::Paused);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_in_the_middle_loses_nothing() {
    yards(QueueSettings::default(), |yard| async move {
        let later = jobs::Draft { delay: Some(secs(60)), ..draft(9) };
        yard.add(vec![draft(1), draft(2), later]).await;
        let held = yard.claim_one().await;
        let engine = open(&yard.store).await;
        let yard = super::Yard { engine, ..yard };
        assert_eq!(numbers(&yard.claim(10).await), [2]);
        let beat = yard.engine.heartbeat(yard.all, vec![(held.id, held.fence)]).await.unwrap();
        assert!(beat[0].is_ok(), "the lease is still the worker's");
        assert_eq!(yard.done(&held).await, Ok(JobStatus::Completed));
        yard.pass(secs(61)).await;
        assert_eq!(numbers(&yard.claim(1).await), [2], "its lease is over, and it is the older one");
        assert_eq!(numbers(&yard.claim(1).await), [9]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_from_before_they_had_lanes_are_found_by_the_next_start() {
    const JOBS: usize = 1_500;
    const BEFORE: db::Sql = db::Sql::One("UPDATE jobs_jobs SET lane = 0");
    yards(QueueSettings::default(), |yard| async move {
        for page in 0..JOBS / 500 {
            yard.add((page * 500..(page + 1) * 500).map(draft).collect()).await;
        }
        let forget = |tx: &mut db::SystemTx<'_>| tx.execute(&BEFORE, &[]);
        assert_eq!(yard.store.db.write_system(&yard.store.system(), forget).await, Ok(JOBS as u64));
        let engine = open(&yard.store).await;
        let yard = super::Yard { engine, ..yard };
        let mut seen = 0;
        while seen < JOBS {
            let claimed = yard.claim(100).await;
            assert!(!claimed.is_empty(), "{seen} of {JOBS} came out");
            seen += claimed.len();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_asker_is_gone_gives_its_jobs_back_at_once() {
    yards(QueueSettings::default(), |yard| async move {
        let asked = || yard.engine.claim(jobs::ClaimRequest { wait: secs(20), ..yard.request(1) });
        // Gone before there was a job: it does not stand in the line any more.
        let mut gone = Box::pin(asked());
        assert!(gone.as_mut().now_or_never().is_none());
        assert_eq!(yard.status().await.claims_waiting, 1);
        drop(gone);
        assert_eq!(yard.status().await.claims_waiting, 0);
        // Gone when its answer was on the way.
        let mut gone = Box::pin(asked());
        assert!(gone.as_mut().now_or_never().is_none());
        let job = yard.add_one(draft(1)).await;
        while yard.status().await.active == 0 {
            tokio::task::yield_now().await;
        }
        drop(gone);
        let again =
            yard.engine.claim(jobs::ClaimRequest { wait: secs(20), ..yard.request(1) }).await.unwrap();
        assert_eq!((again[0].id, again[0].attempt), (job.id, 1), "without waiting for a lease");
        assert_eq!(yard.done(&again[0]).await, Ok(JobStatus::Completed));
    })
    .await;
}
