//! Clients.

use async_trait::async_trait;
use oauth_wire::{ClientAuthMethod, RedirectUri, SigningAlg};
use sql_kit::{Arg, Sql, args, sql};

use super::SqlStore;
use super::stored::{self, Place};
use crate::domain::client::{Client, ClientStatus};
use crate::domain::ids::{ClientId, TenantId};
use crate::ports::store::{Clients, PageRequest, StoreResult};

macro_rules! own_columns {
    () => {
        "client_id, tenant, client_name, secrets, token_endpoint_auth_method, redirect_uris, post_logout_redirect_uris, \
         grant_types, response_types, scope, links, first_party, auto_approve, require_pkce, access_token_ttl, \
         refresh_token_ttl, id_token_signed_response_alg, access_token_signing_alg, ai_interfaces, permissions, protocol"
    };
}

macro_rules! columns {
    () => {
        concat!(own_columns!(), ", status")
    };
}

/// With the status that counts: no client of a disabled tenant is active.
const BY_ID: Sql = sql!(concat!(
    "SELECT ",
    own_columns!(),
    ", CASE WHEN t.enabled THEN client.status ELSE 'disabled' END AS status \
     FROM client LEFT JOIN tenant t ON t.id = client.tenant WHERE client_id = ? AND deleted_at IS NULL"
));
/// What an operator sees: the client's own status.
const AFTER: Sql = sql!(concat!(
    "SELECT ",
    columns!(),
    " FROM client WHERE client_id > ? AND deleted_at IS NULL ORDER BY client_id LIMIT ?"
));

/// Takes [`values`], then both times.
pub(super) const INSERT: Sql = sql!(concat!(
    "INSERT INTO client (",
    columns!(),
    ", created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
     ON CONFLICT (client_id) DO NOTHING"
));

/// Takes [`values`] but the id, the time, the id, and the values again: a row that is as wanted is not touched.
pub(super) const UPDATE: Sql = sql!(
    "UPDATE client SET tenant = ?, client_name = ?, secrets = ?, token_endpoint_auth_method = ?, redirect_uris = ?, \
     post_logout_redirect_uris = ?, grant_types = ?, response_types = ?, scope = ?, links = ?, first_party = ?, \
     auto_approve = ?, require_pkce = ?, access_token_ttl = ?, refresh_token_ttl = ?, id_token_signed_response_alg = ?, \
     access_token_signing_alg = ?, ai_interfaces = ?, permissions = ?, protocol = ?, status = ?, updated_at = ?, deleted_at = NULL \
     WHERE client_id = ? AND (deleted_at IS NOT NULL \
     OR tenant <> ? OR client_name <> ? OR secrets <> ? OR token_endpoint_auth_method <> ? OR redirect_uris <> ? \
     OR post_logout_redirect_uris <> ? OR grant_types <> ? OR response_types <> ? OR scope <> ? OR links <> ? \
     OR first_party <> ? OR auto_approve <> ? OR require_pkce <> ? OR access_token_ttl IS DISTINCT FROM ? \
     OR refresh_token_ttl IS DISTINCT FROM ? OR id_token_signed_response_alg <> ? OR access_token_signing_alg <> ? \
     OR ai_interfaces IS DISTINCT FROM ? OR permissions <> ? OR protocol <> ? OR status <> ?)"
);

pub(super) const SET_SECRETS: Sql =
    sql!("UPDATE client SET secrets = ?, updated_at = ? WHERE client_id = ? AND deleted_at IS NULL");
pub(super) const SET_STATUS: Sql =
    sql!("UPDATE client SET status = ?, updated_at = ? WHERE client_id = ? AND deleted_at IS NULL");

#[derive(sqlx::FromRow)]
struct ClientRow {
    client_id: String,
    tenant: String,
    client_name: String,
    secrets: String,
    token_endpoint_auth_method: String,
    redirect_uris: String,
    post_logout_redirect_uris: String,
    grant_types: String,
    response_types: String,
    scope: String,
    links: String,
    first_party: bool,
    auto_approve: bool,
    require_pkce: bool,
    access_token_ttl: Option<i64>,
    refresh_token_ttl: Option<i64>,
    id_token_signed_response_alg: String,
    access_token_signing_alg: String,
    ai_interfaces: Option<String>,
    permissions: String,
    protocol: String,
    status: String,
}

