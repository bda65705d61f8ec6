-- Schedules, an environment's and (environment '-') the installation's own. Times are microseconds.
-- state: 0 active, 1 paused, 2 resting (its tenant is suspended). wake_at: when a scheduler has to look at it.
CREATE TABLE schedules_schedules (
  id TEXT NOT NULL PRIMARY KEY,
  environment TEXT NOT NULL,
  name TEXT NOT NULL,
  tenant TEXT,
  definition TEXT NOT NULL,
  managed_by TEXT NOT NULL,
  state BIGINT NOT NULL,
  anchor_at BIGINT NOT NULL,
  from_at BIGINT NOT NULL,
  due_at BIGINT,
  wake_at BIGINT,
  buffered_at BIGINT,
  allowance BIGINT,
  revision BIGINT NOT NULL,
  turn BIGINT NOT NULL,
  fired BIGINT NOT NULL,
  skipped BIGINT NOT NULL,
  entries BIGINT NOT NULL,
  last_job TEXT,
  last_fired_at BIGINT,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX schedules_schedules_name ON schedules_schedules (environment, name);
CREATE INDEX schedules_schedules_wake ON schedules_schedules (wake_at, id) WHERE state = 0;
CREATE INDEX schedules_schedules_tenant ON schedules_schedules (tenant) WHERE tenant IS NOT NULL;
-- The last firings of each: a ring, whose slot is the entry's number modulo its length.
CREATE TABLE schedules_firings (
  schedule TEXT NOT NULL,
  slot BIGINT NOT NULL,
  number BIGINT NOT NULL,
  due_at BIGINT NOT NULL,
  at BIGINT NOT NULL,
  outcome TEXT NOT NULL,
  job TEXT,
  count BIGINT NOT NULL,
  note TEXT,
  PRIMARY KEY (schedule, slot)
) WITHOUT ROWID;
