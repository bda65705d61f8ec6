-- Claims that stand beside their jobs, and what became of them: one small row instead of changes to a job's row and three
-- indexes. Taken over into the jobs in large steps. On SQLite alone; elsewhere it stays empty.
-- finished_at: it ended well. keep_until: it is to be kept, with its result.
CREATE TABLE jobs_claims (
  id BLOB NOT NULL PRIMARY KEY,
  fence BIGINT NOT NULL,
  lease_until BIGINT NOT NULL,
  started_at BIGINT NOT NULL,
  worker TEXT,
  finished_at BIGINT,
  keep_until BIGINT,
  result TEXT
) WITHOUT ROWID;
