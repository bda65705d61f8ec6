-- works with: 0.1.0
-- The one environment in which a session holds: of who came by an issuer that no other environment trusts.
ALTER TABLE accounts_sessions ADD COLUMN environment TEXT;
