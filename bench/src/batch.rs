//! `bench batches`: rows a second through batches of the store, as a queue of jobs uses them: in, claimed, out.

use authority::SystemCtx;
use base::{Clock as _, Secret, SystemClock, SystemRandom};
use db::{Column, Db, Hits, Kind, Location, Many, Migration, MigrationSet, Options, Rows, SystemTx};
use tokio::task::JoinSet;
use vault::{MasterKey, Vault};

use crate::Plan;
use crate::report::{Table, median, say};

/// Rows of one transaction.
const BATCHES: [usize; 3] = [32, 100, 1_000];
/// Batches of one run: enough for a second or so.
const RUN_ROWS: usize = 100_000;
/// Rows that are there all the while.
const BACKLOG: usize = 200_000;
/// Transactions at once.
const SQLITE_LANES: usize = 1;
const POSTGRES_LANES: usize = 2;

const SET: MigrationSet = MigrationSet {
    capability: "batch",
    migrations: &[Migration {
        number: 1,
        name: "items",
        sql: "CREATE TABLE batch_items (
                id BLOB NOT NULL PRIMARY KEY, queue BIGINT NOT NULL, tenant TEXT NOT NULL, state BIGINT NOT NULL,
                priority BIGINT NOT NULL, attempt BIGINT NOT NULL, fence BIGINT NOT NULL, lease_until BIGINT NOT NULL,
                created_at BIGINT NOT NULL, payload TEXT NOT NULL
              ) WITHOUT ROWID;
              CREATE INDEX batch_ready ON batch_items (queue, tenant, priority, id) WHERE state = 0;",
    }],
    tenant_tables: &[],
    system_tables: &[("batch_items", "a benchmark's")],
};

const PUT: Many = Many {
    sqlite: "INSERT INTO batch_items VALUES ($1, $2, $3, 0, 5, 0, 0, 0, $4, $5)",
    postgres: "INSERT INTO batch_items SELECT u.id, u.queue, u.tenant, 0, 5, 0, 0, 0, u.created_at, u.payload
               FROM UNNEST($1::bytea[], $2::bigint[], $3::text[], $4::bigint[], $5::text[])
                 WITH ORDINALITY AS u (id, queue, tenant, created_at, payload, ord)",
    columns: &[Column::Blob, Column::Int, Column::Text, Column::Int, Column::Text],
};
const CLAIM: Many = Many {
    sqlite: "UPDATE batch_items SET state = 2, fence = fence + 1, attempt = attempt + 1, lease_until = $2
             WHERE id = $1 AND state = 0",
    postgres: "UPDATE batch_items AS i
               SET state = 2, fence = i.fence + 1, attempt = i.attempt + 1, lease_until = u.lease_until
               FROM UNNEST($1::bytea[], $2::bigint[]) WITH ORDINALITY AS u (id, lease_until, ord)
               WHERE i.id = u.id AND i.state = 0 RETURNING u.ord",
    columns: &[Column::Blob, Column::Int],
};
const END: Many = Many {
    sqlite: "DELETE FROM batch_items WHERE id = $1 AND state = 2 AND fence = $2",
    postgres: "DELETE FROM batch_items AS i USING UNNEST($1::bytea[], $2::bigint[]) WITH ORDINALITY AS u (id, fence, ord)
               WHERE i.id = u.id AND i.state = 2 AND i.fence = u.fence RETURNING u.ord",
    columns: &[Column::Blob, Column::Int],
};

/// What is done with each row in turn.
#[derive(Debug, Clone, Copy)]
enum Step {
    Put,
    Claim,
    End,
}

pub(crate) fn run(plan: Plan) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("start a runtime: {error}"))?;
    // Beside the build rather than in the system's temporary folder, which may be memory.
    std::fs::create_dir_all("target").map_err(|error| format!("make target: {error}"))?;
    let folder =
        tempfile::tempdir_in("target").map_err(|error| format!("make a temporary folder: {error}"))?;
    let server = pgserver::Server::start(pgserver::Options::MEASURED).map_err(|error| error.to_string())?;
    let places = [
        Location::Sqlite { dir: folder.path().to_path_buf() },
        Location::Postgres { url: Secret::new(server.admin_url()) },
    ];
    let mut rows = Vec::new();
    for place in places {
        rows.extend(runtime.block_on(measure(place, plan))?);
    }
    Table {
        title: "Rows a second in batches".to_owned(),
        head: ["store", "rows in a batch", "put", "claim", "end"].map(str::to_owned).to_vec(),
        rows,
        notes: vec![format!(
            "Median of {} runs of {RUN_ROWS} rows beside {BACKLOG} that stay; a batch is one durable transaction of one \
             statement; {SQLITE_LANES} at once on SQLite, {POSTGRES_LANES} on PostgreSQL (same machine, fsync on).",
            plan.rounds
        )],
    }
    .publish()
}

