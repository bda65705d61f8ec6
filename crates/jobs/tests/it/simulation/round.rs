//! One run: a few dozen steps drawn from the seed, then everything is worked off and must have ended.

use std::time::Duration;

use authority::SystemCtx;
use base::{JobId, SeededRandom, SharedRandom, Timestamp};
use db::{Db, Sql, SystemTx};
use faults::Class;
use jobs::{Engine, JobStatus, OnDuplicate};
use tokio::task::JoinSet;

use super::Broken;
use super::ledger::{Expect, Ledger, Place, Seen, Sent};
use super::ops::{Answer, Grip, Op, Sketch, Way, number_of, perform};
use super::world::{Site, World};

/// Steps of a run before it is worked off.
const STEPS: u64 = 40;
/// Requests that run together in a burst.
const BURST: u64 = 8;
/// Of a hundred requests: how many never arrive, and of how many the reply does not.
const REQUESTS_LOST: u64 = 3;
const REPLIES_LOST: u64 = 5;
/// Turns of working off after which what is left is stuck. Together they are longer than all that clocks were set back.
const TURNS_MAX: u32 = 60;
const TURN: Duration = Duration::from_secs(600);
/// No request of this size takes as long, by the real clock.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Looks at claims in line before one goes on.
const LOOKS_MAX: u32 = 1_000;
/// Lines that are told of what led to a broken rule.
const LOG_LINES_MAX: usize = 25;
/// A claim while working off.
const CLAIM: u32 = 50;

const LIVE: Sql = Sql::One(
    "SELECT j.id, j.state, j.attempt, j.attempts, j.fence, j.lease_until, coalesce(j.payload, p.body)
     FROM jobs_jobs j LEFT JOIN jobs_payloads p ON p.id = j.id",
);
const DONE: Sql = Sql::One(
    "SELECT j.id, j.status, j.attempt, j.attempts, coalesce(j.payload, p.body)
     FROM jobs_done j LEFT JOIN jobs_payloads p ON p.id = j.id",
);
const FACTS: Sql = Sql::One("SELECT number FROM sim_facts ORDER BY number");
/// Rows that belong to no job: half of something.
const ORPHANS: Sql = Sql::One(
    "SELECT (SELECT count(*) FROM jobs_payloads p WHERE NOT EXISTS (SELECT 1 FROM jobs_jobs j WHERE j.id = p.id)
                AND NOT EXISTS (SELECT 1 FROM jobs_done d WHERE d.id = p.id)),
            (SELECT count(*) FROM jobs_unique u WHERE u.until IS NULL
                AND NOT EXISTS (SELECT 1 FROM jobs_jobs j WHERE j.id = u.id)),
            (SELECT count(*) FROM jobs_jobs j WHERE EXISTS (SELECT 1 FROM jobs_done d WHERE d.id = j.id))",
);

/// What happened in runs: proof that they tried something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) jobs: u64,
    pub(crate) claims: u64,
    pub(crate) lost_messages: u64,
    pub(crate) crashes: u64,
    pub(crate) dead: u64,
    pub(crate) cancelled: u64,
    pub(crate) completed: u64,
    pub(crate) comparisons: u64,
}

impl Tally {
    /// Both together.
    pub(crate) fn add(&mut self, other: Self) {
        self.jobs += other.jobs;
        self.claims += other.claims;
        self.lost_messages += other.lost_messages;
        self.crashes += other.crashes;
        self.dead += other.dead;
        self.cancelled += other.cancelled;
        self.completed += other.completed;
        self.comparisons += other.comparisons;
    }
}

/// One run.
///
/// # Errors
/// The rule that was broken.
pub(crate) async fn run(site: &Site<'_>, seed: u64) -> Result<Tally, Broken> {
    let dice = SeededRandom::shared(seed);
    let world = World::new(site, seed, &dice).await?;
    let mut round = Round {
        world,
        dice,
        ledger: Ledger::default(),
        hands: Vec::new(),
        stalled: Vec::new(),
        numbers: 0,
        fenced: false,
        tally: Tally::default(),
        log: Vec::new(),
    };
    for step in 0..STEPS {
        round.step().await.map_err(|broken| round.explain(&format!("step {step}"), &broken))?;
    }
    round.work_off().await.map_err(|broken| round.explain("working off", &broken))?;
    Ok(round.tally)
}

