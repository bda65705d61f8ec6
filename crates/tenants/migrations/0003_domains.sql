-- Domains are proven by a TXT record, lead to one environment, and rest after they were released.
-- environment NULL: added before environments were noted. proof: operator | txt, NULL while unproven.
ALTER TABLE tenants_domains ADD COLUMN environment TEXT;
ALTER TABLE tenants_domains ADD COLUMN token TEXT;
ALTER TABLE tenants_domains ADD COLUMN proof TEXT;
ALTER TABLE tenants_domains ADD COLUMN checked_at BIGINT;
ALTER TABLE tenants_domains ADD COLUMN next_check_at BIGINT;
ALTER TABLE tenants_domains ADD COLUMN failing_since BIGINT;
ALTER TABLE tenants_domains ADD COLUMN problem TEXT;
UPDATE tenants_domains SET proof = 'operator' WHERE verified_at IS NOT NULL;
CREATE INDEX tenants_domains_due ON tenants_domains (next_check_at) WHERE next_check_at IS NOT NULL;

-- Who had a domain until when; outlives the tenant.
CREATE TABLE tenants_released (
  tenant TEXT NOT NULL,
  host TEXT NOT NULL,
  released_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, host)
) WITHOUT ROWID;
CREATE INDEX tenants_released_host ON tenants_released (host, released_at);
CREATE INDEX tenants_released_at ON tenants_released (released_at);