#[async_trait]
impl Clients for SqlStore {
    async fn find_client(&self, id: &ClientId) -> StoreResult<Option<Client>> {
        let row: Option<ClientRow> = self.db.optional(BY_ID, args![id.as_str()]).await?;
        row.map(Client::try_from).transpose()
    }

    async fn list_clients(&self, page: PageRequest) -> StoreResult<Vec<Client>> {
        let after = page.after.unwrap_or_default();
        let rows: Vec<ClientRow> = self.db.all(AFTER, args![after, page.limit]).await?;
        rows.into_iter().map(Client::try_from).collect()
    }
}

/// The client's columns but its id.
pub(super) fn values(client: &Client) -> StoreResult<[Arg; 21]> {
    Ok(args![
        client.tenant.as_str(),
        client.client_name.as_str(),
        stored::json(&client.secrets)?,
        client.token_endpoint_auth_method.as_str(),
        stored::json(&client.redirect_uris)?,
        stored::json(&client.post_logout_redirect_uris)?,
        stored::json(&client.grant_types)?,
        stored::json(&client.response_types)?,
        client.scope.to_string(),
        stored::json(&client.links)?,
        client.first_party,
        client.auto_approve,
        client.require_pkce,
        stored::seconds(client.access_token_ttl),
        stored::seconds(client.refresh_token_ttl),
        client.id_token_signed_response_alg.as_str(),
        client.access_token_signing_alg.as_str(),
        client.ai_interfaces.as_ref().map(stored::json).transpose()?,
        stored::json(&client.permissions)?,
        stored::json(&client.protocol)?,
        status(client.status)?,
    ])
}

pub(super) fn status(status: ClientStatus) -> StoreResult<String> {
    stored::word(&status)
}

impl TryFrom<ClientRow> for Client {
    type Error = crate::ports::store::StoreError;

    fn try_from(row: ClientRow) -> StoreResult<Self> {
        let at = |column| Place("client", column);
        // Registered URIs were checked when they were registered; they are read back as they were written.
        let uris = |column, text: &str| -> StoreResult<Vec<RedirectUri>> { at(column).json(text) };
        let alg = |column, text: &str| SigningAlg::from_wire(text).ok_or_else(|| at(column).corrupt());
        Ok(Self {
            client_id: ClientId::new(row.client_id),
            tenant: TenantId::new(row.tenant),
            client_name: row.client_name,
            secrets: at("secrets").json(&row.secrets)?,
            token_endpoint_auth_method: ClientAuthMethod::from_wire(&row.token_endpoint_auth_method)
                .ok_or_else(|| at("token_endpoint_auth_method").corrupt())?,
            redirect_uris: uris("redirect_uris", &row.redirect_uris)?,
            post_logout_redirect_uris: uris("post_logout_redirect_uris", &row.post_logout_redirect_uris)?,
            grant_types: at("grant_types").json(&row.grant_types)?,
            response_types: at("response_types").json(&row.response_types)?,
            scope: at("scope").scope(&row.scope)?,
            links: at("links").json(&row.links)?,
            first_party: row.first_party,
            auto_approve: row.auto_approve,
            require_pkce: row.require_pkce,
            access_token_ttl: at("access_token_ttl").seconds(row.access_token_ttl)?,
            refresh_token_ttl: at("refresh_token_ttl").seconds(row.refresh_token_ttl)?,
            id_token_signed_response_alg: alg("id_token_signed_response_alg", &row.id_token_signed_response_alg)?,
            access_token_signing_alg: alg("access_token_signing_alg", &row.access_token_signing_alg)?,
            ai_interfaces: at("ai_interfaces").optional_json(row.ai_interfaces.as_deref())?,
            permissions: at("permissions").json(&row.permissions)?,
            protocol: at("protocol").json(&row.protocol)?,
            status: at("status").word(&row.status)?,
        })
    }
}
