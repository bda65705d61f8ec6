//! Parents and children.

use jobs::{Draft, JobStatus, OnChildFailure, QueueSettings};

use super::{draft, numbers, secs, yards};

fn flow(children: Vec<Draft>) -> Draft {
    Draft { children, ..draft(0) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_runs_when_its_children_have_ended() {
    yards(QueueSettings::default(), |yard| async move {
        yard.other_queue("other", QueueSettings::default()).await;
        let elsewhere = Draft { queue: Some(super::slug("other")), ..draft(3) };
        let inner = Draft { children: vec![draft(4)], ..draft(2) };
        let parent = yard.add_one(flow(vec![draft(1), inner, elsewhere])).await;
        assert_eq!((parent.status, parent.pending_children), (JobStatus::Waiting, 3));
        let first = yard.claim(10).await;
        let mut order = numbers(&first);
        order.sort_unstable();
        assert_eq!(order, [1, 4]);
        for job in &first {
            yard.done_with(job, Some("1")).await.unwrap();
        }
        let second = yard.claim_one().await;
        assert_eq!(second.payload.as_str(), "{\"n\":2}");
        yard.done(&second).await.unwrap();
        assert!(yard.claim(10).await.is_empty());
        let other = jobs::QueueKey::of(yard.environment, super::slug("other"));
        let mut third = yard.engine.claim(jobs::ClaimRequest::one(other, yard.all)).await.unwrap();
        yard.done(&third.remove(0)).await.unwrap();
        let last = yard.claim_one().await;
        assert_eq!(last.id, parent.id);
        let detail = yard.engine.get(yard.all, parent.id).await.unwrap();
        assert_eq!(detail.children.len(), 3);
        assert!(detail.children.iter().all(|child| child.ended == Some(JobStatus::Completed)));
        assert_eq!(yard.done(&last).await, Ok(JobStatus::Completed));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_dies_takes_its_parent_with_it_or_is_ignored() {
    yards(QueueSettings::default(), |yard| async move {
        let once = |number| Draft { attempts: Some(1), ..draft(number) };
        let strict = yard.add_one(Draft { children: vec![flow(vec![once(1)])], ..draft(10) }).await;
        let job = yard.claim_one().await;
        assert_eq!(yard.fail(&job, "no").await, JobStatus::Dead);
        let detail = yard.engine.get(yard.all, strict.id).await.unwrap();
        assert_eq!(detail.view.status, JobStatus::Dead, "through both generations");
        assert!(detail.error.unwrap().contains("is dead"));
        let lenient = Draft { on_child_failure: OnChildFailure::Ignore, ..flow(vec![once(1), draft(2)]) };
        let lenient = yard.add_one(lenient).await;
        let children = yard.claim(2).await;
        yard.fail(&children[0], "no").await;
        assert!(yard.claim(1).await.is_empty());
        yard.done(&children[1]).await.unwrap();
        assert_eq!(yard.claim_one().await.id, lenient.id);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_a_parent_cancels_children_that_wait() {
    yards(QueueSettings::default(), |yard| async move {
        let parent = yard.add_one(flow(vec![draft(1), draft(2)])).await;
        let running = yard.claim_one().await;
        yard.engine.cancel(yard.all, parent.id).await.unwrap();
        assert!(yard.claim(5).await.is_empty());
        assert!(
            yard.engine.heartbeat(yard.all, vec![(running.id, running.fence)]).await.unwrap()[0]
                .as_ref()
                .unwrap()
                .cancel
        );
        assert_eq!(yard.done(&running).await, Ok(JobStatus::Completed), "what is done is done");
        let status = yard.status().await;
        assert_eq!((status.waiting, status.active), (0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_parent_waits_for_both() {
    yards(QueueSettings::default(), |yard| async move {
        let parent = yard.add_one(Draft { delay: Some(secs(60)), ..flow(vec![draft(1)]) }).await;
        let child = yard.claim_one().await;
        yard.done(&child).await.unwrap();
        assert!(yard.claim(1).await.is_empty());
        yard.pass(secs(61)).await;
        assert_eq!(yard.claim_one().await.id, parent.id);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retried_parent_waits_for_its_children_again() {
    yards(QueueSettings::default(), |yard| async move {
        let once = |number| Draft { attempts: Some(1), ..draft(number) };
        let parent = yard.add_one(flow(vec![once(1), once(2), once(3)])).await;
        let children = yard.claim(3).await;
        assert_eq!(yard.fail(&children[0], "no").await, JobStatus::Dead);
        assert_eq!(yard.engine.get(yard.all, parent.id).await.unwrap().view.status, JobStatus::Dead);
        // The child first: then its parent, which waits for it and for those that run.
        yard.engine.retry(yard.all, children[0].id).await.unwrap();
        let again = yard.engine.retry(yard.all, parent.id).await.unwrap();
        assert_eq!((again.status, again.pending_children), (JobStatus::Waiting, 3));
        let child = yard.claim_one().await;
        assert_eq!(child.id, children[0].id);
        yard.done_with(&child, Some("1")).await.unwrap();
        for child in &children[1..] {
            assert!(yard.claim(1).await.is_empty(), "its parent still waits");
            yard.done_with(child, Some("1")).await.unwrap();
        }
        let last = yard.claim_one().await;
        assert_eq!(last.id, parent.id);
        let detail = yard.engine.get(yard.all, parent.id).await.unwrap();
        assert!(detail.children.iter().all(|child| child.ended == Some(JobStatus::Completed)));
        assert!(detail.children.iter().all(|child| child.result.is_some()));
        yard.done(&last).await.unwrap();
        let status = yard.status().await;
        assert_eq!((status.waiting, status.active), (0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_flows_that_are_retried_at_once_run_children_first() {
    yards(QueueSettings::default(), |yard| async move {
        let once = |number| Draft { attempts: Some(1), ..draft(number) };
        let parent = yard.add_one(Draft { attempts: Some(1), ..flow(vec![once(1)]) }).await;
        let child = yard.claim_one().await;
        yard.fail(&child, "no").await;
        // Parents are older than their children, so that they are met first.
        let filter = jobs::JobFilter::default();
        let swept = yard.engine.retry_dead(&yard.queue, yard.all, filter, 100).await.unwrap();
        assert_eq!(swept.count, 2);
        let first = yard.claim(10).await;
        assert_eq!(first.iter().map(|job| job.id).collect::<Vec<_>>(), [child.id]);
        // It dies once more, and takes its parent with it once more.
        assert_eq!(yard.fail(&first[0], "no").await, JobStatus::Dead);
        assert_eq!(yard.engine.get(yard.all, parent.id).await.unwrap().view.status, JobStatus::Dead);
        // Alone, the parent runs: its child has ended, and whoever retries it knows how.
        yard.engine.retry(yard.all, parent.id).await.unwrap();
        let alone = yard.claim_one().await;
        assert_eq!(alone.id, parent.id);
        // It has begun: a child that is retried now is nobody's wait, and its end is told all the same.
        yard.engine.retry(yard.all, child.id).await.unwrap();
        let child = yard.claim_one().await;
        yard.done(&child).await.unwrap();
        let detail = yard.engine.get(yard.all, parent.id).await.unwrap();
        assert_eq!(detail.children[0].ended, Some(JobStatus::Completed));
        assert_eq!(yard.done(&alone).await, Ok(JobStatus::Completed));
        let status = yard.status().await;
        assert_eq!((status.waiting, status.active), (0, 0));
    })
    .await;
}
