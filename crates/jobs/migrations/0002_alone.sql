-- The process that claims without looking at what others run, for there are none: whoever else claims takes the name out
-- first. At most one row, of number 1.
CREATE TABLE jobs_alone (
  number BIGINT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL
);

-- Every job is a row that is written, changed and removed within moments: what it leaves is cleared away by number, not by
-- share of the table, and without pauses.
ALTER TABLE jobs_jobs SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.2, autovacuum_analyze_threshold = 50000);
ALTER TABLE jobs_done SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
