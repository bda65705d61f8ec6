use crate::job::Job;
use crate::queue::Refused;
use crate::{Kind, Status};
pub(crate) struct Engine;
impl Engine {
    pub(crate) fn status(&self) -> Status { todo!() }
    pub(crate) fn kind(&self) -> Kind { todo!() }
    pub(crate) fn waiting(&self) -> (usize, usize) { todo!() }
    pub(crate) fn send_write(&self, _job: Box<dyn Job>) -> Result<(), Refused<Box<dyn Job>>> { todo!() }
    pub(crate) fn send_read(&self, _job: Box<dyn Job>) -> Result<(), Refused<Box<dyn Job>>> { todo!() }
}
