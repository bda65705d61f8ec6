-- An installation has projects, a project has environments; a tenant belongs to a project and exists in
-- all of its environments (SPEC 1). JSON is opaque text; times are unix microseconds.
CREATE TABLE tenants_projects (
  project TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  created_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX tenants_projects_name ON tenants_projects (name);

CREATE TABLE tenants_environments (
  environment TEXT NOT NULL PRIMARY KEY,
  project TEXT NOT NULL,
  slug TEXT NOT NULL,
  base_domain TEXT NOT NULL,
  resolve TEXT NOT NULL,
  default_plan TEXT NOT NULL,
  applied_at BIGINT,
  revision BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX tenants_environments_slug ON tenants_environments (project, slug);
CREATE UNIQUE INDEX tenants_environments_base_domain ON tenants_environments (base_domain);

CREATE TABLE tenants_tenants (
  tenant TEXT NOT NULL PRIMARY KEY,
  project TEXT NOT NULL,
  slug TEXT NOT NULL,
  name TEXT NOT NULL,
  name_folded TEXT NOT NULL,
  email TEXT NOT NULL,
  email_key TEXT NOT NULL,
  plan TEXT NOT NULL,
  status TEXT NOT NULL,
  isolation TEXT NOT NULL,
  region TEXT,
  time_zone TEXT NOT NULL,
  billing_anchor_day BIGINT NOT NULL,
  rate_override TEXT,
  external_ids TEXT NOT NULL,
  metadata TEXT NOT NULL,
  revision BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX tenants_tenants_slug ON tenants_tenants (project, slug);
CREATE UNIQUE INDEX tenants_tenants_email ON tenants_tenants (project, email_key);
CREATE INDEX tenants_tenants_name ON tenants_tenants (project, name_folded);
CREATE INDEX tenants_tenants_page ON tenants_tenants (project, tenant);
CREATE INDEX tenants_tenants_status ON tenants_tenants (project, status, tenant);
CREATE INDEX tenants_tenants_plan ON tenants_tenants (project, plan, tenant);

CREATE TABLE tenants_domains (
  tenant TEXT NOT NULL,
  host TEXT NOT NULL,
  verified_at BIGINT,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, host)
) WITHOUT ROWID;
-- Only a proven name is exclusive: a mere claim must neither block its owner nor tell who else is here.
CREATE UNIQUE INDEX tenants_domains_host ON tenants_domains (host) WHERE verified_at IS NOT NULL;
