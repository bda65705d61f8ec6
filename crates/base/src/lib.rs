//! The words of the product: what every other crate names things with.
//!
//! Purpose: identifiers, points in time, sources of time and randomness, the small parsed types of configuration and
//! API (slugs, host names, durations, sizes, rates), secrets that do not print, pages of lists, and the table of error
//! codes.
//!
//! Invariants: nothing here does I/O but [`SystemClock`] and [`SystemRandom`], the only two places that may ask
//! the operating system for the time or for random bytes. Every parsed type has one canonical text: `parse(x.to_string())`
//! gives `x` back, and `Serialize`, `Display` and `parse` agree. A value that exists is valid; there is no
//! `From<String>`.
//!
//! Deliberately absent: async, frameworks, anything about HTTP beyond the status number of a [`Code`], anything
//! about storage. Which slugs a tenant may take is told by [`Slug::is_reserved`], but refusing them is the business of
//! whoever creates the tenant.
//!
//! Life of the main operation, an identifier: a capability takes `&dyn Clock` and `&dyn Random`, calls `TenantId::new`,
//! which lays the milliseconds, the rest of the millisecond and 62 random bits out as a UUIDv7 (so that keys sort by
//! creation), and it leaves the process as `ten_` and 26 characters. On the way in, `TenantId::parse` accepts that
//! text alone.

pub mod codes;
pub mod id;

mod amount;
mod clock;
mod name;
mod nearest;
mod network;
mod page;
mod quantity;
mod random;
mod secret;
mod timestamp;

pub use amount::{Amount, AmountError};
pub use clock::{Clock, ManualClock, SharedClock, SystemClock};
pub use codes::Code;
pub use id::{
    BackupId, ClientId, DeploymentId, EnvironmentId, EventId, IdError, InstallationId, IssuerId, JobId,
    KeyId, MemberId, ProjectId, ReplicaId, RequestId, ReservationId, RouteId, ScheduleId, ServiceId,
    SessionId, SinkId, TenantId, UserId,
};
pub use name::{
    Email, EmailError, HostError, HostName, MeterName, MeterNameError, RESERVED_SLUGS, Slug, SlugError,
};
pub use nearest::nearest;
pub use network::{Cidr, CidrError};
pub use page::{
    CURSOR_BYTES_MAX, Cursor, CursorError, LIMIT_DEFAULT, LIMIT_MAX, LimitError, Page, PageRequest,
};
pub use quantity::{ByteSize, DURATION_MAX, DurationError, HumanDuration, Rate, RateError, SizeError};
pub use random::{Random, SeededRandom, SharedRandom, SystemRandom};
pub use secret::{Secret, same};
pub use timestamp::{TimeError, Timestamp};
