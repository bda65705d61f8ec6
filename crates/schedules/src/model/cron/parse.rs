//! Reading cron expressions, with faults that say which field, what is there and what to write instead.

use base::nearest;

use super::{Cron, Days, Weekdays};

/// Bytes of an expression. The longest that says something new lists all 60 minutes and seconds.
const EXPRESSION_BYTES_MAX: usize = 512;

const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// Why a text is not a cron expression, in words for whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CronFault(pub(super) String);

/// What a field may hold.
struct Field {
    name: &'static str,
    min: u8,
    max: u8,
    /// Names of values, the first of which is `min`.
    names: &'static [&'static str],
    /// Whether a range may go over its end: `FRI-MON`.
    wraps: bool,
}

const SECOND: Field = Field { name: "seconds", min: 0, max: 59, names: &[], wraps: false };
const MINUTE: Field = Field { name: "minutes", ..SECOND };
const HOUR: Field = Field { name: "hours", max: 23, ..SECOND };
const DAY: Field = Field { name: "days of the month", min: 1, max: 31, ..SECOND };
const MONTH: Field = Field { name: "months", min: 1, max: 12, names: &MONTHS, wraps: true };
/// 7 is Sunday too.
const WEEKDAY: Field = Field { name: "days of the week", min: 0, max: 7, names: &WEEKDAYS, wraps: true };

/// What a field of plain values says.
#[derive(Default)]
struct Values {
    mask: u64,
    /// `*`, `?`, `*/n` or `a/n`: goes to the field's end.
    open: bool,
}

impl Cron {
    /// Reads an expression: five or six fields, or a word such as `@daily`.
    ///
    /// # Errors
    /// [`CronFault`] for the first mistake. Whether the expression can ever match is told by [`Cron::can_match`].
    pub fn parse(text: &str) -> Result<Self, CronFault> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(CronFault(format!("an expression has at most {EXPRESSION_BYTES_MAX} characters")));
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        if let [word] = fields.as_slice()
            && word.starts_with('@')
        {
            return nickname(word);
        }
        let (second, [minute, hour, day, month, weekday]) = match *fields.as_slice() {
            [minute, hour, day, month, weekday] => ("0", [minute, hour, day, month, weekday]),
            [second, minute, hour, day, month, weekday] => (second, [minute, hour, day, month, weekday]),
            _ => return Err(count(fields.len())),
        };
        let hours = values(&HOUR, hour)?;
        Ok(Self {
            text: fields.join(" "),
            seconds: values(&SECOND, second)?.mask,
            minutes: values(&MINUTE, minute)?.mask,
            hours: hours.mask,
            months: values(&MONTH, month)?.mask,
            days: days(day)?,
            weekdays: weekdays(weekday)?,
            open_hours: hours.open,
        })
    }
}

fn nickname(word: &str) -> Result<Cron, CronFault> {
    let lower = word.to_ascii_lowercase();
    if let Some((_, fields)) = NICKNAMES.iter().find(|(name, _)| *name == lower) {
        return Ok(Cron { text: lower, ..Cron::parse(fields)? });
    }
    let known = "@yearly, @monthly, @weekly, @daily and @hourly are known";
    Err(CronFault(match nearest(&lower, NICKNAMES.iter().map(|(name, _)| *name)) {
        Some(meant) => format!("{word} is not known; {meant} may be meant"),
        None if lower == "@reboot" => format!("{word} is no time: {known}"),
        None if lower.starts_with("@every") => format!("write `every = \"5m\"` instead of a cron; {known}"),
        None => format!("{word} is not known; {known}"),
    }))
}

fn count(fields: usize) -> CronFault {
    let said = match fields {
        0 => "it is empty".to_owned(),
        7 => "it has seven fields, and years are not read".to_owned(),
        1 => "it has one field".to_owned(),
        many => format!("it has {many} fields"),
    };
    CronFault(format!(
        "{said}; five are expected (minute hour day-of-month month day-of-week), or six with a second first, such as \
         `0 2 * * *`"
    ))
}

fn values(field: &Field, text: &str) -> Result<Values, CronFault> {
    let mut values = Values::default();
    for item in text.split(',') {
        values.add(field, item)?;
    }
    Ok(values)
}

