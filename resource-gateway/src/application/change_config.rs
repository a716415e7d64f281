//! Changes configuration rows: all of a change or nothing, judged as a whole, with an audit row for each.

use std::{collections::HashMap, sync::Arc};

use service_kit::Clock;

use super::documents::{DocumentFault, Entry, Faults, Place, SecretChange, render};
use crate::{
    domain::{
        administrator::Reach,
        audit::{Actor, AuditAction, AuditEvent, AuditPlace},
        budget::Budget,
        config_row::{Row, RowId},
        crowding::Share,
        snapshot::{ConfigFault, ConfigRows, FaultReason, Revision, Snapshot, StrategyCatalog},
        vendor::SecretKey,
    },
    ports::{
        config_source::{ConfigChange, ConfigStore, RowVersion, StoreError},
        jobs::WebhookSender,
    },
};

/// The use case behind documents and the admin API.
#[derive(Debug, Clone)]
pub struct ChangeConfig {
    store: Arc<dyn ConfigStore>,
    catalog: Arc<dyn StrategyCatalog>,
    webhooks: Arc<dyn WebhookSender>,
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
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// The revision that now holds; counted up only when something changed.
    pub revision: Revision,
    /// Rows that are new, different or gone.
    pub changed: Vec<(RowId, AuditAction)>,
    /// Every row that was given, as this change left it: what others do to it afterwards is not this writer's answer.
    pub rows: Vec<(Row, RowVersion)>,
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
    /// `webhooks` says who may be told of budgets.
    pub fn new(
        store: Arc<dyn ConfigStore>,
        catalog: Arc<dyn StrategyCatalog>,
        webhooks: Arc<dyn WebhookSender>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            store,
            catalog,
            webhooks,
            clock,
        }
    }

    /// Makes a change. Entries replace rows of the same name, others stay; a stored secret stays when an entry says nothing about
    /// it. `precondition` is about the first of them. What is to be replaced or removed lies in `reach`, or nothing else is said about
    /// it.
    ///
    /// # Errors
    /// [`ChangeError`]; then nothing was written.
    pub async fn change(
        &self,
        changes: Changes,
        actor: &Actor,
        precondition: Option<&Precondition>,
        reach: &Reach,
    ) -> Result<Changed, ChangeError> {
        let Changes {
            mut entries,
            deletions,
            mut faults,
        } = changes;
        note_repeats(&mut entries, &mut faults);
        let mut change = self.store.begin_change().await?;
        let stored = change.load_rows().await?;
        let permitted = |id: &RowId| match stored.find(id) {
            Some(row) => Some(reach.has(Some(&row))),
            None => stored.find_unreadable(id).map(|_| reach.has(None)),
        };
        let missing = deletions.iter().find(|id| permitted(id) != Some(true)).cloned();
        let mut written = entries.iter().map(|entry| entry.row.id());
        let foreign = written.find(|id| permitted(id) == Some(false));
        if let Some(id) = missing.or(foreign) {
            return Err(ChangeError::Missing(id));
        }
        check_precondition(change.as_mut(), &entries, &deletions, precondition).await?;
        keep_secrets(&mut entries, &stored);
        self.judge(&entries, &deletions, &stored, reach, &mut faults);
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
        mut deletions: Vec<RowId>,
        actor: &Actor,
    ) -> Result<Changed, ChangeError> {
        let (mut told, mut changed, mut standing) = (Vec::new(), Vec::new(), Vec::new());
        // In the order of the kinds, since rows refer to rows of earlier kinds.
        let mut rows: Vec<Row> = entries.into_iter().map(|entry| entry.row).collect();
        rows.sort_by_key(Row::kind);
        for row in rows {
            let id = row.id();
            let before = stored.find(&id);
            if before.as_ref() == Some(&row) {
                let version = change.find_version(&id).await?;
                standing.push((row, version.unwrap_or(RowVersion(0))));
                continue;
            }
            let version = change.put(&row).await?;
            let is_new = before.is_none() && stored.find_unreadable(&id).is_none();
            let action = if is_new {
                AuditAction::Created
            } else {
                AuditAction::Replaced
            };
            told.extend(tell(&id, action, before, Some(row.clone())));
            changed.push((id, action));
            standing.push((row, version));
        }
        let unchanged = standing.len() - changed.len();
        deletions.sort_by_key(|id| std::cmp::Reverse(id.kind));
        for id in deletions {
            if !change.delete(&id).await? {
                return Err(ChangeError::Missing(id));
            }
            told.extend(tell(&id, AuditAction::Deleted, stored.find(&id), None));
            changed.push((id, AuditAction::Deleted));
        }
        let mut revision = stored.revision;
        if !told.is_empty() {
            for (position, told) in told.into_iter().enumerate() {
                change.note(&self.event(stored, position, actor, told)).await?;
            }
            revision = change.commit().await?;
        }
        Ok(Changed {
            revision,
            changed,
            rows: standing,
            unchanged,
        })
    }

    fn event(&self, stored: &ConfigRows, position: usize, actor: &Actor, told: Told) -> AuditEvent {
        let Told {
            id,
            action,
            before,
            after,
        } = told;
        AuditEvent {
            place: AuditPlace {
                // The change holds the revision's lock, so this is the one that it will make.
                revision: Revision(stored.revision.0 + 1),
                position: i64::try_from(position).unwrap_or(i64::MAX),
            },
            time: self.clock.now(),
            actor: actor.clone(),
            action,
            row: id.into(),
            row_tenant: after.as_ref().or(before.as_ref()).and_then(Row::tenant),
            before: before.as_ref().map(render),
            after: after.as_ref().map(render),
            secret_changed: secret_of(before.as_ref()) != secret_of(after.as_ref()),
        }
    }

    /// Judges the rows as they would be, by the very code that judges a snapshot before it is published.
    fn judge(&self, entries: &[Entry], deletions: &[RowId], stored: &ConfigRows, reach: &Reach, faults: &mut Faults) {
        let mut rows = stored.clone();
        for id in deletions {
            rows.remove(id);
        }
        for entry in entries {
            rows.put(entry.row.clone());
            self.judge_webhook(entry, faults);
        }
        judge_shares(entries, stored, &rows.budgets, reach, faults);
        // What repairs one of several rows that cannot be read need not repair them all at once.
        let repairs = rows.unreadable.len() < stored.unreadable.len();
        let found = match Snapshot::build(rows, self.catalog.as_ref()) {
            Ok(snapshot) => snapshot.blind_budgets().to_vec(),
            Err(found) => found,
        };
        let places: HashMap<RowId, &Entry> = entries.iter().map(|entry| (entry.row.id(), entry)).collect();
        for fault in found {
            let Some(entry) = places.get(&fault.subject) else {
                if !is_tolerated(&fault, stored, repairs) {
                    let RowId { kind, name } = &fault.subject;
                    let row = Place::outside(format!("{kind} {name:?} (stored earlier)"));
                    faults.add_unless_known(row.below(&fault.path), fault.reason.to_string());
                }
                continue;
            };
            if !is_misread(&fault, entry, faults) {
                faults.add_unless_known(entry.at(&fault.path), fault.reason.to_string());
            }
        }
    }
}

