//! Logged requests and answers under the eyes of those who may read them.

use std::sync::Arc;

use service_kit::Timestamp;

use super::{
    administer::{Administer, AdministerError, By},
    page::Page,
};
use crate::ports::payload_log::{PayloadQuery, PayloadStore, StoredPayload};

/// The permission to read what people say and are answered.
const READ: &str = "payload:read";

/// The use case.
#[derive(Debug, Clone)]
pub struct ListPayloads {
    pub administer: Administer,
    pub store: Arc<dyn PayloadStore>,
}

/// Which payloads. Absent is any.
#[derive(Debug, Clone, Default)]
pub struct PayloadFilter {
    pub request_id: Option<String>,
    pub interface: Option<String>,
    pub client_id: Option<String>,
}

/// Where the next page begins.
pub type PayloadPlace = (Timestamp, String);

impl ListPayloads {
    /// Texts are long; a page of many would be megabytes.
    pub const MOST: u32 = 50;

    /// Payloads within reach, the newest first, at most [`ListPayloads::MOST`].
    ///
    /// # Errors
    /// [`AdministerError`].
    pub async fn list(
        &self,
        by: By<'_>,
        filter: PayloadFilter,
        before: Option<PayloadPlace>,
        limit: u32,
    ) -> Result<Page<StoredPayload, PayloadPlace>, AdministerError> {
        let administrator = self.administer.admit(by, READ)?;
        let limit = limit.min(Self::MOST);
        let query = PayloadQuery {
            tenant: administrator.only_tenant().cloned(),
            request_id: filter.request_id,
            interface: filter.interface,
            client_id: filter.client_id,
            before,
            limit: limit + 1,
        };
        let rows = self.store.list_payloads(&query).await?;
        Ok(Page::cut(rows, limit, |row| (row.time, row.request_id.clone())))
    }
}
