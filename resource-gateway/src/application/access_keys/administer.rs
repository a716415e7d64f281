//! Access keys under the hands of administrators: the use cases behind `/admin/v1/access-keys`.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    Issued, KeyError, ManageAccessKeys,
    form::{read_settings, refuse_changes},
};
use crate::{
    application::{
        administer::{Administer, AdministerError, By},
        change_config::Precondition,
        documents::{Faults, Place, Table},
        page::Page,
    },
    domain::{
        access_key::AccessKey,
        administrator::Administrator,
        ids::{AccessKeyId, ClientId, TenantId},
    },
    ports::config_source::RowVersion,
};

const READ: &str = "access_key:read";
const WRITE: &str = "access_key:write";

/// Looks after access keys for people. A tenant's people reach the keys of their tenant; the others are missing to them.
#[derive(Debug)]
pub struct AdministerKeys {
    pub keys: ManageAccessKeys,
    pub administer: Administer,
}

impl AdministerKeys {
    /// Issues a key. Nobody can read its secret again.
    ///
    /// # Errors
    /// [`AdministerError`].
    pub async fn issue(&self, by: By<'_>, form: Map<String, Value>) -> Result<Issued, AdministerError> {
        let administrator = self.administer.admit(by, WRITE)?;
        let mut faults = Faults::default();
        let mut table = Table::root(form);
        let settings = read_settings(&mut table, administrator.only_tenant(), &mut faults);
        table.finish(&mut faults);
        check_reach(&administrator, settings.tenant.as_ref(), &mut faults);
        super::form::check(&settings, faults)?;
        Ok(self.keys.issue(settings, &administrator.actor).await?)
    }

    /// Keys by id.
    ///
    /// # Errors
    /// [`AdministerError`].
    pub async fn list(
        &self,
        by: By<'_>,
        tenant: Option<TenantId>,
        client_id: Option<ClientId>,
        after: Option<AccessKeyId>,
        limit: u32,
    ) -> Result<Page<AccessKey, AccessKeyId>, AdministerError> {
        let administrator = self.administer.admit(by, READ)?;
        let tenant = match (tenant, administrator.only_tenant()) {
            (Some(asked), Some(own)) if asked != *own => {
                return Ok(Page::empty());
            }
            (_, Some(own)) => Some(own.clone()),
            (asked, None) => asked,
        };
        Ok(self.keys.list(tenant, client_id, after, limit).await?)
    }

    /// One key.
    ///
    /// # Errors
    /// [`AdministerError`].
    pub async fn load(&self, by: By<'_>, id: &AccessKeyId) -> Result<AccessKey, AdministerError> {
        let administrator = self.administer.admit(by, READ)?;
        let key = self.keys.load(id).await?;
        check_reached(&administrator, &key)?;
        Ok(key)
    }

    /// Replaces a key's settings.
    ///
    /// # Errors
    /// [`AdministerError`].
    pub async fn replace(
        &self,
        by: By<'_>,
        id: &AccessKeyId,
        form: Map<String, Value>,
        precondition: Option<&Precondition>,
    ) -> Result<AccessKey, AdministerError> {
        let administrator = self.administer.admit(by, WRITE)?;
        let settings = |key: &AccessKey| {
            check_seen(&administrator, key, precondition)?;
            let mut faults = Faults::default();
            let mut table = Table::root(form);
            refuse_changes(&mut table, key, &mut faults);
            let settings = read_settings(&mut table, key.settings.tenant.as_ref(), &mut faults);
            table.finish(&mut faults);
            super::form::check(&settings, faults)?;
            Ok(settings)
        };
        Ok(self.keys.replace(id, &administrator.actor, settings).await?)
    }

    /// Gives a key a new secret; the one before is good for another `overlap`.
    ///
    /// # Errors
    /// [`AdministerError`].
    pub async fn rotate(
        &self,
        by: By<'_>,
        id: &AccessKeyId,
        form: Map<String, Value>,
        precondition: Option<&Precondition>,
    ) -> Result<Issued, AdministerError> {
        let administrator = self.administer.admit(by, WRITE)?;
        let mut faults = Faults::default();
        let mut table = Table::root(form);
        let longest = u32::try_from(ManageAccessKeys::LONGEST_OVERLAP.as_secs()).unwrap_or(u32::MAX);
        let overlap = table.number("overlap_s", 0..=longest, &mut faults);
        let overlap = overlap.map_or(ManageAccessKeys::OVERLAP, |seconds| {
            Duration::from_secs(u64::from(seconds))
        });
        table.finish(&mut faults);
        if !faults.is_empty() {
            return Err(KeyError::Invalid(faults.into_vec()).into());
        }
        let permit = |key: &AccessKey| check_seen(&administrator, key, precondition);
        Ok(self.keys.rotate(id, overlap, &administrator.actor, permit).await?)
    }

    /// Removes a key.
    ///
    /// # Errors
    /// [`AdministerError`].
    pub async fn delete(
        &self,
        by: By<'_>,
        id: &AccessKeyId,
        precondition: Option<&Precondition>,
    ) -> Result<(), AdministerError> {
        let administrator = self.administer.admit(by, WRITE)?;
        let permit = |key: &AccessKey| check_seen(&administrator, key, precondition);
        Ok(self.keys.delete(id, &administrator.actor, permit).await?)
    }
}

/// Whether the key is within reach. One that is not is missing.
fn check_reached(administrator: &Administrator, key: &AccessKey) -> Result<(), KeyError> {
    let reached = administrator.reaches_tenant(key.settings.tenant.as_ref());
    reached.then_some(()).ok_or(KeyError::Unknown)
}

/// Whether it is one that the writer means to change.
fn check_seen(
    administrator: &Administrator,
    key: &AccessKey,
    precondition: Option<&Precondition>,
) -> Result<(), KeyError> {
    check_reached(administrator, key)?;
    let met = match precondition {
        None | Some(Precondition::Exists) => true,
        Some(Precondition::Absent) => false,
        Some(Precondition::OneOf(versions)) => versions.contains(&RowVersion(key.version)),
    };
    met.then_some(()).ok_or(KeyError::Conflict)
}

fn check_reach(administrator: &Administrator, tenant: Option<&TenantId>, faults: &mut Faults) {
    if let Some(own) = administrator.only_tenant()
        && tenant != Some(own)
    {
        faults.add(Place::of("tenant"), format!("must be your own, {:?}", own.as_str()));
    }
}
