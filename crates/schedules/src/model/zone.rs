//! Time zones of the IANA database.

use std::fmt;
use std::sync::Arc;

use base::{Timestamp, nearest};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};

/// Where zones are looked up: the system's database where there is one (which its packages keep up to date), else the
/// one that comes with the binary.
#[derive(Clone)]
pub struct Zones(Source);

#[derive(Clone)]
enum Source {
    System,
    /// Made up by a test: names and rules.
    Fixed(Arc<[(String, TimeZone)]>),
}

/// A time zone with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

/// There is no zone of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no time zone {name:?}{}; names are those of the IANA database, such as Europe/Berlin or UTC", meant(.nearest.as_ref()))]
pub struct UnknownZone {
    /// As it was given.
    pub name: String,
    /// The zone that may be meant.
    pub nearest: Option<String>,
}

fn meant(nearest: Option<&String>) -> String {
    nearest.map(|name| format!(" ({name} may be meant)")).unwrap_or_default()
}

/// The moments that a local time stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moments {
    /// One.
    One(Timestamp),
    /// Two, since the clock is put back over it.
    Two(Timestamp, Timestamp),
    /// None, since the clock is put forward over it; the first moment after.
    Skipped(Timestamp),
}

impl Zones {
    /// The system's, else our own.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Only these: a POSIX rule such as `EST5EDT,M3.2.0,M11.1.0` for each name, for tests that change the rules.
    ///
    /// # Errors
    /// When a rule cannot be read.
    pub fn of_rules(rules: &[(&str, &str)]) -> Result<Self, jiff::Error> {
        let mut zones = Vec::new();
        for (name, rule) in rules {
            zones.push(((*name).to_owned(), TimeZone::posix(rule)?));
        }
        Ok(Self(Source::Fixed(zones.into())))
    }

    /// The zone of a name; case does not count.
    ///
    /// # Errors
    /// [`UnknownZone`].
    pub fn find(&self, name: &str) -> Result<Zone, UnknownZone> {
        let unknown = || UnknownZone { name: name.to_owned(), nearest: self.nearest(name) };
        match &self.0 {
            Source::System => {
                let rules = jiff::tz::db().get(name).map_err(|_| unknown())?;
                let name = rules.iana_name().unwrap_or(name).to_owned();
                Ok(Zone { name, rules })
            }
            Source::Fixed(zones) => {
                let zone = zones.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                zone.map(|(name, rules)| Zone { name: name.clone(), rules: rules.clone() })
                    .ok_or_else(unknown)
            }
        }
    }

    fn nearest(&self, name: &str) -> Option<String> {
        let names: Vec<String> = match &self.0 {
            Source::System => known(jiff::tz::db()),
            Source::Fixed(zones) => zones.iter().map(|(name, _)| name.clone()).collect(),
        };
        // A city alone says enough: Berlin.
        let city = names.iter().find(|zone| {
            zone.rsplit('/')
                .next()
                .is_some_and(|city| city.eq_ignore_ascii_case(name) && city != zone.as_str())
        });
        let near = || nearest(name, names.iter().map(String::as_str)).map(str::to_owned);
        city.cloned().or_else(near)
    }
}

fn known(database: &TimeZoneDatabase) -> Vec<String> {
    database.available().map(|name| name.as_str().to_owned()).collect()
}

impl Zone {
    /// Coordinated universal time.
    #[must_use]
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), rules: TimeZone::UTC }
    }

    /// Its name, as the database spells it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether its rules may change: those of UTC do not.
    #[must_use]
    pub fn may_change(&self) -> bool {
        self.rules != TimeZone::UTC
    }

    /// The time of a moment with its offset, such as `2026-03-29T03:00:00+02:00`.
    #[must_use]
    pub fn local_text(&self, moment: Timestamp) -> String {
        let moment = instant(moment);
        let offset = self.rules.to_offset(moment);
        moment.display_with_offset(offset).to_string()
    }

    /// What the clock on the wall shows.
    pub(crate) fn wall(&self, moment: Timestamp) -> DateTime {
        self.rules.to_datetime(instant(moment))
    }

    /// What the clock on the wall shows under an offset.
    pub(crate) fn wall_under(offset: Offset, moment: Timestamp) -> DateTime {
        offset.to_datetime(instant(moment))
    }

    pub(crate) fn offset(&self, moment: Timestamp) -> Offset {
        self.rules.to_offset(instant(moment))
    }

    /// The first change of offset or rule after a moment.
    pub(crate) fn change_after(&self, moment: Timestamp) -> Option<Timestamp> {
        self.rules.following(instant(moment)).next().map(|change| timestamp(change.timestamp()))
    }

    /// The moments when the clock shows `wall`; `None` beyond the end of the calendar.
    pub(crate) fn moments(&self, wall: DateTime) -> Option<Moments> {
        Some(match self.rules.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => Moments::One(under(offset, wall)?),
            AmbiguousOffset::Fold { before, after } => {
                Moments::Two(under(before, wall)?, under(after, wall)?)
            }
            // Under the offset that is to come, a skipped time lies before the change.
            AmbiguousOffset::Gap { after, .. } => Moments::Skipped(self.change_after(under(after, wall)?)?),
        })
    }
}

/// The moment of a wall clock's time under an offset.
pub(crate) fn under(offset: Offset, wall: DateTime) -> Option<Timestamp> {
    offset.to_timestamp(wall).ok().map(timestamp)
}

fn timestamp(moment: jiff::Timestamp) -> Timestamp {
    Timestamp::from_micros(moment.as_microsecond())
}

/// Every [`Timestamp`] lies within what jiff knows.
fn instant(moment: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(moment.micros()).unwrap_or(jiff::Timestamp::MAX)
}

impl fmt::Debug for Zones {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System => "Zones(system)",
            Source::Fixed(_) => "Zones(fixed)",
        })
    }
}
