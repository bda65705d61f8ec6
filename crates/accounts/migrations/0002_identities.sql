-- works with: 0.1.0
-- Who a person is at an external issuer: found by the issuer's address and its word for the person (`iss` and `sub`), never
-- by a mail address again. A person has one at an issuer.
CREATE TABLE accounts_identities (
  realm TEXT NOT NULL,
  issuer TEXT NOT NULL,
  subject TEXT NOT NULL,
  id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  name TEXT NOT NULL,
  email TEXT,
  created_at BIGINT NOT NULL,
  used_at BIGINT NOT NULL,
  PRIMARY KEY (realm, issuer, subject)
) WITHOUT ROWID;
CREATE UNIQUE INDEX accounts_identities_user ON accounts_identities (user_id, issuer);

-- Operators who act as a tenant, so that nothing but such a session is ended as one.
CREATE TABLE accounts_impersonations (
  session TEXT NOT NULL PRIMARY KEY,
  tenant TEXT NOT NULL,
  expires_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX accounts_impersonations_expiry ON accounts_impersonations (expires_at);
