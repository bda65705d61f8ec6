-- Plans as an environment has them; the four defaults need no row. A rate is text: "60/min".
CREATE TABLE plans_plans (
  environment TEXT NOT NULL,
  name TEXT NOT NULL,
  project TEXT NOT NULL,
  requests TEXT NOT NULL,
  managed_by TEXT NOT NULL,
  revision BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (environment, name)
) WITHOUT ROWID;
CREATE INDEX plans_plans_project ON plans_plans (project, name);
