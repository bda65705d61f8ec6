use lifecycle::Stop;
use crate::Db;
pub(crate) struct Sequencer(Db);
impl Sequencer {
    pub(crate) fn new(db: Db) -> Self { Self(db) }
    pub(crate) async fn run(self, _stop: Stop) { let _ = self.0; todo!() }
}
