//! Tenants, organisational units, roles, menus and dictionaries: the rows behind `tenant`, `org`, `roles` and
//! `permissions` in a token.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::ids::{OrgId, RoleName, TenantId};

/// The tenant of rows that name none.
pub const DEFAULT_TENANT: &str = "default";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    pub id: TenantId,
    pub name: String,
    pub enabled: bool,
}

/// An organisational unit; a tree by `parent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Org {
    pub id: OrgId,
    pub tenant: TenantId,
    pub name: String,
    pub parent: Option<OrgId>,
}

/// A role: permission codes of its own and those of its menus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    pub name: RoleName,
    pub tenant: TenantId,
    pub description: String,
    /// Permission codes such as `client:write`; `*` is every permission.
    pub permissions: BTreeSet<String>,
    pub menus: BTreeSet<String>,
    pub data_permission: DataPermission,
    /// Units that [`DataPermission::Custom`] names.
    pub data_orgs: BTreeSet<OrgId>,
}

/// Whose rows a role sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataPermission {
    All,
    Org,
    OrgAndBelow,
    #[serde(rename = "self")]
    Own,
    Custom,
}

/// An entry of the admin console's menu; its permission code comes with every role that has the menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Menu {
    pub id: String,
    pub tenant: TenantId,
    pub title: String,
    pub parent: Option<String>,
    pub path: Option<String>,
    pub permission: Option<String>,
    pub position: i64,
}

/// A named list of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dictionary {
    pub name: String,
    pub tenant: TenantId,
    pub description: String,
    pub items: Vec<DictionaryItem>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DictionaryItem {
    pub key: String,
    pub label: String,
    pub position: i64,
}