impl Values {
    /// Adds `*`, `a`, `a-b`, and each with `/step`.
    fn add(&mut self, field: &Field, item: &str) -> Result<(), CronFault> {
        let (span, step) = match item.split_once('/') {
            Some((span, step)) => (span, Some(step_of(field, item, step)?)),
            None => (item, None),
        };
        let (from, to) = if matches!(span, "*" | "?") {
            self.open = true;
            (field.min, field.max)
        } else if let Some((from, to)) = span.split_once('-') {
            (value(field, from, item)?, value(field, to, item)?)
        } else {
            let from = value(field, span, item)?;
            self.open |= step.is_some();
            (from, if step.is_some() { field.max } else { from })
        };
        let step = step.unwrap_or(1);
        if from <= to {
            self.set((from..=to).step_by(step));
        } else if field.wraps {
            // Sunday has two numbers; going round, it has one.
            let end = if field.max == 7 { 6 } else { field.max };
            self.set((from..=end).chain(field.min..=to).step_by(step));
        } else {
            let (min, max) = (field.min, field.max);
            return Err(fault(field, item, &format!("write {from}-{max},{min}-{to} to go over the end")));
        }
        Ok(())
    }

    fn set(&mut self, values: impl Iterator<Item = u8>) {
        for value in values {
            self.mask |= 1 << value;
        }
    }
}

fn step_of(field: &Field, item: &str, step: &str) -> Result<usize, CronFault> {
    let most = usize::from(field.max - field.min);
    let number = step.parse::<usize>().ok().filter(|_| step.bytes().all(|byte| byte.is_ascii_digit()));
    number.filter(|step| (1..=most).contains(step)).ok_or_else(|| {
        fault(
            field,
            item,
            &format!("a step from 1 to {most} is expected after the slash; for longer ones use `every`"),
        )
    })
}

fn value(field: &Field, text: &str, item: &str) -> Result<u8, CronFault> {
    if let Some(index) = field.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        return Ok(field.min + u8::try_from(index).unwrap_or(0));
    }
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<u8>().ok().filter(|_| digits);
    number.filter(|number| (field.min..=field.max).contains(number)).ok_or_else(|| {
        let (min, max) = (field.min, field.max);
        let meant = nearest(text, field.names.iter().copied()).map(|name| format!("; {name} may be meant"));
        let names = match field.names {
            [first, .., last] => format!(" or {first} to {last}"),
            _ => String::new(),
        };
        fault(field, item, &format!("{min} to {max}{names} is expected{}", meant.unwrap_or_default()))
    })
}

fn days(text: &str) -> Result<Days, CronFault> {
    let mut days = Days { any: matches!(text, "*" | "?"), ..Days::default() };
    let mut plain = Values::default();
    for item in text.split(',') {
        let upper = item.to_ascii_uppercase();
        if upper == "LW" {
            days.last_working = true;
        } else if upper == "L" {
            days.before_last |= 1;
        } else if let Some(before) = upper.strip_prefix("L-") {
            let before = before.parse::<u32>().ok().filter(|before| (1..=30).contains(before));
            let before = before.ok_or_else(|| fault(&DAY, item, "L-1 to L-30 is expected"))?;
            days.before_last |= 1 << before;
        } else if let Some(day) = upper.strip_suffix('W') {
            days.nearest_working |= 1 << value(&DAY, day, item)?;
        } else {
            plain.add(&DAY, item)?;
        }
    }
    days.plain = plain.mask;
    Ok(days)
}

fn weekdays(text: &str) -> Result<Weekdays, CronFault> {
    let mut weekdays = Weekdays { any: matches!(text, "*" | "?"), ..Weekdays::default() };
    let mut plain = Values::default();
    for item in text.split(',') {
        let upper = item.to_ascii_uppercase();
        if let Some((day, nth)) = upper.split_once('#') {
            let day = value(&WEEKDAY, day, item)? % 7;
            let nth = nth.parse::<u8>().ok().filter(|nth| (1..=5).contains(nth));
            let nth = nth.ok_or_else(|| fault(&WEEKDAY, item, "#1 to #5 is expected"))?;
            weekdays.nth[usize::from(day)] |= 1 << nth;
        } else if upper == "L" {
            return Err(fault(&WEEKDAY, item, "say the last of which, such as 5L or FRIL"));
        } else if let Some(day) = upper.strip_suffix('L') {
            weekdays.last |= 1 << (value(&WEEKDAY, day, item)? % 7);
        } else {
            plain.add(&WEEKDAY, item)?;
        }
    }
    weekdays.plain = (plain.mask & 0x7f) | (plain.mask >> 7);
    Ok(weekdays)
}

fn fault(field: &Field, item: &str, expected: &str) -> CronFault {
    CronFault(format!("{item:?} in the field for {}: {expected}", field.name))
}
