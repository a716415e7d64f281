//! The document's shape. Names are those of RFC 7591 and OpenID Connect where they have one; unknown keys are errors.

use std::collections::BTreeSet;

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value};
use service_kit::config::Problem;

use crate::{
    application::register::metadata::is_member,
    domain::{directory::DEFAULT_TENANT, user::Address},
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Document {
    pub(super) tenant: Vec<TenantDoc>,
    pub(super) org: Vec<OrgDoc>,
    pub(super) menu: Vec<MenuDoc>,
    pub(super) role: Vec<RoleDoc>,
    pub(super) dictionary: Vec<DictionaryDoc>,
    pub(super) client: Vec<ClientDoc>,
    pub(super) user: Vec<UserDoc>,
}

fn default_tenant() -> String {
    DEFAULT_TENANT.to_owned()
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TenantDoc {
    pub(super) id: String,
    pub(super) name: String,
    #[serde(default = "yes")]
    pub(super) enabled: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrgDoc {
    pub(super) id: String,
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    pub(super) name: String,
    pub(super) parent: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MenuDoc {
    pub(super) id: String,
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    pub(super) title: String,
    pub(super) parent: Option<String>,
    pub(super) path: Option<String>,
    pub(super) permission: Option<String>,
    #[serde(default)]
    pub(super) position: i64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleDoc {
    pub(super) name: String,
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) permissions: BTreeSet<String>,
    #[serde(default)]
    pub(super) menus: BTreeSet<String>,
    pub(super) data_permission: Option<String>,
    #[serde(default)]
    pub(super) data_orgs: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DictionaryDoc {
    pub(super) name: String,
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) items: Vec<DictionaryItemDoc>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DictionaryItemDoc {
    pub(super) key: String,
    pub(super) label: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientDoc {
    pub(super) client_id: String,
    pub(super) client_secret: Option<SecretString>,
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    #[serde(default)]
    pub(super) first_party: bool,
    #[serde(default)]
    pub(super) auto_approve: bool,
    #[serde(default = "yes")]
    pub(super) require_pkce: bool,
    /// Seconds.
    pub(super) access_token_ttl: Option<u64>,
    /// Seconds.
    pub(super) refresh_token_ttl: Option<u64>,
    pub(super) ai_interfaces: Option<BTreeSet<String>>,
    #[serde(default)]
    pub(super) permissions: BTreeSet<String>,
    /// What [`gather_metadata`] has put there.
    #[serde(default, rename = "\0metadata")]
    pub(super) metadata: Map<String, Value>,
    /// Absent: as it is, so that applying a document again does not undo `client disable`.
    pub(super) enabled: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserDoc {
    pub(super) sub: Option<String>,
    pub(super) username: String,
    pub(super) password: Option<SecretString>,
    #[serde(default)]
    pub(super) roles: BTreeSet<String>,
    pub(super) org: Option<String>,
    #[serde(default = "default_tenant")]
    pub(super) tenant: String,
    /// Absent: as it is, so that applying a document again does not undo `user lock`.
    pub(super) locked: Option<bool>,
    pub(super) name: Option<String>,
    pub(super) given_name: Option<String>,
    pub(super) family_name: Option<String>,
    pub(super) middle_name: Option<String>,
    pub(super) nickname: Option<String>,
    pub(super) preferred_username: Option<String>,
    pub(super) profile: Option<String>,
    pub(super) picture: Option<String>,
    pub(super) website: Option<String>,
    pub(super) gender: Option<String>,
    pub(super) birthdate: Option<String>,
    pub(super) zoneinfo: Option<String>,
    pub(super) locale: Option<String>,
    pub(super) email: Option<String>,
    pub(super) email_verified: Option<bool>,
    pub(super) phone_number: Option<String>,
    pub(super) phone_number_verified: Option<bool>,
    pub(super) address: Option<Address>,
}

/// Parses a document; the error names the path of the bad key.
pub(super) fn parse(text: &str) -> Result<Document, Problem> {
    let mut document: toml::Table =
        toml::from_str(text).map_err(|error| Problem::new("document", one_line(error.message())))?;
    gather_metadata(&mut document);
    serde_path_to_error::deserialize(document).map_err(|error| {
        let path = error.path().to_string().replace(".\0metadata", "");
        Problem::new(path, one_line(error.inner().message()))
    })
}

/// In a document a client is one flat table, as in RFC 7591. Its metadata is put under one key, to be read as registrations are; what
/// is left is the operator's own, and unknown keys among it are errors. No document can write that key: TOML has no NUL.
fn gather_metadata(document: &mut toml::Table) {
    let clients = document.get_mut("client").and_then(toml::Value::as_array_mut);
    for client in clients.into_iter().flatten().filter_map(toml::Value::as_table_mut) {
        let (metadata, own): (toml::Table, toml::Table) = std::mem::take(client)
            .into_iter()
            .partition(|(name, _)| is_member(name));
        *client = own;
        client.insert("\0metadata".into(), metadata.into());
    }
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}
