//! The end of all: services stop one after the other, in the reverse order of their start.

use super::Work;
use crate::output::Tag;
use base::ReplicaId;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use lifecycle::Stop;
use std::collections::BTreeMap;
use std::time::Duration;

/// What stops together: the replicas of a service, or all that is being built and checked.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    /// As whoever cuts the end short is told.
    title: String,
    /// Its processes, with the replicas that they are.
    names: Vec<(String, Option<ReplicaId>)>,
}

/// Time that is waited for replicas that ended to be forgotten; those that are not, the next start forgets.
const FORGET_MAX: Duration = Duration::from_millis(500);

/// How often it is looked whether they are.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Ends all processes and the keeper. When `stop` is cut, what is left is killed.
pub(super) async fn end_all(work: &Work, stop: &Stop) {
    work.keeper.start_no_more();
    tokio::select! {
        biased;
        () = in_order(work, stop) => {}
        () = stop.cut() => {
            tracing::warn!(still_running = %stop.awaited().join(", "), "services are killed: there is no time left");
            work.keeper.shutdown(Duration::ZERO).await;
        }
    }
}

/// Leaves all as it is to the next Switchyard. Whether a keeper is there to hand it on.
pub(super) async fn leave(work: &Work) -> bool {
    work.keeper.start_no_more();
    let ready = work.keeper.ready_to_leave().await;
    if ready {
        tracing::info!("services go on: the next Switchyard takes them over");
    } else {
        tracing::error!("the keeper of the services cannot be reached: they are stopped");
    }
    ready
}

/// Ends one group after the other. Each process has its whole grace from its own SIGTERM on; a group that takes longer than
/// its share does not hold up the next, so that all is over in less than twice the grace.
async fn in_order(work: &Work, stop: &Stop) {
    let grace = grace(work);
    if work.keeper.is_connected() {
        let groups = groups(work.rt.outputs.tagged(), &work.started.lock());
        let share = grace / u32::try_from(groups.len()).unwrap_or(u32::MAX).max(1);
        let mut ending = FuturesUnordered::new();
        for (number, group) in groups.into_iter().enumerate() {
            let Group { title, names } = group;
            tracing::info!(group = %title, processes = names.len(), "stopping");
            let awaited = stop.awaiting(title.clone());
            ending.push(async move {
                join_all(names.iter().map(|(name, replica)| end(work, name, *replica))).await;
                drop(awaited);
                number
            });
            let gone = async { while ending.next().await.is_some_and(|ended| ended != number) {} };
            if tokio::time::timeout(share, gone).await.is_err() {
                tracing::warn!(group = %title, "it takes its time to stop: going on with the next");
            }
        }
        while ending.next().await.is_some() {}
    }
    work.keeper.shutdown(grace).await;
}

fn grace(work: &Work) -> Duration {
    work.rt.config.grace.min(work.rt.config.grace_at_end_max)
}

async fn end(work: &Work, name: &str, replica: Option<ReplicaId>) {
    if work.keeper.stop(name, grace(work)).await.is_err() {
        return;
    }
    work.keeper.exit(name).await;
    let forgotten = async {
        while replica.is_some_and(|id| work.rt.replicas.lock().contains_key(&id)) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let _the_next_start_forgets_it = tokio::time::timeout(FORGET_MAX, forgotten).await;
}

/// What there is to end, in the order in which it ends. `started` are the ids of services in the order of their start.
fn groups(tagged: Vec<(String, Tag)>, started: &[String]) -> Vec<Group> {
    let mut steps = Vec::new();
    let mut services: BTreeMap<usize, Group> = BTreeMap::new();
    for (name, tag) in tagged {
        // What has no port is a build, a check or the like.
        if tag.port == 0 {
            steps.push((name, None));
            continue;
        }
        let process = (name, ReplicaId::parse(&tag.replica).ok());
        let place = started.iter().position(|id| *id == tag.service_id).unwrap_or(started.len());
        let title = || format!("service {} ({})", tag.service, tag.environment);
        services
            .entry(place)
            .or_insert_with(|| Group { title: title(), names: Vec::new() })
            .names
            .push(process);
    }
    let first = (!steps.is_empty()).then(|| Group { title: "builds and checks".to_owned(), names: steps });
    first.into_iter().chain(services.into_values().rev()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::DeploymentId;

    #[test]
    fn whoever_was_started_last_ends_first_and_replicas_end_together() {
        let tag = |service: &str, port| Tag {
            service: service.to_owned(),
            service_id: format!("id-of-{service}"),
            environment: "development".to_owned(),
            deployment: DeploymentId::from_uuid_bytes([0; 16]),
            replica: String::new(),
            ordinal: 0,
            port,
        };
        let tagged = [("a", "api", 1), ("b", "web", 2), ("c", "web", 3), ("d", "store", 4), ("e", "web", 0)]
            .map(|(name, service, port)| (name.to_owned(), tag(service, port)));
        let started = ["store", "api", "web"].map(|service| format!("id-of-{service}"));
        let ended: Vec<(String, Vec<String>)> = groups(tagged.into(), &started)
            .into_iter()
            .map(|group| (group.title, group.names.into_iter().map(|(name, _)| name).collect()))
            .collect();
        let own = |title: &str, names: &[&str]| {
            (title.to_owned(), names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(
            ended,
            [
                own("builds and checks", &["e"]),
                own("service web (development)", &["b", "c"]),
                own("service api (development)", &["a"]),
                own("service store (development)", &["d"]),
            ]
        );
    }
}
