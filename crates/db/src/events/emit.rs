use authority::{SystemCtx, TenantCtx};
use base::{EventId, TenantId};
use crate::tx::Core;
use crate::{Error, NewEvent};
pub(crate) struct Author;
impl Author {
    pub(crate) fn of_tenant(_ctx: &TenantCtx) -> Self { todo!() }
    pub(crate) fn of_system(_ctx: &SystemCtx, _tenant: Option<TenantId>) -> Self { todo!() }
}
pub(crate) fn emit(_core: &mut Core<'_>, _author: &Author, _event: NewEvent) -> Result<EventId, Error> { todo!() }
