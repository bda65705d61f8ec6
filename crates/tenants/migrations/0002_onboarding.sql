-- What is done for a new tenant, step by step; a step is done when done_at is set. Tenants of before have none.
CREATE TABLE tenants_onboarding (
  tenant TEXT NOT NULL,
  step TEXT NOT NULL,
  done_at BIGINT,
  note TEXT,
  PRIMARY KEY (tenant, step)
) WITHOUT ROWID;
