//! Concurrency, rates, backpressure.

use base::{ByteSize, Rate};
use jobs::{Draft, Error, Limits, QueueSettings, Scope};

use super::{draft, numbers, secs, yards};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrency_of_queue_tenant_and_key() {
    let of = |count| Limits { concurrency: Some(count), rate: None };
    let settings =
        QueueSettings { concurrency: Some(4), per_tenant: of(3), per_key: of(1), ..QueueSettings::default() };
    yards(settings, |yard| async move {
        let (one, other) = (yard.tenant(), yard.tenant());
        let job = |number, tenant, key: Option<&str>| Draft {
            tenant: Some(tenant),
            key: key.map(Into::into),
            ..draft(number)
        };
        let mut drafts: Vec<Draft> = (0..5).map(|number| job(number, one, Some("k"))).collect();
        drafts.extend((5..9).map(|number| job(number, one, None)));
        drafts.extend((10..15).map(|number| job(number, other, None)));
        yard.add(drafts).await;
        let held = yard.claim(20).await;
        assert_eq!(held.len(), 4);
        let keyed = held.iter().filter(|job| job.key.is_some()).count();
        assert!(keyed <= 1, "{held:?}");
        assert!(held.iter().filter(|job| job.tenant == Some(one)).count() <= 3);
        let mut left: Vec<_> = held;
        let mut seen = numbers(&left);
        while let Some(job) = left.pop() {
            yard.done(&job).await.unwrap();
            let next = yard.claim(20).await;
            assert!(left.len() + next.len() <= 4);
            seen.extend(numbers(&next));
            left.extend(next);
            let keys = left.iter().filter(|job| job.key.is_some()).count();
            assert!(keys <= 1, "one of a key at once");
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rates_of_queue_and_tenant() {
    let rate = |count| Some(Rate { count, per: secs(10) });
    let settings = QueueSettings {
        rate: rate(6),
        per_tenant: Limits { concurrency: None, rate: rate(4) },
        ..QueueSettings::default()
    };
    yards(settings, |yard| async move {
        let (one, other) = (yard.tenant(), yard.tenant());
        let of = |tenant| (0..20).map(move |number| Draft { tenant: Some(tenant), ..draft(number) });
        yard.add(of(one).collect()).await;
        assert_eq!(yard.claim(20).await.len(), 4, "one tenant may begin four");
        yard.add(of(other).collect()).await;
        assert_eq!(yard.claim(20).await.len(), 2, "all together six");
        let mut begun = 0;
        for _ in 0..20 {
            yard.pass(secs(1)).await;
            begun += yard.claim(20).await.len();
        }
        assert!((11..=13).contains(&begun), "{begun}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_says_so() {
    let settings = QueueSettings {
        max_jobs: 10,
        tenant_max_jobs: 6,
        tenant_max_bytes: ByteSize(2_000),
        ..QueueSettings::default()
    };
    yards(settings, |yard| async move {
        let (one, other) = (yard.tenant(), yard.tenant());
        let mine = Scope::Tenant(yard.environment, one);
        let theirs = Scope::Tenant(yard.environment, other);
        let add = async |scope, count: usize| {
            yard.engine.enqueue(&yard.queue, scope, (0..count).map(draft).collect()).await
        };
        assert!(matches!(add(mine, 7).await, Err(Error::QueueFull { .. })), "all or none");
        assert!(add(mine, 6).await.is_ok());
        assert!(matches!(add(mine, 1).await, Err(Error::QueueFull { .. })));
        assert!(add(theirs, 4).await.is_ok());
        assert!(matches!(add(theirs, 1).await, Err(Error::QueueFull { .. })), "ten of all");
        let jobs = yard.claim(10).await;
        assert_eq!(jobs.len(), 10);
        let large = Draft::new(jobs::Payload::from_json(format!("\"{}\"", "x".repeat(1_990))));
        assert!(
            yard.engine.enqueue(&yard.queue, mine, vec![large.clone()]).await.is_ok(),
            "room by claiming"
        );
        let refused = yard.engine.enqueue(&yard.queue, mine, vec![large]).await;
        assert!(matches!(refused, Err(Error::QueueFull { .. })), "{refused:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_queue_takes_jobs_and_gives_none() {
    yards(QueueSettings::default(), |yard| async move {
        let ctx = yard.store.system();
        assert!(yard.engine.pause(&ctx, &yard.queue).await.unwrap().paused);
        yard.add_one(draft(1)).await;
        assert!(yard.claim(1).await.is_empty());
        assert!(!yard.engine.resume(&ctx, &yard.queue).await.unwrap().paused);
        assert_eq!(yard.claim(1).await.len(), 1);
    })
    .await;
}
