-- Issuers that a project trusts. `scope` is the environment whose project file names it, or '*' for the whole project.
-- `definition` is JSON; `secret` is the sealed client secret of sign-in.
CREATE TABLE issuers_issuers (
  id TEXT NOT NULL PRIMARY KEY,
  project TEXT NOT NULL,
  scope TEXT NOT NULL,
  name TEXT NOT NULL,
  url TEXT NOT NULL,
  definition TEXT NOT NULL,
  secret BLOB,
  managed_by TEXT NOT NULL,
  revision BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX issuers_issuers_name ON issuers_issuers (project, scope, name);
CREATE UNIQUE INDEX issuers_issuers_url ON issuers_issuers (project, scope, url);
-- Sign-ins that came back: each state once. Rows go when the state itself is too old to be taken.
CREATE TABLE issuers_returned (
  state TEXT NOT NULL PRIMARY KEY,
  until BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX issuers_returned_until ON issuers_returned (until);
-- What was last fetched of an issuer, for a start while it is down. `source` says of where; `known` is JSON, all of it public.
CREATE TABLE issuers_keys (
  issuer TEXT NOT NULL PRIMARY KEY,
  source TEXT NOT NULL,
  known TEXT NOT NULL,
  fetched_at BIGINT NOT NULL
) WITHOUT ROWID;
