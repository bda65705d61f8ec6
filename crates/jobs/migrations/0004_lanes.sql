-- The index of ready jobs has a tenant as a number (lane), a fourth of its id's text: half the index, and a tenth more jobs a
-- second. Jobs of before have 0 until the engine has read them once.
ALTER TABLE jobs_jobs ADD COLUMN lane BIGINT NOT NULL DEFAULT 0;
DROP INDEX jobs_jobs_ready;
CREATE INDEX jobs_jobs_ready ON jobs_jobs (queue, lane, priority, id) WHERE state = 0;
