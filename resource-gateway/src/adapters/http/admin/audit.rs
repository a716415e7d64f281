//! `/admin/v1/audit-events`: who changed what.

use axum::extract::{Request, State};
use serde_json::{Value, json};

use super::{
    super::AppState,
    Answer, Asked,
    page::{self, PAGE, bad_token},
};
use crate::domain::{
    audit::{AuditEvent, AuditPlace},
    snapshot::Revision,
};

pub(super) async fn list(State(app): State<AppState>, request: Request) -> Answer {
    let asked = Asked::read(&app, request, &PAGE).await?;
    let before = match asked.query.page_token()? {
        None => None,
        Some(token) => Some(place(&token).ok_or_else(bad_token)?),
    };
    let events = app
        .administer
        .list_audit(asked.by(), before, asked.query.limit()?)
        .await;
    let events = events.map_err(|error| asked.refuse(error))?;
    let next = events.next.map(text);
    Ok(page::respond(events.items.iter().map(form).collect(), next.as_deref()))
}

fn form(event: &AuditEvent) -> Value {
    let actor = &event.actor;
    json!({
        "id": text(event.place),
        "revision": event.place.revision.0,
        "time": event.time.to_rfc3339(),
        "action": event.action.as_str(),
        "kind": event.row.kind.as_str(),
        "name": event.row.name,
        "tenant": event.row_tenant,
        // Nobody: somebody at the command line of the machine.
        "sub": actor.sub,
        "client_id": actor.client_id,
        "actor_tenant": actor.tenant,
        "request_id": actor.request_id,
        "before": event.before,
        "after": event.after,
        "secret_changed": event.secret_changed,
    })
}

fn text(place: AuditPlace) -> String {
    format!("{}.{}", place.revision.0, place.position)
}

fn place(text: &str) -> Option<AuditPlace> {
    let (revision, position) = text.split_once('.')?;
    Some(AuditPlace {
        revision: Revision(revision.parse().ok()?),
        position: position.parse().ok()?,
    })
}
