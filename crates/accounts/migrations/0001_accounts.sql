-- People and how they sign in. A person belongs to a realm: a project, or the team that runs the installation
-- ('operators'). Passwords are argon2id in PHC form; tokens and links are kept as SHA-256 only; secrets of second
-- factors and letters are sealed. JSON is opaque text; times are unix microseconds.
CREATE TABLE accounts_users (
  id TEXT NOT NULL PRIMARY KEY,
  realm TEXT NOT NULL,
  email TEXT NOT NULL,
  email_key TEXT NOT NULL,
  name TEXT NOT NULL,
  role TEXT,
  password TEXT,
  factor BLOB,
  factor_since BIGINT,
  factor_step BIGINT NOT NULL,
  disabled_at BIGINT,
  revision BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX accounts_users_email ON accounts_users (realm, email_key);

CREATE TABLE accounts_recovery_codes (
  user_id TEXT NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY (user_id, hash)
) WITHOUT ROWID;

CREATE TABLE accounts_sessions (
  id TEXT NOT NULL PRIMARY KEY,
  user_id TEXT NOT NULL,
  how TEXT NOT NULL,
  ip TEXT,
  agent TEXT,
  created_at BIGINT NOT NULL,
  used_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX accounts_sessions_user ON accounts_sessions (user_id, id);
CREATE INDEX accounts_sessions_expiry ON accounts_sessions (expires_at);

-- One row a family: a refresh token names its family and the secret that is current; an old one has another secret.
CREATE TABLE accounts_refresh (
  family BLOB NOT NULL PRIMARY KEY,
  session TEXT NOT NULL,
  tenant TEXT,
  secret BLOB NOT NULL,
  rotations BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX accounts_refresh_session ON accounts_refresh (session);

-- Single-use links of mails, and the first owner's.
CREATE TABLE accounts_links (
  hash BLOB NOT NULL PRIMARY KEY,
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,
  realm TEXT NOT NULL,
  email TEXT NOT NULL,
  tenant TEXT,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX accounts_links_subject ON accounts_links (kind, subject);
CREATE INDEX accounts_links_expiry ON accounts_links (expires_at);

CREATE TABLE accounts_outbox (
  id TEXT NOT NULL PRIMARY KEY,
  recipient TEXT NOT NULL,
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,
  sealed BLOB NOT NULL,
  tenant TEXT,
  created_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX accounts_outbox_recipient ON accounts_outbox (recipient, id);
