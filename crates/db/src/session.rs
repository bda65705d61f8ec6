use crate::{Error, Kind, Row, Sql, Value};
pub(crate) struct Session;
impl Session {
    pub(crate) fn kind(&self) -> Kind { todo!() }
    pub(crate) fn doom(&self) -> Option<Error> { todo!() }
    pub(crate) fn check_tenant_statement(&mut self, _sql: &Sql) -> Result<(), Error> { todo!() }
    pub(crate) fn query(&mut self, _sql: &Sql, _lead: Option<&Value>, _params: &[Value]) -> Result<Vec<Row>, Error> { todo!() }
    pub(crate) fn execute(&mut self, _sql: &Sql, _lead: Option<&Value>, _params: &[Value]) -> Result<u64, Error> { todo!() }
}
