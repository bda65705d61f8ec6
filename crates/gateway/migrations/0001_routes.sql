-- Routes of an environment. `host` and `path` are those of `spec` in the form by which they are compared.
CREATE TABLE gateway_routes (
  environment TEXT NOT NULL,
  id TEXT NOT NULL,
  host TEXT NOT NULL,
  path TEXT NOT NULL,
  spec TEXT NOT NULL,
  managed_by TEXT NOT NULL,
  revision BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (environment, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX gateway_routes_match ON gateway_routes (environment, host, path);
