//! A week of many schedules, over a change to daylight saving and six hours without a scheduler, against a count of minutes
//! that knows nothing of how schedules work.

use std::collections::{BTreeMap, HashMap};

use base::Timestamp;
use db::Kind;
use schedules::model::{CatchUp, Definition, ManagedBy, Overlap, Schedule, Zones};
use schedules::ops::{Wanted, change};

use crate::app::{Bench, at, benches, slug};

/// A Wednesday. Jerusalem changes its clock on Friday, Beirut and Berlin on Sunday.
const START: &str = "2026-03-25T00:00:00Z";
const END: &str = "2026-04-01T00:00:00Z";
/// No scheduler runs in between. Berlin and Lisbon change their clocks meanwhile, Beirut did shortly before.
const DOWN: (&str, &str) = ("2026-03-29T00:20:00Z", "2026-03-29T06:20:00Z");
const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Berlin",
    "Europe/Lisbon",
    "Asia/Beirut",
    "Asia/Jerusalem",
    "Asia/Kathmandu",
    "America/New_York",
    "Australia/Lord_Howe",
];

/// One schedule in the words of the count.
#[derive(Debug, Clone)]
struct Sample {
    /// Minutes after midnight of local time; empty for an interval.
    times: Vec<u32>,
    /// Local weekdays, Sunday 0; empty for all.
    weekdays: Vec<u32>,
    /// Whether its hours are open.
    open: bool,
    cron: Option<String>,
    every_s: Option<i64>,
    zone: usize,
    jitter_s: u64,
    catch_up: CatchUp,
    overlap: Overlap,
}

/// Samples of all kinds, the same each time.
fn samples(count: usize) -> Vec<Sample> {
    (0..count)
        .map(|number| {
            let (hour, minute) = ((number * 7 % 24) as u32, (number % 4 * 15) as u32);
            let mut one = Sample {
                times: vec![hour * 60 + minute],
                weekdays: Vec::new(),
                open: false,
                cron: Some(format!("{minute} {hour} * * *")),
                every_s: None,
                zone: number % ZONES.len(),
                jitter_s: if number % 211 == 0 { 900 } else { 0 },
                catch_up: [CatchUp::Skip, CatchUp::Once, CatchUp::All][number / 8 % 3],
                overlap: if number % 53 == 0 { Overlap::Skip } else { Overlap::Allow },
            };
            match number % 100 {
                0 => {
                    one.open = true;
                    one.times = (0..24).map(|hour| hour * 60 + minute).collect();
                    one.cron = Some(format!("{minute} * * * *"));
                }
                1 if number % 900 == 1 => {
                    one.open = true;
                    one.times = (0..24 * 4).map(|quarter| quarter * 15).collect();
                    one.cron = Some("*/15 * * * *".to_owned());
                }
                2 => {
                    one.open = true;
                    one.times = (0..12).map(|hour| hour * 120 + minute).collect();
                    one.cron = Some(format!("{minute} */2 * * *"));
                }
                5..=7 => {
                    one.times = vec![60, 90, 120, 150, 180];
                    one.cron = Some("*/30 1,2 * * *".to_owned());
                    one.times.truncate(4);
                }
                10 => {
                    let every = 3_600 * (1 + number as i64 % 9);
                    (one.cron, one.every_s, one.times) = (None, Some(every), Vec::new());
                }
                11..=60 => {
                    one.weekdays = vec![0, 3];
                    one.cron = Some(format!("{minute} {hour} * * SUN,WED"));
                }
                _ => {}
            }
            one
        })
        .collect()
}

fn definition(sample: &Sample) -> Definition {
    let mut one = Definition::for_queue(slug("runs"));
    one.cron.clone_from(&sample.cron);
    one.every = sample.every_s.map(|every| format!("{every}s").parse().unwrap());
    one.timezone = sample.cron.as_ref().map(|_| ZONES[sample.zone].to_owned());
    one.jitter = (sample.jitter_s > 0).then(|| format!("{}s", sample.jitter_s).parse().unwrap());
    (one.catch_up, one.overlap) = (sample.catch_up, sample.overlap);
    one
}

/// For each local minute of the day in a zone: the real minutes when the clock shows it, or passes over it, with the local weekday.
struct Minutes(HashMap<u32, Vec<Shown>>);

#[derive(Clone, Copy)]
struct Shown {
    second: i64,
    weekday: u32,
    /// The clock really shows it.
    real: bool,
    /// It has not shown or passed over it before.
    first: bool,
}

fn minutes(zone: &str) -> Minutes {
    let rules = jiff::tz::TimeZone::get(zone).unwrap();
    let wall = |second: i64| rules.to_datetime(jiff::Timestamp::from_second(second).unwrap());
    let minute = jiff::Span::new().minutes(1);
    let (start, end) = (at(START).seconds(), at(END).seconds());
    let mut shown: HashMap<u32, Vec<Shown>> = HashMap::new();
    let mut latest = wall(start);
    let mut before = latest;
    for second in (start + 60..=end).step_by(60) {
        let now = wall(second);
        // All that lies between the last minute's wall clock and this one's.
        let mut passed = if now > before { before.checked_add(minute).unwrap() } else { now };
        while passed <= now {
            let key = passed.hour() as u32 * 60 + passed.minute() as u32;
            let weekday = passed.weekday().to_sunday_zero_offset() as u32;
            let (real, first) = (passed == now, passed > latest);
            shown.entry(key).or_default().push(Shown { second, weekday, real, first });
            passed = passed.checked_add(minute).unwrap();
        }
        latest = latest.max(now);
        before = now;
    }
    Minutes(shown)
}

