//! Pure rules: what an issuer is, and what its claims mean.

mod definition;
mod mapping;

pub use definition::{
    ALGORITHMS_DEFAULT, AUDIENCES_MAX, Claims, Definition, DefinitionFault, ISSUERS_MAX, Preset, ROLES_MAX,
    Rules, TenantBy,
};
pub use mapping::{LEEWAY, SUBJECT_CHARS_MAX, judge};
