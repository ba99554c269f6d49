//! What of latches takes room.

use stanchion_client::proto::{CountDownLatchRequest, CreateLatchRequest};
use tonic::Status;

use super::kinds::Writer;

// === impl Writer ===

impl Writer<'_> {
    pub(super) async fn latch(&self, latch: &str) -> Result<(), Status> {
        let create = CreateLatchRequest {
            latch: latch.into(),
            count: 2,
            ..CreateLatchRequest::default()
        };
        let created = self.server.barriers().create_latch(create).await?;
        assert!(created.into_inner().created);
        Ok(())
    }

    pub(super) async fn count_down(&self, latch: &str, party: &str) -> Result<(), Status> {
        let count = CountDownLatchRequest {
            latch: latch.into(),
            party: party.into(),
            ..CountDownLatchRequest::default()
        };
        let counted = self.server.barriers().count_down_latch(count).await?;
        assert!(counted.into_inner().counted);
        Ok(())
    }
}
