//! The configuration under the hands of administrators: the use cases behind `/admin/v1`.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    change_config::{ChangeConfig, ChangeError, Changed, Changes, Precondition},
    documents::{DocumentFault, Faults, SecretPlace, Table, read_row, render},
};
use crate::{
    domain::{
        administrator::Administrator,
        audit::{AuditEvent, AuditPlace},
        caller::{Caller, Denied},
        config_row::{Row, RowId, RowKind},
        ids::{RequestId, TenantId},
    },
    ports::config_source::{AuditQuery, ConfigStore, RowVersion, StoreError},
};

/// Reads and writes rows for people.
#[derive(Debug, Clone)]
pub struct Administer {
    pub config: ChangeConfig,
    pub store: Arc<dyn ConfigStore>,
    /// Whose people administer the installation itself.
    pub operator: TenantId,
}

/// A request of an administrator.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    pub caller: &'a Caller,
    pub request_id: &'a RequestId,
}

/// A row as administrators see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    pub form: Map<String, Value>,
    pub version: RowVersion,
}

/// Some rows, and where the next ones begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T, P> {
    pub items: Vec<T>,
    pub next: Option<P>,
}

/// Why an administrator does not get what it wants.
#[derive(Debug, thiserror::Error)]
pub enum AdministerError {
    #[error("not permitted")]
    Denied(Denied),
    #[error(transparent)]
    Change(#[from] ChangeError),
}

impl From<StoreError> for AdministerError {
    fn from(error: StoreError) -> Self {
        Self::Change(error.into())
    }
}

impl Administer {
    /// The caller as an administrator, if it holds the permission.
    ///
    /// # Errors
    /// [`AdministerError::Denied`].
    pub fn admit(&self, by: By<'_>, permission: &str) -> Result<Administrator, AdministerError> {
        Administrator::with_permission(by.caller, permission, &self.operator, by.request_id.clone())
            .map_err(AdministerError::Denied)
    }

    /// Rows of a kind by name, those behind `after`.
    ///
    /// # Errors
    /// [`AdministerError`].
    pub async fn list(
        &self,
        by: By<'_>,
        kind: RowKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Map<String, Value>, String>, AdministerError> {
        let administrator = self.admit(by, &format!("{kind}:read"))?;
        let mut rows = self.store.load_rows().await?.of_kind(kind);
        rows.retain(|row| administrator.reaches(row) && after.is_none_or(|after| row.name() > after));
        rows.sort_by(|a, b| a.name().cmp(b.name()));
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.name().to_owned());
        let items = rows.iter().map(render).collect();
        Ok(Page { items, next })
    }

    /// One row.
    ///
    /// # Errors
    /// [`AdministerError`]; a row out of reach is missing.
    pub async fn load(&self, by: By<'_>, id: &RowId) -> Result<Shown, AdministerError> {
        let administrator = self.admit(by, &format!("{}:read", id.kind))?;
        self.show(&administrator, id).await
    }

    async fn show(&self, administrator: &Administrator, id: &RowId) -> Result<Shown, AdministerError> {
        // The version first: a change in between makes it too old, and a writer who relies on it is told so.
        let version = self.store.find_version(id).await?;
        let row = self.store.load_rows().await?.find(id);
        let row = row.filter(|row| administrator.reaches(row));
        match (row, version) {
            (Some(row), Some(version)) => Ok(Shown {
                form: render(&row),
                version,
            }),
            _ => Err(ChangeError::Missing(id.clone()).into()),
        }
    }

    /// Creates or replaces a row.
    ///
    /// # Errors
    /// [`AdministerError`]; nothing was written.
    pub async fn put(
        &self,
        by: By<'_>,
        id: &RowId,
        form: Map<String, Value>,
        precondition: Option<&Precondition>,
    ) -> Result<(Changed, Shown), AdministerError> {
        let administrator = self.admit(by, &format!("{}:write", id.kind))?;
        let mut faults = Faults::default();
        let form = named(form, id, &mut faults);
        let entry = read_row(id.kind, Table::root(form), "?", SecretPlace::Nowhere, &mut faults);
        if !administrator.reaches(&entry.row) {
            return Err(out_of_reach(&administrator, &entry.row));
        }
        let changes = Changes {
            entries: vec![entry],
            deletions: Vec::new(),
            faults,
        };
        let permit = |row: &Row| administrator.reaches(row);
        let changed = self
            .config
            .change(changes, &administrator.actor, precondition, permit)
            .await?;
        Ok((changed, self.show(&administrator, id).await?))
    }

    /// Removes a row.
    ///
    /// # Errors
    /// [`AdministerError`]; nothing was removed.
    pub async fn delete(
        &self,
        by: By<'_>,
        id: &RowId,
        precondition: Option<&Precondition>,
    ) -> Result<Changed, AdministerError> {
        let administrator = self.admit(by, &format!("{}:write", id.kind))?;
        let changes = Changes {
            deletions: vec![id.clone()],
            ..Changes::default()
        };
        let permit = |row: &Row| administrator.reaches(row);
        let changed = self
            .config
            .change(changes, &administrator.actor, precondition, permit)
            .await?;
        Ok(changed)
    }

    /// What was changed, the newest first.
    ///
    /// # Errors
    /// [`AdministerError`].
    pub async fn list_audit(
        &self,
        by: By<'_>,
        before: Option<AuditPlace>,
        limit: u32,
    ) -> Result<Page<AuditEvent, AuditPlace>, AdministerError> {
        let administrator = self.admit(by, "audit:read")?;
        let query = AuditQuery {
            before,
            row_tenant: administrator.only_tenant().cloned(),
            limit: limit.saturating_add(1),
        };
        let mut items = self.store.list_audit(&query).await?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|event| event.place);
        Ok(Page { items, next })
    }
}

/// The name stands in the path; a body may repeat it and must not contradict it.
fn named(mut form: Map<String, Value>, id: &RowId, faults: &mut Faults) -> Map<String, Value> {
    match form.get("name") {
        Some(Value::String(name)) if *name != id.name => {
            faults.add("name".to_owned(), "is not the name in the path");
        }
        Some(_) => return form,
        None => {}
    }
    form.insert("name".to_owned(), id.name.clone().into());
    form
}

/// Somebody of one tenant writes a row of another, or of the installation.
fn out_of_reach(administrator: &Administrator, row: &Row) -> AdministerError {
    let Some(own) = administrator.only_tenant().filter(|_| row.kind().has_tenant()) else {
        return AdministerError::Denied(Denied::Permission(format!("{}:write of the installation", row.kind())));
    };
    let fault = DocumentFault {
        path: "tenant".to_owned(),
        reason: format!("must be your own, {:?}", own.as_str()),
    };
    ChangeError::Invalid(vec![fault]).into()
}
