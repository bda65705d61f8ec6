//! A connection with the runtime that moves it: nothing of it runs but while its thread waits for an answer.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use base::Secret;
use tokio::runtime::Runtime;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Notification, Socket};

use super::error::failure;
use crate::session::{Failure, Reach};
use crate::{Error, OpenError};

/// For the whole of a connection's making.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// Unanswered bytes after which the kernel gives the connection up (TORTURE F17: not its usual 15 minutes).
const TCP_UNANSWERED_MAX: Duration = Duration::from_secs(5);

/// An idle connection is probed after this, so that a dead peer is known before the next transaction.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);

/// What the server cuts a wait for a lock and an idle transaction off at. Closures take 50 ms.
/// No statement of ours is worth compiling.
const SESSION_OPTIONS: &str = "-c lock_timeout=5s -c idle_in_transaction_session_timeout=15s -c jit=off";

/// Notifications kept until they are read; past it a connection that listens has lost some.
const HEARD_MAX: usize = 65_536;

/// After the server's own deadline of a statement, for a server, or a network, that does not keep it.
pub(crate) const ANSWER_SLACK: Duration = Duration::from_secs(2);

/// Migrations take their time; nothing else waits this long.
pub(crate) const MIGRATION_ANSWER_MAX: Duration = Duration::from_secs(600);

/// Reads the address and adds the deadlines; without `statement_max` those of the connection only.
pub(crate) fn config(url: &Secret<String>, statement_max: Option<Duration>) -> Result<Config, OpenError> {
    // The driver's message names the part that is wrong, never the password.
    let mut config: Config = url.expose().parse().map_err(|error: tokio_postgres::Error| {
        OpenError::Address(format!("{error}; it looks like postgres://user:password@host:5432/database"))
    })?;
    if config.get_ssl_mode() == SslMode::Require {
        return Err(OpenError::Address(
            "sslmode=require is not supported: use a private network or a tunnel".into(),
        ));
    }
    config
        .application_name("switchyard")
        .connect_timeout(CONNECT_MAX)
        .tcp_user_timeout(TCP_UNANSWERED_MAX)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(TCP_UNANSWERED_MAX)
        .keepalives_retries(2);
    if let Some(statement_max) = statement_max {
        let options = config.get_options().map_or_else(String::new, |own| format!(" {own}"));
        let statement_ms = statement_max.as_millis();
        config.options(format!("{SESSION_OPTIONS} -c statement_timeout={statement_ms}{options}"));
    }
    Ok(config)
}

pub(crate) struct Wire {
    pub(crate) client: Client,
    pub(crate) link: Link,
    /// Deadline of an answer.
    pub(crate) answer_max: Duration,
}

/// What moves the bytes.
pub(crate) struct Link {
    runtime: Runtime,
    connection: Connection<Socket, NoTlsStream>,
    closed: bool,
    /// What the server sent by itself; only for a connection that listens.
    heard: Vec<Notification>,
}

/// How a wait for the server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It sent something.
    Something,
    /// Somebody of ours wants the connection.
    Nudge,
    /// The time was up.
    Nothing,
}

impl Wire {
    pub(crate) fn connect(config: &Config, answer_max: Duration) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| unavailable(&format!("make a runtime: {error}")))?;
        let (client, connection) = runtime.block_on(async {
            match tokio::time::timeout(CONNECT_MAX, config.connect(NoTls)).await {
                Ok(connected) => connected.map_err(|error| connect_failure(&error)),
                Err(_) => Err(unavailable("PostgreSQL does not answer")),
            }
        })?;
        let mut wire =
            Self { client, link: Link { runtime, connection, closed: false, heard: Vec::new() }, answer_max };
        // A database may be set to answer before its log is written; we may not.
        wire.batch(
            "SELECT set_config('synchronous_commit', 'on', false)
             WHERE current_setting('synchronous_commit') = 'off'",
            answer_max,
        )?;
        Ok(wire)
    }

    /// Runs statements without parameters in one round trip.
    pub(crate) fn batch(&mut self, text: &str, limit: Duration) -> Result<(), Failure> {
        self.link.drive(self.client.batch_execute(text), limit)
    }
}

impl Link {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether the connection still stands, as far as this side was told: what came in meanwhile is heard.
    pub(crate) fn is_live(&mut self) -> bool {
        let Self { runtime, connection, closed, heard } = self;
        if !*closed {
            *closed = runtime.block_on(async {
                // Lets the runtime look at the socket.
                tokio::task::yield_now().await;
                poll_fn(|cx| Poll::Ready(moved(connection, heard, cx))).await
            });
        }
        !*closed
    }

