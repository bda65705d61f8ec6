//! What Switchyard and its keeper say to each other: one JSON document a line, over a Unix socket.

use base::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The version of this protocol. A Switchyard that meets a keeper of another version ends it and starts its own.
pub(crate) const VERSION: u32 = 1;

/// Bytes that one line of the protocol may have. The largest is a start with its variables.
pub(crate) const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Bytes of one line of output that are kept; the rest of a longer one goes on as a line of its own, so that a
/// program without line ends cannot grow the keeper.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024;

/// Bytes of output kept for each process while nobody takes them. Then the oldest lines go, and are counted.
pub(crate) const RING_BYTES_MAX: usize = 256 * 1024;

/// Listening sockets that are handed on at most: the system passes 253 at once, and a gateway has one for each thread.
pub(crate) const SOCKETS_MAX: usize = 250;

/// One request of Switchyard.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Repeated in the reply.
    pub(crate) id: u64,
    /// What to do.
    #[serde(flatten)]
    pub(crate) op: Op,
}

/// What can be asked of a keeper.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Op {
    /// The first request of a connection. The one who says it is the keeper's Switchyard from now on.
    Hello {
        /// [`VERSION`] of who asks.
        version: u32,
    },
    /// Starts a process under a name that no running process has.
    Start {
        /// Its name, unique among those that run.
        name: String,
        /// Whatever the next Switchyard must know to adopt it. Opaque to the keeper.
        meta: serde_json::Value,
        /// What to run.
        launch: Box<Launch>,
    },
    /// Ends a process: SIGTERM, and SIGKILL to all that is left of it after `grace_ms`.
    Stop {
        /// Its name.
        name: String,
        /// Milliseconds between the two signals.
        grace_ms: u64,
    },
    /// All processes, running and ended ones that were not forgotten yet.
    List,
    /// From now on this connection is told of output and ends, beginning with those that nobody was told of.
    Follow,
    /// Drops what is remembered of an ended process.
    Forget {
        /// Its name.
        name: String,
    },
    /// On a connection of its own, with listening sockets beside it: the keeper holds these instead of those that it held.
    HoldSockets {
        /// What each is for, in their order.
        purposes: Vec<String>,
    },
    /// On a connection of its own: gives the sockets that are held, as long as no Switchyard is connected.
    TakeSockets,
    /// Ends all processes, then the keeper.
    Shutdown {
        /// Milliseconds that the processes have.
        grace_ms: u64,
    },
}

/// What to run and within which limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Launch {
    /// Working directory.
    pub(crate) dir: PathBuf,
    /// Given to `sh -c`.
    pub(crate) command: String,
    /// The whole environment; nothing is inherited.
    pub(crate) env: BTreeMap<String, String>,
    /// What it may use.
    #[serde(default)]
    pub(crate) limits: Limits,
}

/// Upper bounds of a process with all its descendants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Bytes of memory; `None` means as much as there is.
    pub(crate) memory_bytes: Option<u64>,
    /// Thousandths of a core; `None` means as much as there is.
    pub(crate) cpu_millis: Option<u32>,
    /// Processes and threads; `None` means as many as the host allows.
    pub(crate) tasks: Option<u32>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Exit {
    /// It returned this code. A shell reports a signal as 128 and its number.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It is gone and nobody saw how, since its keeper ended as well.
    Lost,
}

impl Exit {
    /// Whether it ended as a program does that is done.
    pub(crate) fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) if *code > 128 && *code < 160 => {
                write!(f, "exit code {code} (signal {})", code - 128)
            }
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Lost => f.write_str("lost with its keeper"),
        }
    }
}

/// Which of a process's two outputs a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a keeper says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Message {
    /// The request of that id was done.
    Done {
        /// The id of the request.
        id: u64,
        /// Of a start: the guard of the process.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
    },
    /// The answer to [`Op::List`].
    Listed {
        /// The id of the request.
        id: u64,
        /// All processes by name.
        processes: Vec<Listed>,
    },
    /// The answer to [`Op::TakeSockets`], with the sockets beside it.
    Sockets {
        /// The id of the request.
        id: u64,
        /// What each is for, in their order.
        purposes: Vec<String>,
    },
    /// The request of that id was refused or failed.
    Refused {
        /// The id of the request.
        id: u64,
        /// A sentence.
        why: String,
    },
    /// A line of output.
    Output {
        /// Whose.
        name: String,
        /// Which output.
        stream: Stream,
        /// When the keeper read it.
        at: Timestamp,
        /// Without its line end; bytes that are no UTF-8 are replaced.
        line: String,
    },
    /// Lines that found no room while nobody took them.
    Dropped {
        /// Whose.
        name: String,
        /// How many.
        lines: u64,
    },
    /// A process with all its descendants is gone. Comes after its last line of output.
    Exited {
        /// Which.
        name: String,
        /// How.
        exit: Exit,
        /// When.
        at: Timestamp,
    },
}

/// One process of a keeper.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Listed {
    /// Its name.
    pub(crate) name: String,
    /// What [`Op::Start`] gave.
    pub(crate) meta: serde_json::Value,
    /// Its guard, the parent of the process proper.
    pub(crate) pid: Option<u32>,
    /// When it was started.
    pub(crate) started_at: Timestamp,
    /// How it ended; `None` while it runs.
    pub(crate) exit: Option<Exit>,
}
