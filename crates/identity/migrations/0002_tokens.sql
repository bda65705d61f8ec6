-- works with: 0.1.0
-- Signing keys rotate: each belongs to an algorithm and signs from a time on; NULL is the next one, published already.
ALTER TABLE identity_signing_keys ADD COLUMN algorithm TEXT NOT NULL DEFAULT 'EdDSA';
ALTER TABLE identity_signing_keys ADD COLUMN signs_from BIGINT;
UPDATE identity_signing_keys SET signs_from = created_at;

-- What tokens are no longer good for: an ended session, or everything of a user, member or role until a time.
CREATE TABLE identity_revocations (
  id TEXT NOT NULL PRIMARY KEY,
  at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX identity_revocations_at ON identity_revocations (at);

-- Roles that a project names. Members and keys that have one keep its patterns in their own row, too.
CREATE TABLE identity_roles (
  project TEXT NOT NULL,
  name TEXT NOT NULL,
  patterns TEXT NOT NULL,
  description TEXT NOT NULL,
  revision BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (project, name)
) WITHOUT ROWID;
ALTER TABLE identity_members ADD COLUMN role_project TEXT;
ALTER TABLE identity_members ADD COLUMN role_name TEXT;
CREATE INDEX identity_members_role ON identity_members (role_project, role_name);
CREATE INDEX identity_members_person ON identity_members (email_key);
ALTER TABLE identity_keys ADD COLUMN role_project TEXT;
ALTER TABLE identity_keys ADD COLUMN role_name TEXT;
ALTER TABLE identity_keys ADD COLUMN allowed_ips TEXT;
CREATE INDEX identity_keys_role ON identity_keys (role_project, role_name);
