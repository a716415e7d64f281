//! Changes configuration rows: all of a change or nothing, judged as a whole, with an audit row for each.

use std::{collections::HashMap, sync::Arc};

use service_kit::Clock;

use super::documents::{DocumentFault, Entry, Faults, SecretChange, render};
use crate::{
    domain::{
        audit::{Actor, AuditAction, AuditEvent, AuditPlace},
        config_row::{Row, RowId},
        snapshot::{ConfigFault, ConfigRows, FaultReason, Revision, Snapshot, StrategyCatalog},
        vendor::SecretKey,
    },
    ports::config_source::{ConfigChange, ConfigStore, RowVersion, StoreError},
};

/// The use case behind documents and the admin API.
#[derive(Debug, Clone)]
pub struct ChangeConfig {
    store: Arc<dyn ConfigStore>,
    catalog: Arc<dyn StrategyCatalog>,
    clock: Arc<dyn Clock>,
}

/// What is to change.
#[derive(Debug, Default)]
pub struct Changes {
    pub entries: Vec<Entry>,
    pub deletions: Vec<RowId>,
    /// What was found wrong while the entries were read; anything here and nothing is written.
    pub faults: Faults,
}

/// What a writer believes about a row (RFC 9110 §13.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// `If-Match: *`.
    Exists,
    /// `If-None-Match: *`.
    Absent,
    /// `If-Match` with entity tags.
    OneOf(Vec<RowVersion>),
}

/// What a change came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The revision that now holds; counted up only when something changed.
    pub revision: Revision,
    /// Rows that are new, different or gone.
    pub changed: Vec<(RowId, AuditAction)>,
    /// How many entries stood as they stand in the database.
    pub unchanged: usize,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// All that is wrong with the entries, or with the stored rows if they were applied.
    #[error("the change is not valid:\n{}", list(.0))]
    Invalid(Vec<DocumentFault>),
    #[error("there is no {0}")]
    Missing(RowId),
    #[error("{0} is not what the precondition says")]
    Precondition(RowId),
    #[error("the configuration cannot be stored")]
    Store(#[from] StoreError),
}

fn list(faults: &[DocumentFault]) -> String {
    let lines: Vec<_> = faults.iter().map(|fault| format!("  {fault}")).collect();
    lines.join("\n")
}

impl ChangeConfig {
    pub fn new(store: Arc<dyn ConfigStore>, catalog: Arc<dyn StrategyCatalog>, clock: Arc<dyn Clock>) -> Self {
        Self { store, catalog, clock }
    }

    /// Makes a change. Entries replace rows of the same name, others stay; a stored secret stays when an entry says nothing about
    /// it. `precondition` is about the first of them. `permit` sees each row that is to be replaced or removed before anything else
    /// is said about it.
    ///
    /// # Errors
    /// [`ChangeError`]; then nothing was written.
    pub async fn change(
        &self,
        changes: Changes,
        actor: &Actor,
        precondition: Option<&Precondition>,
        permit: impl Fn(&Row) -> bool + Send + Sync,
    ) -> Result<Changed, ChangeError> {
        let Changes {
            mut entries,
            deletions,
            mut faults,
        } = changes;
        note_repeats(&mut entries, &mut faults);
        let mut change = self.store.begin_change().await?;
        let stored = change.load_rows().await?;
        check_precondition(change.as_mut(), &entries, &deletions, precondition).await?;
        for id in &deletions {
            let row = stored.find(id).filter(&permit);
            row.ok_or_else(|| ChangeError::Missing(id.clone()))?;
        }
        for entry in &entries {
            if stored.find(&entry.row.id()).is_some_and(|row| !permit(&row)) {
                return Err(ChangeError::Missing(entry.row.id()));
            }
        }
        keep_secrets(&mut entries, &stored);
        self.judge(&entries, &deletions, &stored, &mut faults);
        if !faults.is_empty() {
            return Err(ChangeError::Invalid(faults.into_vec()));
        }
        self.write(change, &stored, entries, deletions, actor).await
    }

    async fn write(
        &self,
        mut change: Box<dyn ConfigChange>,
        stored: &ConfigRows,
        entries: Vec<Entry>,
        deletions: Vec<RowId>,
        actor: &Actor,
    ) -> Result<Changed, ChangeError> {
        let mut events = Vec::new();
        let entries_given = entries.len();
        // In the order of the kinds, since rows refer to rows of earlier kinds.
        let mut rows: Vec<Row> = entries.into_iter().map(|entry| entry.row).collect();
        rows.sort_by_key(Row::kind);
        for row in &rows {
            let before = stored.find(&row.id());
            if before.as_ref() == Some(row) {
                continue;
            }
            change.put(row).await?;
            events.push(self.event(stored, events.len(), actor, before.as_ref(), Some(row)));
        }
        let unchanged = entries_given - events.len();
        let mut deletions = deletions;
        deletions.sort_by_key(|id| std::cmp::Reverse(id.kind));
        for id in &deletions {
            let before = stored.find(id);
            change.delete(id).await?;
            events.push(self.event(stored, events.len(), actor, before.as_ref(), None));
        }
        let events: Vec<AuditEvent> = events.into_iter().flatten().collect();
        let mut revision = stored.revision;
        if !events.is_empty() {
            for event in &events {
                change.note(event).await?;
            }
            revision = change.commit().await?;
        }
        Ok(Changed {
            revision,
            changed: events
                .into_iter()
                .filter_map(|event| Some((event.row.into_row()?, event.action)))
                .collect(),
            unchanged,
        })
    }

