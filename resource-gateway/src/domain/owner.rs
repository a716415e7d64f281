//! Whose something is that callers leave with the gateway.

use super::{
    caller::Caller,
    ids::{ClientId, Subject, TenantId},
};

/// Whom a conversation or a job belongs to: nobody else learns that it exists.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    pub tenant: Option<TenantId>,
    pub client_id: ClientId,
    pub sub: Subject,
}

impl Owner {
    pub fn of(caller: &Caller) -> Self {
        Self {
            tenant: caller.tenant.clone(),
            client_id: caller.client_id.clone(),
            sub: caller.sub.clone(),
        }
    }

    /// As it stands in rows, where no tenant is an empty text.
    pub fn tenant_text(&self) -> &str {
        self.tenant.as_ref().map_or("", TenantId::as_str)
    }
}
