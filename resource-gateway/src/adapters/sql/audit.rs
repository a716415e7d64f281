//! Audit rows.

use serde_json::{Map, Value};
use service_kit::Timestamp;
use sql_kit::{Arg, args};
use sqlx::FromRow;

use crate::{
    domain::{
        audit::{Actor, AuditAction, AuditEvent, AuditKind, AuditPlace, Audited},
        ids::{ClientId, RequestId, Subject, TenantId},
        snapshot::Revision,
    },
    ports::config_source::StoreError,
};

#[derive(FromRow)]
pub(super) struct AuditRow {
    revision: i64,
    position: i64,
    time: i64,
    sub: Option<String>,
    client_id: Option<String>,
    tenant: Option<String>,
    request_id: Option<String>,
    action: String,
    kind: String,
    name: String,
    row_tenant: Option<String>,
    before_form: Option<String>,
    after_form: Option<String>,
    secret_changed: bool,
}

pub(super) fn columns(event: &AuditEvent) -> [Arg; 14] {
    let form = |form: &Option<Map<String, Value>>| form.as_ref().map(|form| Value::Object(form.clone()).to_string());
    let actor = &event.actor;
    args![
        event.place.revision.0,
        event.place.position,
        event.time.as_micros(),
        actor.sub.as_ref().map(|sub| sub.as_str().to_owned()),
        actor.client_id.as_ref().map(|client| client.as_str().to_owned()),
        actor.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()),
        actor.request_id.as_ref().map(|id| id.as_str().to_owned()),
        event.action.as_str(),
        event.row.kind.as_str(),
        event.row.name.as_str(),
        event.row_tenant.as_ref().map(|tenant| tenant.as_str().to_owned()),
        form(&event.before),
        form(&event.after),
        event.secret_changed
    ]
}

impl TryFrom<AuditRow> for AuditEvent {
    type Error = StoreError;

    fn try_from(row: AuditRow) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::Corrupt {
            table: "audit_event",
            column,
            row: format!("{}.{}", row.revision, row.position),
        };
        let form = |text: &Option<String>, column| {
            let form = text.as_deref().map(serde_json::from_str).transpose();
            form.map_err(|_| corrupt(column))
        };
        Ok(Self {
            place: AuditPlace {
                revision: Revision(row.revision),
                position: row.position,
            },
            time: Timestamp::from_micros(row.time),
            before: form(&row.before_form, "before_form")?,
            after: form(&row.after_form, "after_form")?,
            action: AuditAction::parse(&row.action).ok_or_else(|| corrupt("action"))?,
            row: Audited {
                kind: AuditKind::parse(&row.kind).ok_or_else(|| corrupt("kind"))?,
                name: row.name.clone(),
            },
            row_tenant: row.row_tenant.map(TenantId::new),
            actor: Actor {
                sub: row.sub.map(Subject::new),
                client_id: row.client_id.map(ClientId::new),
                tenant: row.tenant.map(TenantId::new),
                request_id: row.request_id.map(RequestId::new),
            },
            secret_changed: row.secret_changed,
        })
    }
}