    fn event(
        &self,
        stored: &ConfigRows,
        position: usize,
        actor: &Actor,
        before: Option<&Row>,
        after: Option<&Row>,
    ) -> Option<AuditEvent> {
        let action = match (before, after) {
            (None, Some(_)) => AuditAction::Created,
            (Some(_), Some(_)) => AuditAction::Replaced,
            (Some(_), None) => AuditAction::Deleted,
            (None, None) => return None,
        };
        let row = after.or(before)?;
        Some(AuditEvent {
            place: AuditPlace {
                // The change holds the revision's lock, so this is the one that it will make.
                revision: Revision(stored.revision.0 + 1),
                position: i64::try_from(position).unwrap_or(i64::MAX),
            },
            time: self.clock.now(),
            actor: actor.clone(),
            action,
            row: row.id().into(),
            row_tenant: row.tenant(),
            before: before.map(render),
            after: after.map(render),
            secret_changed: secret_of(before) != secret_of(after),
        })
    }

    /// Judges the rows as they would be, by the very code that judges a snapshot before it is published.
    fn judge(&self, entries: &[Entry], deletions: &[RowId], stored: &ConfigRows, faults: &mut Faults) {
        let mut rows = stored.clone();
        for id in deletions {
            rows.remove(id);
        }
        for entry in entries {
            rows.put(entry.row.clone());
        }
        let Err(found) = Snapshot::build(rows, self.catalog.as_ref()) else {
            return;
        };
        let places: HashMap<RowId, &Entry> = entries.iter().map(|entry| (entry.row.id(), entry)).collect();
        for fault in found {
            let Some(entry) = places.get(&fault.subject) else {
                let RowId { kind, name } = &fault.subject;
                let path = format!("{kind} {name:?} (stored earlier).{}", fault.path);
                faults.add_unless_known(path, fault.reason.to_string());
                continue;
            };
            if !is_misread(&fault, entry, faults) {
                faults.add_unless_known(entry.at(&fault.path), fault.reason.to_string());
            }
        }
    }
}

/// The writer's belief is judged by the rows as they are under the change's lock.
async fn check_precondition(
    change: &mut dyn ConfigChange,
    entries: &[Entry],
    deletions: &[RowId],
    precondition: Option<&Precondition>,
) -> Result<(), ChangeError> {
    let first = entries
        .iter()
        .map(|entry| entry.row.id())
        .chain(deletions.iter().cloned())
        .next();
    let (Some(precondition), Some(id)) = (precondition, first) else {
        return Ok(());
    };
    let version = change.find_version(&id).await?;
    let holds = match precondition {
        Precondition::Exists => version.is_some(),
        Precondition::Absent => version.is_none(),
        Precondition::OneOf(versions) => version.is_some_and(|version| versions.contains(&version)),
    };
    holds.then_some(()).ok_or(ChangeError::Precondition(id))
}

fn secret_of(row: Option<&Row>) -> Option<SecretKey> {
    row.and_then(|row| row.clone().secret_mut().cloned())
        .filter(|secret| *secret != SecretKey::Absent)
}

/// Whether a fault only follows from a substitute for something that could not be read.
fn is_misread(fault: &ConfigFault, entry: &Entry, faults: &Faults) -> bool {
    matches!(fault.reason, FaultReason::Unpaired { .. }) && faults.mentions(&entry.at("capability"))
}

/// Two entries of one name contradict each other. The second one gets a name that no entry can have, so that both are judged.
fn note_repeats(entries: &mut [Entry], faults: &mut Faults) {
    let mut seen: HashMap<RowId, String> = HashMap::new();
    for entry in entries {
        if let Some(other) = seen.insert(entry.row.id(), entry.path.clone()) {
            let reason = format!("{:?} stands at {other} already", entry.row.name());
            faults.add(entry.at("name"), reason);
            let substitute = format!("?{}", entry.path);
            entry.row.rename(&substitute);
        }
    }
}

/// An entry that says nothing about its secret leaves the stored one.
fn keep_secrets(entries: &mut [Entry], stored: &ConfigRows) {
    for entry in entries {
        let known = stored.find(&entry.row.id());
        let Some(secret) = entry.row.secret_mut() else { continue };
        *secret = match &entry.secret {
            SecretChange::Set(secret) => secret.clone(),
            SecretChange::Keep => known.and_then(|mut row| row.secret_mut().cloned()).unwrap_or_default(),
        };
    }
}
