//! The configuration under the hands of administrators: the use cases behind `/admin/v1`.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    access_keys::KeyError,
    change_config::{ChangeConfig, ChangeError, Changes, Precondition},
    documents::{DocumentFault, Faults, Place, SecretPlace, Table, read_row, render},
    page::Page,
};
use crate::{
    domain::{
        administrator::Administrator,
        audit::{AuditAction, AuditEvent, AuditPlace},
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

/// Whether a row was there before it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Created,
    Replaced,
}

/// Why an administrator does not get what it wants.
#[derive(Debug, thiserror::Error)]
pub enum AdministerError {
    #[error("not permitted")]
    Denied(Denied),
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl From<Denied> for AdministerError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
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
    /// Why it may not.
    pub fn admit(&self, by: By<'_>, permission: &str) -> Result<Administrator, Denied> {
        Administrator::with_permission(by.caller, permission, &self.operator, by.request_id.clone())
    }

    /// Rows of a kind by name, those behind `after`. Of one that cannot be read those who reach everything see that it is there.
    ///
    /// # Errors
    /// [`AdministerError`].
    pub async fn list(
        &self,
        by: By<'_>,
        kind: RowKind,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Map<String, Value>, String>, AdministerError> {
        let administrator = self.admit(by, &format!("{kind}:read"))?;
        let rows = self.store.load_rows().await?;
        let unreadable = rows.unreadable.iter().filter(|row| row.id.kind == kind);
        let unreadable = unreadable.map(|row| (row.id.name.clone(), None));
        let readable = rows.of_kind(kind).into_iter();
        let readable = readable.map(|row| (row.name().to_owned(), Some(row)));
        let mut found: Vec<(String, Option<Row>)> = readable.chain(unreadable).collect();
        found.retain(|(name, row)| {
            administrator.reaches(row.as_ref()) && after.is_none_or(|after| name.as_str() > after)
        });
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        let page = Page::cut(found, limit, |(name, _)| name.clone());
        Ok(page.map(|(name, row)| row.as_ref().map_or_else(|| unreadable_form(name), render)))
    }

    /// One row.
    ///
    /// # Errors
    /// [`AdministerError`]; a row out of reach is missing.
    pub async fn load(&self, by: By<'_>, id: &RowId) -> Result<Shown, AdministerError> {
        let administrator = self.admit(by, &format!("{}:read", id.kind))?;
        // The version first: a change in between makes it too old, and a writer who relies on it is told so.
        let version = self.store.find_version(id).await?;
        let rows = self.store.load_rows().await?;
        let row = rows.find(id);
        let is_there = row.is_some() || rows.find_unreadable(id).is_some();
        match version.filter(|_| is_there && administrator.reaches(row.as_ref())) {
            Some(version) => Ok(Shown {
                form: row.as_ref().map_or_else(|| unreadable_form(id.name.clone()), render),
                version,
            }),
            None => Err(ChangeError::Missing(id.clone()).into()),
        }
    }

    /// Creates or replaces a row. What is shown is what this writer made of it, whatever others do meanwhile.
    ///
    /// # Errors
    /// [`AdministerError`]; nothing was written.
    pub async fn put(
        &self,
        by: By<'_>,
        id: &RowId,
        form: Map<String, Value>,
        precondition: Option<&Precondition>,
    ) -> Result<(Put, Shown), AdministerError> {
        let administrator = self.admit(by, &format!("{}:write", id.kind))?;
        let mut faults = Faults::default();
        let form = named(form, id, &mut faults);
        let entry = read_row(id.kind, Table::root(form), "?", SecretPlace::Nowhere, &mut faults);
        if !administrator.reaches(Some(&entry.row)) {
            return Err(out_of_reach(&administrator, &entry.row));
        }
        let changes = Changes {
            entries: vec![entry],
            deletions: Vec::new(),
            faults,
        };
        let changed = self
            .config
            .change(changes, &administrator.actor, precondition, administrator.reach())
            .await?;
        let created = changed
            .changed
            .iter()
            .any(|(_, action)| *action == AuditAction::Created);
        let mut written = changed.rows.iter();
        let (row, version) = written.next().ok_or_else(|| ChangeError::Missing(id.clone()))?;
        let shown = Shown {
            form: render(row),
            version: *version,
        };
        Ok((if created { Put::Created } else { Put::Replaced }, shown))
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
    ) -> Result<(), AdministerError> {
        let administrator = self.admit(by, &format!("{}:write", id.kind))?;
        let changes = Changes {
            deletions: vec![id.clone()],
            ..Changes::default()
        };
        self.config
            .change(changes, &administrator.actor, precondition, administrator.reach())
            .await?;
        Ok(())
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
        let events = self.store.list_audit(&query).await?;
        Ok(Page::cut(events, limit, |event| event.place))
    }
}

/// Shown in the place of a row that cannot be read. Nobody can send it back by mistake: it is no form of a row.
fn unreadable_form(name: String) -> Map<String, Value> {
    Map::from_iter([("name".to_owned(), name.into()), ("unreadable".to_owned(), true.into())])
}

/// The name stands in the path; a body may repeat it and must not contradict it.
fn named(mut form: Map<String, Value>, id: &RowId, faults: &mut Faults) -> Map<String, Value> {
    match form.get("name") {
        Some(Value::String(name)) if *name != id.name => {
            faults.add(Place::of("name"), "is not the name in the path");
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
        return Denied::Installation(format!("{}:write", row.kind())).into();
    };
    let fault = DocumentFault {
        place: Place::of("tenant"),
        reason: format!("must be your own, {:?}", own.as_str()),
    };
    ChangeError::Invalid(vec![fault]).into()
}