struct Round {
    world: World,
    dice: SharedRandom,
    ledger: Ledger,
    /// What workers hold and work on.
    hands: Vec<Grip>,
    /// What workers held and were paused with; they come back to it.
    stalled: Vec<Grip>,
    numbers: u64,
    /// A sync failed: only a restart helps.
    fenced: bool,
    tally: Tally,
    /// What happened, for whoever looks into a broken rule.
    log: Vec<String>,
}

impl Round {
    /// A broken rule with what happened to the job before.
    fn explain(&self, when: &str, broken: &str) -> Broken {
        let id = broken.find("job_").and_then(|at| broken.get(at..at + 30));
        let about = |line: &&String| id.is_none_or(|id| line.contains(id)) || line.starts_with('-');
        let lines: Vec<&str> = self.log.iter().filter(about).map(String::as_str).collect();
        let from = lines.len().saturating_sub(LOG_LINES_MAX);
        format!("{when}: {broken}\n  {}", lines[from..].join("\n  "))
    }

    fn note(&mut self, line: String) {
        self.log.push(format!("{line} at {}", self.now()));
    }

    fn below(&self, end: u64) -> u64 {
        self.dice.below(end)
    }

    fn is_one_in(&self, of: u64) -> bool {
        self.below(of) == 0
    }

