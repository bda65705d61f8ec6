//! Following live.

use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use telemetry::LogRecord;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self};

use crate::model::{Filter, Position};
use crate::search::SearchError;
use crate::sink::Logs;

/// Records that a follower may be behind; one more and it is cut.
pub const FOLLOW_RECORDS_MAX: usize = 4_096;

/// A record as followers get it.
#[derive(Debug)]
pub(crate) struct Live {
    /// Where it was written; `None` when the disk did not take it.
    pub(crate) position: Option<Position>,
    pub(crate) record: LogRecord,
}

/// What comes to a follower.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// A record that the filter wants.
    Record(LogRecord),
    /// The reader was too slow: so many records were missed, and this is the end.
    Cut(u64),
}

impl Logs {
    /// The last `tail` records that the filter wants, oldest first, then each new one, without gap and without
    /// repetition. Ends with [`Followed::Cut`] when the reader is more than [`FOLLOW_RECORDS_MAX`] behind.
    ///
    /// # Errors
    /// [`SearchError`], for the records that are already there.
    pub async fn follow(
        self: Arc<Self>,
        filter: Filter,
        tail: usize,
    ) -> Result<impl Stream<Item = Followed> + Send + 'static, SearchError> {
        // Subscribed before the search: what is written meanwhile comes from one or the other, never from none.
        let live = self.live.subscribe();
        let mut past =
            if tail == 0 { Vec::new() } else { self.search(filter.clone(), None, tail).await?.records };
        past.reverse();
        let newest = past.last().map(|(position, _)| *position);
        let past = stream::iter(past.into_iter().map(|(_, record)| Followed::Record(record)));
        Ok(past.chain(self.live_from(live, filter, newest)))
    }

    fn live_from(
        self: Arc<Self>,
        live: broadcast::Receiver<Arc<Live>>,
        filter: Filter,
        newest: Option<Position>,
    ) -> impl Stream<Item = Followed> + Send + 'static {
        stream::unfold(Some(live), move |live| {
            let (logs, filter) = (self.clone(), filter.clone());
            async move {
                let mut live = live?;
                loop {
                    match live.recv().await {
                        Ok(found) if found.position.is_some() && found.position <= newest => {}
                        Ok(found) if filter.matches(&found.record) => {
                            return Some((Followed::Record(found.record.clone()), Some(live)));
                        }
                        Ok(_) => {}
                        Err(RecvError::Lagged(missed)) => {
                            logs.metrics.followers_cut.inc();
                            return Some((Followed::Cut(missed), None));
                        }
                        Err(RecvError::Closed) => return None,
                    }
                }
            }
        })
    }
}