    /// Moves the connection until `answer` is there. Past `limit`, or when the connection ends, it is closed for good.
    pub(crate) fn drive<T>(
        &mut self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
        limit: Duration,
    ) -> Result<T, Failure> {
        if self.closed {
            return Err(lost());
        }
        let Self { runtime, connection, closed, heard } = self;
        let mut answer = pin!(answer);
        let both = poll_fn(|cx| {
            // What is asked goes out, what came in is heard; an answer counts even if the connection ended with it.
            if let Poll::Ready(result) = answer.as_mut().poll(cx) {
                return Poll::Ready(result.map_err(|error| failure(&error)));
            }
            if !moved(connection, heard, cx) {
                return Poll::Pending;
            }
            *closed = true;
            match answer.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(result.map_err(|error| failure(&error))),
                Poll::Pending => Poll::Ready(Err(lost())),
            }
        });
        match runtime.block_on(async { tokio::time::timeout(limit, both).await }) {
            Ok(result) => result,
            Err(_) => {
                self.closed = true;
                Err(Failure::new(Error::Timeout, Reach::Group))
            }
        }
    }

    /// A timer on the clock of this connection.
    pub(crate) fn timer(&self, time: Duration) -> Pin<Box<tokio::time::Sleep>> {
        let _context = self.runtime.enter();
        Box::pin(tokio::time::sleep(time))
    }

    /// Hears what the server sends by itself, for at most `limit` or until `nudge`, which counts once `hold` is over.
    ///
    /// # Errors
    /// When the connection ended.
    pub(crate) fn listen(
        &mut self,
        limit: Duration,
        nudge: &tokio::sync::Notify,
        hold: &mut Option<Pin<Box<tokio::time::Sleep>>>,
    ) -> Result<Heard, Failure> {
        let Self { runtime, connection, closed, heard } = self;
        let nudged = async {
            if let Some(timer) = hold.as_mut() {
                timer.await;
                *hold = None;
            }
            nudge.notified().await;
        };
        let news = poll_fn(|cx| {
            *closed = moved(connection, heard, cx);
            if *closed || !heard.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        });
        let ended = runtime.block_on(async {
            tokio::select! {
                biased;
                () = news => Heard::Something,
                () = nudged => Heard::Nudge,
                () = tokio::time::sleep(limit) => Heard::Nothing,
            }
        });
        if self.closed { Err(lost()) } else { Ok(ended) }
    }

    /// Takes what was heard.
    pub(crate) fn heard(&mut self) -> Vec<Notification> {
        std::mem::take(&mut self.heard)
    }
}

/// Moves bytes both ways as far as they go, and keeps what the server sends by itself; true when the connection ended.
fn moved(
    connection: &mut Connection<Socket, NoTlsStream>,
    heard: &mut Vec<Notification>,
    cx: &mut Context<'_>,
) -> bool {
    loop {
        match connection.poll_message(cx) {
            Poll::Pending => return false,
            Poll::Ready(None | Some(Err(_))) => return true,
            Poll::Ready(Some(Ok(AsyncMessage::Notification(news)))) if heard.len() < HEARD_MAX => {
                heard.push(news)
            }
            // Notices: the server's remarks on statements of ours.
            Poll::Ready(Some(Ok(_))) => {}
        }
    }
}

pub(crate) fn lost() -> Failure {
    Failure::new(Error::Unavailable("the connection to PostgreSQL is lost".into()), Reach::Connection)
}

/// A commit that was not answered may have happened: it must not be repeated.
pub(crate) fn uncertain(failure: Failure) -> Failure {
    match failure {
        Failure { reach: Reach::Connection | Reach::Group, .. } => Failure::new(
            Error::Unavailable("the connection was lost while the change was committed".into()),
            Reach::Group,
        ),
        other => other,
    }
}

fn unavailable(why: &str) -> Failure {
    Failure::new(Error::Unavailable(why.into()), Reach::Group)
}

/// Nothing has begun, so nothing needs to be begun anew.
fn connect_failure(error: &tokio_postgres::Error) -> Failure {
    match failure(error) {
        Failure { error: Error::Unavailable(why), .. } if error.as_db_error().is_some() => unavailable(&why),
        _ => unavailable("PostgreSQL cannot be reached at SWITCHYARD_DATABASE_URL"),
    }
}
