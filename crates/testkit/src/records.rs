//! What was logged during a test.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

/// Collects records of WARN and ERROR of one thread, which is all of a test on a single-threaded runtime but the
/// store's own threads.
pub(crate) struct Records {
    lines: Arc<Mutex<Vec<String>>>,
    _guard: DefaultGuard,
}

impl Records {
    /// Collects from now on, in this thread.
    pub(crate) fn collect() -> Records {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let subscriber = tracing_subscriber::registry().with(Collector(Arc::clone(&lines)));
        Records { lines, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// Takes the records that contain `part` out; whether there were any.
    pub(crate) fn take(&self, part: &str) -> bool {
        let mut lines = lock(&self.lines);
        let before = lines.len();
        lines.retain(|line| !line.contains(part));
        lines.len() < before
    }

    /// What is left.
    pub(crate) fn rest(&self) -> Vec<String> {
        lock(&self.lines).clone()
    }
}

struct Collector(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Collector {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() <= Level::WARN {
            let mut line = Line(format!("{} {}:", event.metadata().level(), event.metadata().target()));
            event.record(&mut line);
            lock(&self.0).push(line.0);
        }
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _infallible = write!(self.0, " {}={value:?}", field.name());
    }
}

fn lock(lines: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}
