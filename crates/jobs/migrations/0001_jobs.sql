-- Queues, and jobs in two tables: those that have not ended, and those that have and are kept.

CREATE TABLE jobs_queues (
  number BIGINT NOT NULL PRIMARY KEY,
  environment TEXT NOT NULL,
  name TEXT NOT NULL,
  settings TEXT NOT NULL,
  paused BOOLEAN NOT NULL,
  managed_by TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  UNIQUE (environment, name)
);

-- state: 0 ready, 1 later, 2 running, 3 waits for children. attempt counts runs that began. fence is raised by each
-- claim. flags says in which of the tables below the job has rows. pending counts children that have not ended. options is
-- JSON of what is rare.
CREATE TABLE jobs_jobs (
  id BLOB NOT NULL PRIMARY KEY,
  queue BIGINT NOT NULL,
  tenant TEXT NOT NULL,
  state BIGINT NOT NULL,
  priority BIGINT NOT NULL,
  run_at BIGINT NOT NULL,
  attempt BIGINT NOT NULL,
  attempts BIGINT NOT NULL,
  fence BIGINT NOT NULL,
  lease_until BIGINT,
  started_at BIGINT,
  created_at BIGINT NOT NULL,
  flags BIGINT NOT NULL,
  bytes BIGINT NOT NULL,
  pending BIGINT NOT NULL,
  key TEXT,
  worker TEXT,
  payload TEXT,
  options TEXT
) WITHOUT ROWID;
CREATE INDEX jobs_jobs_ready ON jobs_jobs (queue, tenant, priority, id) WHERE state = 0;
CREATE INDEX jobs_jobs_later ON jobs_jobs (run_at, id) WHERE state = 1;
CREATE INDEX jobs_jobs_running ON jobs_jobs (lease_until, id) WHERE state = 2;

-- Payloads that are too large to be copied by each change of their job.
CREATE TABLE jobs_payloads (
  id BLOB NOT NULL PRIMARY KEY,
  body TEXT NOT NULL
);

CREATE TABLE jobs_done (
  id BLOB NOT NULL PRIMARY KEY,
  queue BIGINT NOT NULL,
  tenant TEXT NOT NULL,
  status BIGINT NOT NULL,
  priority BIGINT NOT NULL,
  run_at BIGINT NOT NULL,
  attempt BIGINT NOT NULL,
  attempts BIGINT NOT NULL,
  fence BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  started_at BIGINT,
  finished_at BIGINT NOT NULL,
  keep_until BIGINT NOT NULL,
  flags BIGINT NOT NULL,
  bytes BIGINT NOT NULL,
  key TEXT,
  worker TEXT,
  payload TEXT,
  options TEXT,
  result TEXT,
  error TEXT
) WITHOUT ROWID;
CREATE INDEX jobs_done_listed ON jobs_done (queue, status, finished_at);
CREATE INDEX jobs_done_over ON jobs_done (keep_until);

-- Attempts that did not end well.
CREATE TABLE jobs_attempts (
  id BLOB NOT NULL,
  attempt BIGINT NOT NULL,
  ended_at BIGINT NOT NULL,
  started_at BIGINT NOT NULL,
  outcome TEXT NOT NULL,
  error TEXT NOT NULL,
  worker TEXT,
  PRIMARY KEY (id, ended_at, attempt)
) WITHOUT ROWID;

-- Unique keys in force. until: unix microseconds; NULL until the job has ended.
CREATE TABLE jobs_unique (
  queue BIGINT NOT NULL,
  tenant TEXT NOT NULL,
  key TEXT NOT NULL,
  id BLOB NOT NULL,
  until BIGINT,
  PRIMARY KEY (queue, tenant, key)
) WITHOUT ROWID;
CREATE INDEX jobs_unique_id ON jobs_unique (id);
CREATE INDEX jobs_unique_until ON jobs_unique (until) WHERE until IS NOT NULL;

-- ended: NULL, or the status with which the child ended.
CREATE TABLE jobs_children (
  parent BLOB NOT NULL,
  child BLOB NOT NULL,
  ended BIGINT,
  PRIMARY KEY (parent, child)
) WITHOUT ROWID;
CREATE INDEX jobs_children_child ON jobs_children (child);

CREATE TABLE jobs_progress (
  id BLOB NOT NULL PRIMARY KEY,
  percent BIGINT NOT NULL,
  note TEXT,
  at BIGINT NOT NULL
) WITHOUT ROWID;
