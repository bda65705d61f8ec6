-- Clients belong to an environment; grants to a client and a person. Secrets, codes, refresh tokens and cookies are stored as
-- their SHA-256 (base64url) only. Lists are JSON, opaque to the store; times are unix microseconds.
CREATE TABLE oidc_clients (
  environment TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  secret_hash TEXT,
  redirect_uris TEXT NOT NULL,
  logout_uris TEXT NOT NULL,
  scopes TEXT NOT NULL,
  revision BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (environment, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX oidc_clients_name ON oidc_clients (environment, name);

-- One authorization of a client by a person for one tenant: what codes and tokens come of, and end with.
CREATE TABLE oidc_grants (
  id TEXT NOT NULL,
  environment TEXT NOT NULL,
  client TEXT NOT NULL,
  user_id TEXT NOT NULL,
  session TEXT NOT NULL,
  tenant TEXT NOT NULL,
  scopes TEXT NOT NULL,
  signed_in_at BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  ended_at BIGINT,
  PRIMARY KEY (id)
) WITHOUT ROWID;
CREATE INDEX oidc_grants_client ON oidc_grants (environment, client);
CREATE INDEX oidc_grants_session ON oidc_grants (session);
CREATE INDEX oidc_grants_tenant ON oidc_grants (tenant);
CREATE INDEX oidc_grants_expiry ON oidc_grants (expires_at);

CREATE TABLE oidc_codes (
  hash TEXT NOT NULL,
  grant_id TEXT NOT NULL,
  redirect_uri TEXT NOT NULL,
  challenge TEXT NOT NULL,
  nonce TEXT,
  expires_at BIGINT NOT NULL,
  used_at BIGINT,
  PRIMARY KEY (hash)
) WITHOUT ROWID;
CREATE INDEX oidc_codes_expiry ON oidc_codes (expires_at);

CREATE TABLE oidc_refresh_tokens (
  hash TEXT NOT NULL,
  grant_id TEXT NOT NULL,
  expires_at BIGINT NOT NULL,
  used_at BIGINT,
  PRIMARY KEY (hash)
) WITHOUT ROWID;
CREATE INDEX oidc_refresh_tokens_expiry ON oidc_refresh_tokens (expires_at);

-- Browsers in which a person is signed in, by their cookie.
CREATE TABLE oidc_browsers (
  hash TEXT NOT NULL,
  environment TEXT NOT NULL,
  session TEXT NOT NULL,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (hash)
) WITHOUT ROWID;
CREATE INDEX oidc_browsers_expiry ON oidc_browsers (expires_at);
