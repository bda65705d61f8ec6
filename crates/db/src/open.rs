use crate::store::Inner;
use crate::{Location, OpenError, Options};
pub(crate) fn open(_options: Options) -> Result<Inner, OpenError> { todo!() }
pub(crate) fn first_start(_location: &Location) -> Result<bool, OpenError> { todo!() }
