//! Who changed what.

use serde_json::{Map, Value};
use service_kit::Timestamp;

use super::{
    config_row::{RowId, RowKind},
    ids::{ClientId, RequestId, Subject, TenantId},
    snapshot::Revision,
};

/// Who changes the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// None on the command line, and when the provider ended what this is about.
    pub sub: Option<Subject>,
    pub client_id: Option<ClientId>,
    pub tenant: Option<TenantId>,
    pub request_id: Option<RequestId>,
}

impl Actor {
    /// Somebody at the machine itself, who could change the database as well.
    pub fn command_line() -> Self {
        Self {
            sub: None,
            client_id: None,
            tenant: None,
            request_id: None,
        }
    }
}

/// What was done to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditAction {
    Created,
    Replaced,
    Deleted,
}

impl Actor {
    /// The provider, which told that a client or person has ended.
    pub fn provider() -> Self {
        Self::command_line()
    }
}

impl AuditAction {
    const ALL: [Self; 3] = [Self::Created, Self::Replaced, Self::Deleted];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Replaced => "replaced",
            Self::Deleted => "deleted",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == word)
    }
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    pub kind: AuditKind,
    pub name: String,
}

impl Audited {
    /// The configuration row that it is, if it is one.
    pub fn into_row(self) -> Option<RowId> {
        match self.kind {
            AuditKind::Row(kind) => Some(RowId::new(kind, self.name)),
            AuditKind::AccessKey => None,
        }
    }
}

impl From<RowId> for Audited {
    fn from(id: RowId) -> Self {
        Self {
            kind: AuditKind::Row(id.kind),
            name: id.name,
        }
    }
}

/// Configuration rows, and what else administrators change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditKind {
    Row(RowKind),
    AccessKey,
}

impl AuditKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Row(kind) => kind.as_str(),
            Self::AccessKey => "access_key",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "access_key" => Some(Self::AccessKey),
            word => RowKind::parse(word).map(Self::Row),
        }
    }
}

/// Where an event stands in the order of all: the revision that the change made, and its place within the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditPlace {
    pub revision: Revision,
    pub position: i64,
}

/// One change of one row. The written forms hold no secret.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEvent {
    pub place: AuditPlace,
    pub time: Timestamp,
    pub actor: Actor,
    pub action: AuditAction,
    pub row: Audited,
    /// The tenant of the row; none for the installation's.
    pub row_tenant: Option<TenantId>,
    pub before: Option<Map<String, Value>>,
    pub after: Option<Map<String, Value>>,
    /// Whether the row's secret was set, changed or taken away.
    pub secret_changed: bool,
}