impl ChangeConfig {
    /// Whom the operator of the machine lets be told is no part of the rows: what was written before it changed its mind stays in force,
    /// and is refused where it is told.
    fn judge_webhook(&self, entry: &Entry, faults: &mut Faults) {
        let Row::Budget(budget) = &entry.row else { return };
        if let Some(Err(reason)) = budget.notify_url().map(|url| self.webhooks.check(url)) {
            faults.add_unless_known(entry.at("notify_url"), reason);
        }
    }
}

/// Whether the writer has room for the tenants' budgets that it writes beside those that there are. One that counts what it counted
/// before takes none, so that a share that others have filled can still be put in order.
fn judge_shares(entries: &[Entry], stored: &ConfigRows, budgets: &[Budget], reach: &Reach, faults: &mut Faults) {
    let mut share = match reach {
        Reach::Installation => Share::of_operator(),
        Reach::Tenant(_) => Share::of_tenant(),
    };
    for entry in entries {
        let Row::Budget(new) = &entry.row else { continue };
        let stood = stored.budgets.iter().find(|budget| budget.name == new.name);
        let counts_alike =
            |old: &Budget| old.money.is_some() && (&old.selector, &old.interface) == (&new.selector, &new.interface);
        if stood.is_some_and(counts_alike) {
            continue;
        }
        if let Some(reason) = share.refusal(new, budgets) {
            faults.add_unless_known(entry.at("amount"), reason.to_string());
        }
    }
}

/// What one audit event tells of a row.
struct Told {
    id: RowId,
    action: AuditAction,
    before: Option<Row>,
    after: Option<Row>,
}

/// One event; two for a row that changes hands: each tenant's people read of their own rows alone.
fn tell(id: &RowId, action: AuditAction, before: Option<Row>, after: Option<Row>) -> Vec<Told> {
    let told = |action, before, after| Told {
        id: id.clone(),
        action,
        before,
        after,
    };
    match (before, after) {
        (Some(before), Some(after)) if before.tenant() != after.tenant() => vec![
            told(AuditAction::Deleted, Some(before), None),
            told(AuditAction::Created, None, Some(after)),
        ],
        (before, after) => vec![told(action, before, after)],
    }
}

/// Whether a fault of a stored row is none of this change's business.
fn is_tolerated(fault: &ConfigFault, stored: &ConfigRows, repairs: bool) -> bool {
    if matches!(fault.reason, FaultReason::Unreadable { .. }) {
        return repairs;
    }
    // What a tenant wrote for itself does not bind the operator.
    let tenant = stored.find(&fault.subject).and_then(|row| row.tenant());
    fault.reason.is_blindness() && tenant.is_some()
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
    let mut seen: HashMap<RowId, Place> = HashMap::new();
    for entry in entries {
        if let Some(other) = seen.insert(entry.row.id(), entry.place.clone()) {
            let reason = format!("{:?} stands at {other} already", entry.row.name());
            faults.add(entry.at("name"), reason);
            let substitute = format!("?{}", entry.place);
            entry.row.rename(&substitute);
        }
    }
}

/// An entry that says nothing about its secret leaves the stored one.
fn keep_secrets(entries: &mut [Entry], stored: &ConfigRows) {
    for entry in entries {
        let id = entry.row.id();
        let known = stored.find(&id);
        let Some(secret) = entry.row.secret_mut() else { continue };
        // A row that cannot be read may still have a secret that can.
        let unreadable = || stored.find_unreadable(&id).map(|row| row.secret.clone());
        *secret = match &entry.secret {
            SecretChange::Set(secret) => secret.clone(),
            SecretChange::Keep => known
                .and_then(|mut row| row.secret_mut().cloned())
                .or_else(unreadable)
                .unwrap_or_default(),
        };
    }
}
