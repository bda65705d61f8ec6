-- Keys belong to an environment and a tenant; members to a tenant in all environments (SPEC 1). A key itself is
-- never stored, only its SHA-256; a signing key only sealed. JSON is opaque text; times are unix microseconds.
CREATE TABLE identity_keys (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  environment TEXT NOT NULL,
  name TEXT NOT NULL,
  hash BLOB NOT NULL,
  prefix TEXT NOT NULL,
  role TEXT NOT NULL,
  scopes TEXT,
  expires_at BIGINT,
  revoked_at BIGINT,
  replaced_by TEXT,
  last_used_at BIGINT,
  created_by TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX identity_keys_hash ON identity_keys (hash);
CREATE INDEX identity_keys_page ON identity_keys (environment, id);

CREATE TABLE identity_members (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  email TEXT NOT NULL,
  email_key TEXT NOT NULL,
  role TEXT NOT NULL,
  status TEXT NOT NULL,
  revision BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX identity_members_email ON identity_members (tenant, email_key);

CREATE TABLE identity_operator_keys (
  hash BLOB NOT NULL PRIMARY KEY,
  prefix TEXT NOT NULL,
  created_at BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE identity_signing_keys (
  kid TEXT NOT NULL PRIMARY KEY,
  public BLOB NOT NULL,
  sealed BLOB NOT NULL,
  created_at BIGINT NOT NULL
) WITHOUT ROWID;
