//! Issuers over both stores, with scripted issuers.