async fn measure(place: Location, plan: Plan) -> Result<Vec<Vec<String>>, String> {
    let db = open(place).await?;
    let lanes = if db.kind() == Kind::Sqlite { SQLITE_LANES } else { POSTGRES_LANES };
    turn(&db, Step::Put, (0, BACKLOG), (1_000, lanes)).await?;
    let mut table = Vec::new();
    let mut next = BACKLOG;
    for batch in BATCHES {
        let mut figures = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..plan.rounds {
            for (step, figures) in [Step::Put, Step::Claim, Step::End].into_iter().zip(&mut figures) {
                figures.push(turn(&db, step, (next, RUN_ROWS), (batch, lanes)).await?);
            }
            next += RUN_ROWS;
        }
        say(&format!("{:?}, batches of {batch}: {figures:.0?}", db.kind()));
        let mut row = vec![format!("{:?}", db.kind()), batch.to_string()];
        row.extend(figures.map(|figures| format!("{:.0}", median(figures))));
        table.push(row);
    }
    Ok(table)
}

async fn open(location: Location) -> Result<Db, String> {
    let random = SystemRandom::shared();
    let key: String = random.array::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
    let master = MasterKey::parse(&key, "bench").map_err(|error| error.to_string())?;
    let vault = Vault::new(master, random.clone());
    let options = Options::new(location, SystemClock::shared(), random, vault, vec![SET]);
    Db::open(options).await.map_err(|error| format!("open the store: {error:?}"))
}

/// Does one step with `rows` (first, count), in batches of `by.0`, `by.1` at once. Answers rows a second.
async fn turn(db: &Db, step: Step, rows: (usize, usize), by: (usize, usize)) -> Result<f64, String> {
    let ((first, count), (batch, lanes)) = (rows, by);
    let clock = SystemClock::new();
    let began = clock.monotonic();
    let mut tasks = JoinSet::new();
    for lane in 0..lanes {
        let db = db.clone();
        let own = first + count / lanes * lane..first + count / lanes * (lane + 1);
        tasks.spawn(async move {
            let system = SystemCtx::because("a benchmark");
            let mut from = own.start;
            while from < own.end {
                let to = (from + batch).min(own.end);
                let hits = db.write_hot(&system, move |tx| run_batch(tx, step, from..to)).await;
                let hits = hits.map_err(|error: db::Error| error.to_string())?;
                if !hits.all() {
                    return Err(format!("{step:?} hit {} of {} rows", hits.count(), to - from));
                }
                from = to;
            }
            Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| format!("a lane fails: {error}"))??;
    }
    Ok(count as f64 / (clock.monotonic() - began).as_secs_f64())
}

fn run_batch(tx: &mut SystemTx<'_>, step: Step, numbers: std::ops::Range<usize>) -> Result<Hits, db::Error> {
    const PAYLOAD: &str = "{\"to\":\"somebody@example.com\",\"subject\":\"a usual payload\",\"body\":\"of about a hundred bytes\"}";
    let ids: Vec<[u8; 16]> = numbers.clone().map(|number| (number as u128).to_be_bytes()).collect();
    match step {
        Step::Put => {
            let tenants: Vec<String> = numbers
                .clone()
                .map(|number| format!("ten_01jzzzzzzzzzzzzzzzzzzzzz{:02}", number % 20))
                .collect();
            let mut rows = Rows::new(5, ids.len());
            for (id, tenant) in ids.iter().zip(&tenants) {
                rows.push([
                    id.into(),
                    1i64.into(),
                    tenant.into(),
                    1_767_225_600_000_000i64.into(),
                    PAYLOAD.into(),
                ]);
            }
            tx.many(&PUT, &rows)
        }
        Step::Claim | Step::End => {
            let (many, second) = match step {
                Step::Claim => (&CLAIM, 1_767_225_600_000_000i64),
                _ => (&END, 1),
            };
            let mut rows = Rows::new(2, ids.len());
            ids.iter().for_each(|id| rows.push([id.into(), second.into()]));
            tx.many(many, &rows)
        }
    }
}
