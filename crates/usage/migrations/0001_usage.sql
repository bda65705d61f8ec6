-- Amounts are whole millionths, times unix microseconds. The ledger holds what was accepted, once an id; position: its
-- place in the ledger of the environment.
CREATE TABLE usage_events (
  tenant TEXT NOT NULL,
  environment TEXT NOT NULL,
  id TEXT NOT NULL,
  meter TEXT NOT NULL,
  value BIGINT NOT NULL,
  at BIGINT NOT NULL,
  position BIGINT NOT NULL,
  PRIMARY KEY (tenant, environment, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX usage_events_position ON usage_events (environment, position);
CREATE INDEX usage_events_at ON usage_events (environment, at);

-- The last position of each environment's ledger. Whoever writes to a ledger holds this row until the end of its
-- transaction, so positions become visible in order.
CREATE TABLE usage_heads (
  environment TEXT NOT NULL PRIMARY KEY,
  position BIGINT NOT NULL
) WITHOUT ROWID;

-- Sums of the ledger over quarters of an hour (bucket: its beginning), of which all hours, days and periods of all time
-- zones are made.
CREATE TABLE usage_totals (
  tenant TEXT NOT NULL,
  environment TEXT NOT NULL,
  meter TEXT NOT NULL,
  bucket BIGINT NOT NULL,
  value BIGINT NOT NULL,
  events BIGINT NOT NULL,
  PRIMARY KEY (tenant, environment, meter, bucket)
) WITHOUT ROWID;
CREATE INDEX usage_totals_bucket ON usage_totals (environment, bucket);
CREATE INDEX usage_totals_meter ON usage_totals (environment, meter, bucket);

-- What limits are judged by, for each span of time that was ever asked for: used is the sum of the totals from from_at to
-- until_at, reserved that of reservations that are held. noticed: the percentage that people were told of, of the limit noticed_max.
CREATE TABLE usage_counters (
  tenant TEXT NOT NULL,
  environment TEXT NOT NULL,
  meter TEXT NOT NULL,
  from_at BIGINT NOT NULL,
  until_at BIGINT NOT NULL,
  used BIGINT NOT NULL,
  reserved BIGINT NOT NULL,
  noticed BIGINT NOT NULL,
  noticed_max BIGINT NOT NULL,
  PRIMARY KEY (tenant, environment, meter, from_at, until_at)
) WITHOUT ROWID;
CREATE INDEX usage_counters_until ON usage_counters (until_at);

-- state: 0 held, 1 committed, 2 released, 3 lapsed.
CREATE TABLE usage_reservations (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  environment TEXT NOT NULL,
  meter TEXT NOT NULL,
  amount BIGINT NOT NULL,
  from_at BIGINT NOT NULL,
  until_at BIGINT NOT NULL,
  state BIGINT NOT NULL,
  used BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  ended_at BIGINT,
  PRIMARY KEY (tenant, id)
) WITHOUT ROWID;
CREATE INDEX usage_reservations_held ON usage_reservations (tenant, environment, meter, expires_at) WHERE state = 0;
CREATE INDEX usage_reservations_lapse ON usage_reservations (expires_at) WHERE state = 0;
CREATE INDEX usage_reservations_ended ON usage_reservations (ended_at) WHERE state <> 0;
CREATE UNIQUE INDEX usage_reservations_id ON usage_reservations (id);

-- Limits of a tenant's own. max is null for no end; period and grace are null for those of the plan.
CREATE TABLE usage_limits (
  tenant TEXT NOT NULL,
  environment TEXT NOT NULL,
  meter TEXT NOT NULL,
  max BIGINT,
  period TEXT,
  grace TEXT,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, environment, meter)
) WITHOUT ROWID;

-- What the project file says of meters; those of plans need no row.
CREATE TABLE usage_meters (
  environment TEXT NOT NULL,
  meter TEXT NOT NULL,
  unit TEXT NOT NULL,
  negative BOOLEAN NOT NULL,
  PRIMARY KEY (environment, meter)
) WITHOUT ROWID;
