//! Use cases, each inside one transaction.

pub(crate) mod clients;
pub(crate) mod grants;