/// When a sample is due in the week.
fn dues(sample: &Sample, zones: &[Minutes]) -> Vec<i64> {
    let (start, end) = (at(START).seconds(), at(END).seconds());
    if let Some(every) = sample.every_s {
        return (1..).map(|count| start + count * every).take_while(|second| *second <= end).collect();
    }
    let matches = |shown: &&Shown| {
        let fits = sample.weekdays.is_empty() || sample.weekdays.contains(&shown.weekday);
        fits && if sample.open { shown.real } else { shown.first }
    };
    let all = sample.times.iter().filter_map(|time| zones[sample.zone].0.get(time)).flatten();
    let mut dues: Vec<i64> = all.filter(matches).map(|shown| shown.second).collect();
    dues.sort_unstable();
    dues.dedup();
    dues
}

/// What fires of it, by its policies, told in plain words. `fires` adds the jitter.
fn expected(sample: &Sample, dues: &[i64], fires: impl Fn(i64) -> i64) -> Vec<i64> {
    let micros = 1_000_000;
    let (from, to, end) = (at(DOWN.0).micros(), at(DOWN.1).micros(), at(END).micros());
    let due: Vec<i64> = dues.iter().copied().filter(|due| fires(*due) <= end).collect();
    let is_missed = |due: &i64| (from..to).contains(&fires(*due));
    let missed: Vec<i64> = due.iter().copied().filter(is_missed).collect();
    let made_up: Vec<i64> = match sample.catch_up {
        CatchUp::All => missed,
        CatchUp::Once => missed.last().copied().into_iter().collect(),
        CatchUp::Skip => {
            missed.last().copied().filter(|due| to - fires(*due) <= 60 * micros).into_iter().collect()
        }
    };
    let mut fired: Vec<i64> = due.into_iter().filter(|due| !is_missed(due)).chain(made_up).collect();
    fired.sort_unstable();
    if sample.overlap == Overlap::Skip {
        // Nobody ever finishes a job.
        fired.truncate(1);
    }
    fired
}

async fn set(bench: &Bench, samples: &[Sample]) {
    // Environments as an installation has them: each may have 20,000 schedules.
    for (batch, part) in samples.chunks(100).enumerate() {
        let (tools, definitions): (_, Vec<Definition>) =
            (bench.tools.clone(), part.iter().map(definition).collect());
        let environment = environment(batch);
        let write = bench.store.db.write_system(&bench.system, move |tx| -> Result<(), schedules::Error> {
            for (number, definition) in definitions.iter().enumerate() {
                let name = slug(&format!("s{}", batch * 100 + number));
                let definition = definition.clone();
                let wanted = Wanted {
                    environment: Some(environment),
                    name,
                    definition,
                    tenant: None,
                    by: ManagedBy::Api,
                };
                change::put(tx, &tools, &wanted, |_| true)?;
            }
            Ok(())
        });
        write.await.unwrap();
    }
}

fn environment(batch: usize) -> base::EnvironmentId {
    base::EnvironmentId::from_uuid_bytes([(batch / 5) as u8; 16])
}

/// Lets the week pass: the clock jumps from one next time to the next, but for the downtime.
async fn live(bench: &Bench) {
    let mut scheduler = bench.scheduler().await;
    let (from, to, end) = (at(DOWN.0), at(DOWN.1), at(END));
    while let Some(wake) = scheduler.next_wake().await.unwrap() {
        if wake > end {
            break;
        }
        let now = if (from..to).contains(&wake) { to } else { wake };
        assert!(now >= bench.tools.now(), "time goes on");
        bench.store.clock.set(now);
        let passed = scheduler.fire_due().await.unwrap().unwrap();
        assert_eq!((passed.refused, passed.lost), (0, 0));
        assert!(passed.looked_at > 0);
    }
}

async fn jitter(bench: &Bench, number: usize, zones: &Zones) -> impl Fn(i64) -> i64 + use<> {
    let (environment, name) = (Some(environment(number / 100)), slug(&format!("s{number}")));
    let read =
        bench.store.db.read_system(&bench.system, move |tx| schedules::ops::get(tx, environment, &name));
    let schedule: Schedule = read.await.unwrap();
    let clockwork = schedule.clockwork(zones).unwrap();
    move |due| clockwork.fires_at(Timestamp::from_micros(due * 1_000_000)).micros()
}

#[tokio::test]
async fn a_week_of_ten_thousand_schedules_fires_as_each_policy_says() {
    benches(|bench| async move {
        // PostgreSQL answers each statement over a socket: fewer there, of the same kinds.
        let samples = samples(if bench.store.kind() == Kind::Sqlite { 10_000 } else { 400 });
        bench.to(START);
        set(&bench, &samples).await;
        live(&bench).await;
        let mut fired: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for job in bench.jobs().await {
            fired.entry(job.schedule().to_owned()).or_default().push(job.due.seconds());
        }
        let zones: Vec<Minutes> = ZONES.iter().map(|zone| minutes(zone)).collect();
        let rules = Zones::system();
        let mut total = 0;
        for (number, sample) in samples.iter().enumerate() {
            let dues = dues(sample, &zones);
            let expected = match sample.jitter_s {
                0 => expected(sample, &dues, |due| due * 1_000_000),
                _ => expected(sample, &dues, jitter(&bench, number, &rules).await),
            };
            // A job that is made twice for a moment would show as one more.
            let mut found = fired.remove(&format!("s{number}")).unwrap_or_default();
            found.sort_unstable();
            total += found.len();
            assert_eq!(found, expected, "{sample:?}");
        }
        assert!(fired.is_empty(), "{fired:?}");
        assert!(total > samples.len() * 4, "{total} firings");
    })
    .await;
}
