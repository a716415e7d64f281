//! What the audit tells of access keys.

use service_kit::Timestamp;

use super::render_settings;
use crate::domain::{
    access_key::AccessKey,
    audit::{Actor, AuditAction, AuditEvent, AuditKind, AuditPlace, Audited},
    snapshot::Revision,
};

/// Whether a change concerned the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rotated {
    Yes,
    No,
}

/// The event of a change from `before` to `after`.
pub(super) fn event(
    time: Timestamp,
    actor: &Actor,
    before: Option<&AccessKey>,
    after: Option<&AccessKey>,
    secret: Rotated,
) -> AuditEvent {
    let (action, key) = match (before, after) {
        (None, key) => (AuditAction::Created, key),
        (Some(_), Some(key)) => (AuditAction::Replaced, Some(key)),
        (Some(key), None) => (AuditAction::Deleted, Some(key)),
    };
    let form = |key: &AccessKey| render_settings(&key.settings);
    AuditEvent {
        // Which revision it will be is known to the store.
        place: AuditPlace {
            revision: Revision(0),
            position: 0,
        },
        time,
        actor: actor.clone(),
        action,
        row: Audited {
            kind: AuditKind::AccessKey,
            name: key.map(|key| key.id.to_string()).unwrap_or_default(),
        },
        row_tenant: key.and_then(|key| key.settings.tenant.clone()),
        before: before.map(form),
        after: after.map(form),
        secret_changed: secret == Rotated::Yes,
    }
}
