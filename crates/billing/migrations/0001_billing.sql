-- Where an environment's usage is sent. Times are microseconds, amounts are millionths. position: the last entry of the ledger
-- that was looked at. next_delivery, next_batch: the numbers that come next. secret, secret_before: sealed.
CREATE TABLE billing_sinks (
  id TEXT NOT NULL PRIMARY KEY,
  environment TEXT NOT NULL,
  name TEXT NOT NULL,
  definition TEXT NOT NULL,
  managed_by TEXT NOT NULL,
  paused BIGINT NOT NULL,
  since_at BIGINT NOT NULL,
  position BIGINT NOT NULL,
  next_delivery BIGINT NOT NULL,
  next_batch BIGINT NOT NULL,
  secret BLOB,
  secret_before BLOB,
  before_until BIGINT,
  accepted BIGINT NOT NULL,
  accepted_at BIGINT,
  failure TEXT,
  failed_at BIGINT,
  revision BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX billing_sinks_name ON billing_sinks (environment, name);
-- What a sink is sent, one row for what it counts once: a usage event, or the sum of an hour. key is the same whenever it is sent again.
-- event, report: name and value as the sink is told them; customer: whom it knows, once it was sent. state: 0 pending, 1 accepted,
-- 2 refused, 3 held (its tenant has no customer there yet), 4 unsure, 5 dropped. sent_at: since when it may have arrived without our
-- knowing. refusals: how often it was answered otherwise than with yes.
CREATE TABLE billing_deliveries (
  sink TEXT NOT NULL,
  number BIGINT NOT NULL,
  batch BIGINT NOT NULL,
  key TEXT NOT NULL,
  tenant TEXT NOT NULL,
  meter TEXT NOT NULL,
  value BIGINT NOT NULL,
  events BIGINT NOT NULL,
  at BIGINT NOT NULL,
  event TEXT NOT NULL,
  report TEXT NOT NULL,
  customer TEXT,
  state BIGINT NOT NULL,
  refusals BIGINT NOT NULL,
  sent_at BIGINT,
  note TEXT,
  done_at BIGINT,
  PRIMARY KEY (sink, number)
) WITHOUT ROWID;
CREATE INDEX billing_deliveries_batch ON billing_deliveries (sink, batch);
CREATE INDEX billing_deliveries_open ON billing_deliveries (sink, state, number) WHERE state <> 1;
CREATE INDEX billing_deliveries_done ON billing_deliveries (done_at) WHERE state = 1;
CREATE INDEX billing_deliveries_tenant ON billing_deliveries (tenant);
-- Sums of hours that are not delivered yet. part: how many deliveries the hour has had; a late event makes one more.
CREATE TABLE billing_hours (
  sink TEXT NOT NULL,
  tenant TEXT NOT NULL,
  meter TEXT NOT NULL,
  hour BIGINT NOT NULL,
  value BIGINT NOT NULL,
  events BIGINT NOT NULL,
  part BIGINT NOT NULL,
  flush_at BIGINT,
  PRIMARY KEY (sink, tenant, meter, hour)
) WITHOUT ROWID;
CREATE INDEX billing_hours_flush ON billing_hours (sink, flush_at) WHERE flush_at IS NOT NULL;
CREATE INDEX billing_hours_tenant ON billing_hours (tenant);
-- What a sink accepted, by hour of use (hours since 1970).
CREATE TABLE billing_accepted (
  sink TEXT NOT NULL,
  tenant TEXT NOT NULL,
  meter TEXT NOT NULL,
  hour BIGINT NOT NULL,
  value BIGINT NOT NULL,
  events BIGINT NOT NULL,
  PRIMARY KEY (sink, tenant, meter, hour)
) WITHOUT ROWID;
CREATE INDEX billing_accepted_hour ON billing_accepted (sink, hour);
CREATE INDEX billing_accepted_tenant ON billing_accepted (tenant);