    fn index(&self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    fn now(&self) -> Timestamp {
        self.world.clock.shared().now()
    }

    async fn step(&mut self) -> Result<(), Broken> {
        match self.below(100) {
            0..=59 => {
                let op = self.draw();
                self.together(vec![op]).await
            }
            60..=71 => {
                let ops = self.burst();
                self.together(ops).await
            }
            72..=79 => self.tick().await,
            80..=89 => self.let_time_pass().await,
            90..=93 => self.compare().await,
            94..=95 => self.trouble().await,
            _ => self.crash().await,
        }
    }

    // What is asked.

    fn draw(&mut self) -> Op {
        match self.below(20) {
            0..=6 => self.enqueue(),
            7..=10 => self.claim(),
            11..=14 => self.settle(),
            15 => Op::Beat { grips: self.hands.clone() },
            16 => self.come_back(),
            17 => self.about_one(|expect| expect == Expect::Open, |number, id| Op::Cancel { number, id }),
            18 => self.about_one(
                |expect| matches!(expect, Expect::Ended(JobStatus::Dead | JobStatus::Cancelled)),
                |number, id| Op::Retry { number, id },
            ),
            _ => {
                // A worker is paused, or killed between what it did and saying so.
                if !self.hands.is_empty() {
                    let at = self.index(self.hands.len());
                    let grip = self.hands.swap_remove(at);
                    self.stalled.push(grip);
                }
                self.claim()
            }
        }
    }

    /// Requests that do not get into each other's way by what they mean, only in the store.
    fn burst(&mut self) -> Vec<Op> {
        let count = 2 + self.below(BURST - 1);
        (0..count)
            .map(|_| match self.below(4) {
                0 | 1 => self.enqueue(),
                2 => self.claim(),
                _ => self.settle(),
            })
            .collect()
    }

    fn sketch(&mut self) -> Sketch {
        self.numbers += 1;
        let seconds = |dice: &SharedRandom, most: u64| Duration::from_secs(1 + dice.below(most));
        Sketch {
            number: self.numbers,
            unique: None,
            delay: self.is_one_in(5).then(|| seconds(&self.dice, 90)),
            attempts: 1 + u32::try_from(self.below(4)).unwrap_or(0),
            priority: u8::try_from(self.below(10)).unwrap_or(5),
            is_poison: self.is_one_in(10),
            is_big: self.is_one_in(8),
            key: self.is_one_in(4).then(|| format!("k{}", self.below(2))),
            timeout: self.is_one_in(10).then(|| seconds(&self.dice, 50)),
            children: Vec::new(),
        }
    }

    fn enqueue(&mut self) -> Op {
        let (queue, tenant) = (self.index(2), self.index(self.world.names.tenants.len()));
        let mut way = Way::Call;
        let sketches = match self.below(10) {
            0 | 1 => (0..2 + self.below(12)).map(|_| self.sketch()).collect(),
            2 => {
                let children = (0..1 + self.below(3)).map(|_| self.sketch()).collect();
                vec![Sketch { children, unique: None, ..self.sketch() }]
            }
            3 | 4 => {
                let on_duplicate =
                    if self.is_one_in(2) { OnDuplicate::Reject } else { OnDuplicate::Existing };
                let unique = Some((format!("u{}", self.below(3)), on_duplicate));
                vec![Sketch { unique, ..self.sketch() }]
            }
            5 => {
                way = Way::Transaction { undone: self.is_one_in(3) };
                let plain = self.sketch();
                vec![Sketch { delay: None, key: None, timeout: None, ..plain }]
            }
            _ => vec![self.sketch()],
        };
        self.tally.jobs += sketches.len() as u64;
        Op::Enqueue { queue, tenant, sketches, way }
    }

    fn claim(&mut self) -> Op {
        let tenant = self.is_one_in(4).then(|| self.index(self.world.names.tenants.len()));
        Op::Claim { queue: self.index(2), tenant, limit: 1 + u32::try_from(self.below(6)).unwrap_or(0) }
    }

    /// A worker tells the end of something it holds.
    fn settle(&mut self) -> Op {
        let Some(grip) = self.take_one() else { return self.claim() };
        match self.below(10) {
            0..=4 => {
                let grips: Vec<Grip> = std::iter::once(grip).chain(self.take_one()).collect();
                let claim =
                    self.is_one_in(2).then(|| (self.index(2), 1 + u32::try_from(self.below(3)).unwrap_or(0)));
                Op::Complete { grips, claim }
            }
            5..=7 => {
                let retry_in = self.is_one_in(3).then(|| Duration::from_secs(self.below(20)));
                Op::Fail { grip, retry: !self.is_one_in(5), retry_in }
            }
            _ => Op::Release { grips: vec![grip] },
        }
    }

    /// Something held whose worker survives it.
    fn take_one(&mut self) -> Option<Grip> {
        let ledger = &self.ledger;
        let poisoned = |grip: &Grip| ledger.jobs.get(&grip.number).is_some_and(|job| job.sketch.is_poison);
        let (dead, alive) = std::mem::take(&mut self.hands).into_iter().partition(poisoned);
        self.hands = alive;
        self.stalled.extend::<Vec<Grip>>(dead);
        if self.hands.is_empty() {
            return None;
        }
        let at = self.index(self.hands.len());
        Some(self.hands.swap_remove(at))
    }

    /// A worker that was paused goes on where it was.
    fn come_back(&mut self) -> Op {
        let is_poison =
            |grip: &Grip| self.ledger.jobs.get(&grip.number).is_some_and(|job| job.sketch.is_poison);
        let able: Vec<usize> = (0..self.stalled.len()).filter(|at| !is_poison(&self.stalled[*at])).collect();
        if able.is_empty() {
            return self.claim();
        }
        let grip = self.stalled.swap_remove(able[self.index(able.len())]);
        match self.below(4) {
            0 => Op::Beat { grips: vec![grip] },
            1 => Op::Fail { grip, retry: true, retry_in: None },
            2 => Op::Release { grips: vec![grip] },
            _ => Op::Complete { grips: vec![grip], claim: None },
        }
    }

    fn about_one(&mut self, is_wanted: impl Fn(Expect) -> bool, op: impl Fn(u64, JobId) -> Op) -> Op {
        let found = self.ledger.some(|job| is_wanted(job.expect) && job.sketch.children.is_empty());
        match found.is_empty() {
            true => self.claim(),
            false => {
                let (number, id) = found[self.index(found.len())];
                op(number, id)
            }
        }
    }

    // What happens.

    /// Asks all at once, waits for all answers, and notes those that arrive.
    async fn together(&mut self, ops: Vec<Op>) -> Result<(), Broken> {
        let mut asked = JoinSet::new();
        for (order, op) in ops.into_iter().enumerate() {
            self.ledger.ask(&op);
            if self.below(100) < REQUESTS_LOST {
                self.tally.lost_messages += 1;
                self.ledger.lose(&op, self.now());
                continue;
            }
            let is_lost = self.below(100) < REPLIES_LOST;
            let ((db, engine), names) =
                (self.world.node(self.index(self.world.nodes()))?, self.world.names.clone());
            asked.spawn(async move {
                let answer = tokio::time::timeout(ANSWER_MAX, perform(&engine, &db, &names, &op)).await;
                (order, op, answer, is_lost)
            });
        }
        let mut answers = Vec::new();
        while let Some(ended) = asked.join_next().await {
            let (order, op, answer, is_lost) =
                ended.map_err(|error| format!("a request panicked: {error}"))?;
            let answer = answer.map_err(|_| format!("{op:?} is never answered"))?;
            answers.push((order, op, answer, is_lost));
        }
        // First what is not known, then what makes jobs, what frees them, what takes them.
        answers.sort_by_key(|(order, op, ..)| (rank(op), *order));
        let (mut heard, mut lost) = (Vec::new(), Vec::new());
        for (_, op, answer, is_lost) in answers {
            let word = if is_lost { "lost" } else { "answered" };
            self.note(format!("{op:?} was {word} {answer:?}"));
            if is_lost || answer.is_uncertain()? {
                self.tally.lost_messages += u64::from(is_lost);
                self.ledger.lose(&op, self.now());
                lost.push(op);
            } else {
                heard.push((op, answer));
            }
        }
        let now = self.now();
        for (op, answer) in heard {
            self.count(&answer);
            let grips = self.ledger.hear(&op, answer, now)?;
            self.hands.extend(grips);
        }
        // What was freed together with a claim of which nobody knows may be in its hands.
        lost.iter().for_each(|op| self.ledger.lose_claims(op));
        let settings = self.world.work.clone();
        self.ledger.keeps_limits(0, &settings, !self.world.is_embedded())
    }

    fn count(&mut self, answer: &Answer) {
        match answer {
            Answer::Claimed(Ok(claimed)) | Answer::Completed(Ok((_, claimed))) => {
                self.tally.claims += claimed.len() as u64;
            }
            _ => {}
        }
    }

    async fn tick(&mut self) -> Result<(), Broken> {
        self.note("- tick".into());
        for node in 0..self.world.nodes() {
            let engine = self.world.engine(node)?;
            let ticked = tokio::time::timeout(ANSWER_MAX, engine.tick()).await;
            let ticked = ticked.map_err(|_| "a tick never ends".to_owned())?;
            if let Err(jobs::Error::Store(error)) = &ticked
                && !error.is_transient()
                && !self.fenced
                && self.world.disk().is_none_or(|disk| !disk.is_without_power())
            {
                return Err(format!("the engine's own work fails: {error:?}"));
            }
        }
        Ok(())
    }

    async fn let_time_pass(&mut self) -> Result<(), Broken> {
        let clock = self.world.clock.clone();
        match self.below(12) {
            0..=4 => clock.advance(Duration::from_millis(self.below(5_000))),
            5..=8 => clock.advance(Duration::from_secs(25 + self.below(20))),
            9 => clock.advance(Duration::from_secs(self.below(86_400))),
            // Somebody sets the clock.
            10 => clock.set(self.now() + Duration::from_secs(self.below(7_200))),
            _ => {
                let back = i64::try_from(self.below(3_600_000_000)).unwrap_or(0);
                clock.set(Timestamp::from_micros(self.now().micros() - back));
            }
        }
        self.note("- time passed".into());
        self.ledger.time(self.now());
        if self.is_one_in(2) { self.tick().await } else { Ok(()) }
    }

    /// The disk is full for a few requests, or fails once.
    async fn trouble(&mut self) -> Result<(), Broken> {
        let Some(disk) = self.world.disk().cloned() else { return self.crash().await };
        let ops = self.burst();
        if self.is_one_in(3) {
            disk.fail_sync_once(Class::Wal);
            self.fenced = true;
            self.together(ops).await?;
            let more = self.burst();
            self.together(more).await?;
            return self.crash().await;
        }
        self.note("- the disk is full".into());
        disk.set_full(Class::Wal, true);
        self.together(ops).await?;
        disk.set_full(Class::Wal, false);
        // It heals by itself.
        self.compare().await
    }

    /// A process ends among its requests or between them; what comes after it finds all that was acknowledged.
    async fn crash(&mut self) -> Result<(), Broken> {
        self.tally.crashes += 1;
        self.note("- crash".into());
        let node = self.index(self.world.nodes());
        if let Some(disk) = self.world.disk().cloned() {
            if self.is_one_in(3) {
                disk.cut_power();
            } else {
                disk.cut_power_after(self.below(60));
                let ops = self.burst();
                self.together(ops).await?;
                disk.cut_power();
            }
            self.world.stop(node).await?;
            match self.below(3) {
                0 => disk.survive(),
                1 => disk.restore_power(None).map_err(|error| error.to_string())?,
                _ => disk.restore_power(Some(self.below(u64::MAX))).map_err(|error| error.to_string())?,
            }
        } else {
            self.world.stop(node).await?;
        }
        self.fenced = false;
        self.world.start(node).await?;
        // Those that worked for the process are gone with it, or never heard of it.
        if self.is_one_in(2) {
            let hands = std::mem::take(&mut self.hands);
            self.stalled.extend(hands);
        }
        self.compare().await
    }

    // What is true.

    /// Compares the ledger with the store, and the engine's figures too.
    async fn compare(&mut self) -> Result<(), Broken> {
        self.tally.comparisons += 1;
        let (db, engine) = self.world.node(0)?;
        self.settle_down(&db, &engine).await?;
        let look = db.read_system(&SystemCtx::because("the simulation"), look).await;
        let (seen, facts, orphans) =
            look.map_err(|error: db::Error| format!("look at the store: {error:?}"))?;
        if orphans != [0, 0, 0] {
            return Err(format!("payloads, unique keys without a job; jobs in both tables: {orphans:?}"));
        }
        self.ledger.compare(&seen, &facts)?;
        self.ledger.time(self.now());
        if !self.world.is_embedded() {
            return Ok(());
        }
        for (queue, key) in self.world.names.queues.iter().enumerate() {
            let status = engine.status(key, self.world.names.scope(None)).await;
            let status = status.map_err(|error| format!("ask for figures: {error}"))?;
            let of = |is_wanted: &dyn Fn(&Expect) -> bool| {
                let wanted = |job: &&super::ledger::Job| {
                    job.queue == queue && job.sent == Sent::Acknowledged && is_wanted(&job.expect)
                };
                self.ledger.jobs.values().filter(wanted).count() as u64
            };
            let open = of(&|expect| *expect == Expect::Open);
            let held = of(&|expect| matches!(expect, Expect::Held { .. }));
            if (status.waiting + status.delayed, status.active) != (open, held) {
                return Err(format!(
                    "the engine counts {} waiting, {} delayed, {} active in {key}; the store has {open} and {held}",
                    status.waiting, status.delayed, status.active
                ));
            }
        }
        Ok(())
    }

    /// Waits for what a request left behind that was answered with an error: a claim that is still in line, jobs on their
    /// way back. Two empty transactions go through the store behind them.
    async fn settle_down(&self, db: &Db, engine: &Engine) -> Result<(), Broken> {
        for key in &self.world.names.queues {
            for _ in 0..LOOKS_MAX {
                let status = engine.status(key, self.world.names.scope(None)).await;
                if status.map_err(|error| format!("ask for figures: {error}"))?.claims_waiting == 0 {
                    break;
                }
            }
        }
        for _ in 0..2 {
            let empty = |_: &mut SystemTx<'_>| Ok::<_, db::Error>(());
            drop(db.write_system(&SystemCtx::because("the simulation"), empty).await);
        }
        Ok(())
    }

    /// Everything ends: good workers take what there is until nothing is left.
    async fn work_off(&mut self) -> Result<(), Broken> {
        self.compare().await?;
        let hands = std::mem::take(&mut self.hands);
        self.stalled.extend(hands);
        for _ in 0..TURNS_MAX {
            self.world.clock.advance(TURN);
            self.note("- a turn".into());
            self.ledger.time(self.now());
            self.tick().await?;
            for queue in 0..self.world.names.queues.len() {
                self.serve(queue).await?;
            }
            self.compare().await?;
            if self.ledger.left().next().is_none() {
                return self.is_well();
            }
        }
        let left: Vec<_> = self.ledger.left().take(3).collect();
        Err(format!("jobs never end: {left:?}"))
    }

    /// Takes jobs of a queue until it gives none, and completes those that do not kill.
    async fn serve(&mut self, queue: usize) -> Result<(), Broken> {
        loop {
            let (db, engine) = self.world.node(self.index(self.world.nodes()))?;
            let names = self.world.names.clone();
            let op = Op::Claim { queue, tenant: None, limit: CLAIM };
            let answer = perform(&engine, &db, &names, &op).await;
            let grips = self.ledger.hear(&op, answer, self.now())?;
            let poison =
                |grip: &Grip| self.ledger.jobs.get(&grip.number).is_some_and(|job| job.sketch.is_poison);
            let good: Vec<Grip> = grips.iter().copied().filter(|grip| !poison(grip)).collect();
            if good.is_empty() {
                return Ok(());
            }
            let op = Op::Complete { grips: good, claim: None };
            let answer = perform(&engine, &db, &names, &op).await;
            if answer.is_uncertain()? {
                return Err(format!("nothing is wrong, and yet {answer:?}"));
            }
            self.ledger.hear(&op, answer, self.now())?;
        }
    }

    /// All has ended; how?
    fn is_well(&mut self) -> Result<(), Broken> {
        for (number, job) in &self.ledger.jobs {
            if job.sent == Sent::Refused {
                continue;
            }
            match job.expect {
                Expect::Ended(JobStatus::Completed) if job.sketch.is_poison => {
                    return Err(format!("job {number} kills every worker and was completed"));
                }
                Expect::Ended(JobStatus::Completed) => self.tally.completed += 1,
                Expect::Ended(JobStatus::Dead) => self.tally.dead += 1,
                _ => self.tally.cancelled += 1,
            }
        }
        Ok(())
    }
}

/// The order in which answers that came together are noted.
fn rank(op: &Op) -> u8 {
    match op {
        Op::Enqueue { .. } => 0,
        Op::Fail { .. } | Op::Release { .. } | Op::Beat { .. } | Op::Cancel { .. } | Op::Retry { .. } => 1,
        Op::Complete { claim: None, .. } => 2,
        Op::Complete { .. } => 3,
        Op::Claim { .. } => 4,
    }
}

type Look = (Vec<Seen>, Vec<u64>, [i64; 3]);

fn look(tx: &mut SystemTx<'_>) -> Result<Look, db::Error> {
    let mut seen = Vec::new();
    for row in tx.query(&LIVE, &[])? {
        let place = match row.get::<i64>(1)? {
            2 => Place::Running(row.get(5)?),
            _ => Place::Open,
        };
        seen.push(Seen {
            number: number(&row.get::<String>(6)?)?,
            id: id(row.get(0)?),
            attempt: row.get(2)?,
            attempts: row.get(3)?,
            fence: Some(row.get(4)?),
            place,
        });
    }
    for row in tx.query(&DONE, &[])? {
        let status = match row.get::<i64>(1)? {
            0 => JobStatus::Completed,
            1 => JobStatus::Dead,
            _ => JobStatus::Cancelled,
        };
        seen.push(Seen {
            number: number(&row.get::<String>(4)?)?,
            id: id(row.get(0)?),
            attempt: row.get(2)?,
            attempts: row.get(3)?,
            fence: None,
            place: Place::Ended(status),
        });
    }
    let mut facts = Vec::new();
    for row in tx.query(&FACTS, &[])? {
        facts.push(row.get(0)?);
    }
    let orphans = tx.query_one(&ORPHANS, &[])?;
    Ok((seen, facts, [orphans.get(0)?, orphans.get(1)?, orphans.get(2)?]))
}

fn number(payload: &str) -> Result<u64, db::Error> {
    number_of(payload).ok_or_else(|| db::Error::Decode("a payload is not what was put in".into()))
}

fn id(bytes: [u8; 16]) -> JobId {
    JobId::from_uuid_bytes(bytes)
}
