//! What happens on a queue, as a stream of server-sent events.

use std::sync::Arc;

use base::codes;
use bytes::Bytes;
use futures_util::stream;
use web::{Call, Problem, Reply, StreamKind, sse_event};

use super::State;
use super::ask::EventsQuery;
use super::views::Happened;
use crate::{EventKind, Events, QueueEvent};

pub(crate) async fn stream_events(
    state: Arc<State>,
    call: Call<(), EventsQuery>,
) -> Result<Reply<()>, Problem> {
    let (key, scope) = state.queue(&call).await?;
    let named = match call.request.last_event_id.as_deref() {
        Some(text) => Some(text.trim().parse().map_err(|_| {
            Problem::new(&codes::BAD_REQUEST)
                .fault("/header/last-event-id", "the `id` of an event of this stream is expected")
        })?),
        None => None,
    };
    let events = state.engine.subscribe(&key, scope, named.or(call.query.after))?;
    Ok(Reply::stream(StreamKind::Sse, stream::unfold(events, next)))
}

async fn next(mut events: Events) -> Option<(Bytes, Events)> {
    let event = events.next().await?;
    Some((chunk(event), events))
}

fn chunk(event: QueueEvent) -> Bytes {
    let (kind, id) = (event.kind, event.seq.to_string());
    let data = serde_json::to_string(&Happened::from(event)).unwrap_or_default();
    // A gap is not an event to go on from: what was lost stays lost.
    let id = (kind != EventKind::Gap).then_some(id);
    sse_event(kind.as_str(), id.as_deref(), &data)
}
