//! Who administers, and how far that reaches.

use super::{
    audit::Actor,
    caller::{Caller, Denied},
    config_row::Row,
    ids::{RequestId, TenantId},
};

/// A caller who may administer something.
#[derive(Debug, Clone)]
pub struct Administrator {
    pub actor: Actor,
    reach: Reach,
}

/// Which rows somebody may see and change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Those of the installation and of every tenant.
    Installation,
    /// Those of one tenant.
    Tenant(TenantId),
}

impl Administrator {
    /// The caller as one who holds a permission. The people of the operator's tenant reach everything; those of others reach
    /// what is their tenant's.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn with_permission(
        caller: &Caller,
        permission: &str,
        operator: &TenantId,
        request_id: RequestId,
    ) -> Result<Self, Denied> {
        caller.check_permission(permission)?;
        let tenant = caller.tenant.clone();
        let reach = match &tenant {
            Some(tenant) if tenant != operator => Reach::Tenant(tenant.clone()),
            Some(_) => Reach::Installation,
            // A token that names no tenant reaches no tenant.
            None => return Err(Denied::Permission(permission.to_owned())),
        };
        let actor = Actor {
            sub: Some(caller.sub.clone()),
            client_id: Some(caller.client_id.clone()),
            tenant,
            request_id: Some(request_id),
        };
        Ok(Self { actor, reach })
    }

    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Whether a row is within reach. One that cannot be read, `None`, may be anybody's.
    pub fn reaches(&self, row: Option<&Row>) -> bool {
        self.reach.has(row)
    }

    /// Whether what belongs to a tenant is within reach; `None` is the installation's own.
    pub fn reaches_tenant(&self, tenant: Option<&TenantId>) -> bool {
        self.reach.has_tenant(tenant)
    }

    /// The only tenant whose rows are within reach; `None`: all.
    pub fn only_tenant(&self) -> Option<&TenantId> {
        match &self.reach {
            Reach::Installation => None,
            Reach::Tenant(own) => Some(own),
        }
    }
}

impl Reach {
    /// Whether a row lies in it. One that cannot be read, `None`, may be anybody's.
    pub fn has(&self, row: Option<&Row>) -> bool {
        self.has_tenant(row.and_then(Row::tenant).as_ref())
    }

    fn has_tenant(&self, tenant: Option<&TenantId>) -> bool {
        match self {
            Self::Installation => true,
            Self::Tenant(own) => tenant == Some(own),
        }
    }
}
