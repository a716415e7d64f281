//! Clients that registered themselves, and the tokens that let them.

use async_trait::async_trait;
use service_kit::Timestamp;
use sql_kit::{Sql, args, sql};

use super::{SqlStore, SqlTx, stored};
use crate::{
    domain::{
        client::Client,
        ids::{ClientId, TenantId},
        registration::{InitialToken, Registration, TokenMac},
    },
    ports::{
        registrations::{RegistrationEnd, RegistrationWrites, Registrations},
        store::StoreResult,
    },
};

const BY_CLIENT: Sql =
    sql!("SELECT client_id, access_token, registered_at, last_used_at FROM client_registration WHERE client_id = ?");
const NOTE_USE: Sql = sql!("UPDATE client_registration SET last_used_at = ? WHERE client_id = ? AND last_used_at < ?");
const UNUSED: Sql =
    sql!("SELECT client_id FROM client_registration WHERE last_used_at < ? ORDER BY last_used_at, client_id LIMIT ?");
const INSERT: Sql =
    sql!("INSERT INTO client_registration (client_id, access_token, registered_at, last_used_at) VALUES (?, ?, ?, ?)");
const RENEW: Sql = sql!("UPDATE client_registration SET access_token = ? WHERE client_id = ? AND access_token = ?");
const END_HOLDER: Sql = sql!("DELETE FROM client_registration WHERE client_id = ? AND access_token = ?");
const END_UNUSED: Sql = sql!("DELETE FROM client_registration WHERE client_id = ? AND last_used_at < ?");
const END: Sql = sql!("DELETE FROM client_registration WHERE client_id = ?");

/// A counter, since of N callers who count rows each would find room for itself.
const COUNT_UP: Sql = sql!("UPDATE counter SET value = value + 1 WHERE name = 'client_registration' AND value < ?");
const COUNT_DOWN: Sql = sql!("UPDATE counter SET value = value - 1 WHERE name = 'client_registration'");

macro_rules! initial_token {
    () => {
        "SELECT i.id, i.mac, i.tenant, i.uses_left, i.created_at, i.expires_at FROM initial_access_token i "
    };
}
const INITIAL_BY_MAC: Sql = sql!(concat!(
    initial_token!(),
    "JOIN tenant t ON t.id = i.tenant AND t.enabled WHERE i.mac = ?"
));
const INITIAL_TOKENS: Sql = sql!(concat!(initial_token!(), "ORDER BY i.created_at, i.id LIMIT 1000"));
const INSERT_INITIAL: Sql = sql!(
    "INSERT INTO initial_access_token (id, mac, tenant, uses_left, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)"
);
const DELETE_INITIAL: Sql = sql!("DELETE FROM initial_access_token WHERE id = ?");
const SPEND_INITIAL: Sql = sql!(
    "UPDATE initial_access_token SET uses_left = uses_left - 1 WHERE mac = ? AND uses_left > 0 AND expires_at > ?"
);

/// Only what a client says about itself; takes the columns, the time and the id.
const REPLACE: Sql = sql!(
    "UPDATE client SET client_name = ?, token_endpoint_auth_method = ?, redirect_uris = ?, post_logout_redirect_uris = ?, \
     grant_types = ?, response_types = ?, scope = ?, links = ?, require_pkce = ?, id_token_signed_response_alg = ?, \
     access_token_signing_alg = ?, protocol = ?, updated_at = ? \
     WHERE client_id = ? AND status = 'active' AND deleted_at IS NULL"
);
const DELETE_CLIENT: Sql =
    sql!("UPDATE client SET deleted_at = ?, updated_at = ? WHERE client_id = ? AND deleted_at IS NULL");

#[derive(sqlx::FromRow)]
struct RegistrationRow {
    client_id: String,
    access_token: String,
    registered_at: i64,
    last_used_at: i64,
}

#[derive(sqlx::FromRow)]
struct InitialRow {
    id: String,
    mac: String,
    tenant: String,
    uses_left: i64,
    created_at: i64,
    expires_at: i64,
}

#[async_trait]
impl Registrations for SqlStore {
    async fn find_registration(&self, client: &ClientId) -> StoreResult<Option<Registration>> {
        let row: Option<RegistrationRow> = self.db.optional(BY_CLIENT, args![client.as_str()]).await?;
        Ok(row.map(Registration::from))
    }

    async fn note_use(&self, client: &ClientId, at: Timestamp, before: Timestamp) -> StoreResult<()> {
        let args = args![at.as_micros(), client.as_str(), before.as_micros()];
        self.db.execute(NOTE_USE, args).await?;
        Ok(())
    }

    async fn unused_registrations(&self, before: Timestamp, limit: u32) -> StoreResult<Vec<ClientId>> {
        let rows: Vec<(String,)> = self.db.all(UNUSED, args![before.as_micros(), limit]).await?;
        Ok(rows.into_iter().map(|(id,)| ClientId::new(id)).collect())
    }

    async fn find_initial_token(&self, mac: &TokenMac) -> StoreResult<Option<InitialToken>> {
        let row: Option<InitialRow> = self.db.optional(INITIAL_BY_MAC, args![mac.0.as_str()]).await?;
        Ok(row.map(InitialToken::from))
    }

    async fn list_initial_tokens(&self) -> StoreResult<Vec<InitialToken>> {
        let rows: Vec<InitialRow> = self.db.all(INITIAL_TOKENS, args![]).await?;
        Ok(rows.into_iter().map(InitialToken::from).collect())
    }

    async fn insert_initial_token(&self, token: &InitialToken) -> StoreResult<()> {
        let args = args![
            token.id.as_str(),
            token.mac.0.as_str(),
            token.tenant.as_str(),
            token.uses_left,
            token.created_at.as_micros(),
            token.expires_at.as_micros(),
        ];
        self.db.execute(INSERT_INITIAL, args).await?;
        Ok(())
    }

    async fn delete_initial_token(&self, id: &str) -> StoreResult<bool> {
        Ok(self.db.execute(DELETE_INITIAL, args![id]).await? == 1)
    }
}

#[async_trait]
impl RegistrationWrites for SqlTx {
    async fn spend_initial_token(&mut self, mac: &TokenMac, at: Timestamp) -> StoreResult<bool> {
        let args = args![mac.0.as_str(), at.as_micros()];
        Ok(self.tx.execute(SPEND_INITIAL, args).await? == 1)
    }

    async fn insert_registration(&mut self, registration: &Registration, cap: u32) -> StoreResult<bool> {
        if self.tx.execute(COUNT_UP, args![cap]).await? == 0 {
            return Ok(false);
        }
        let args = args![
            registration.client.as_str(),
            registration.access_token.0.as_str(),
            registration.registered_at.as_micros(),
            registration.last_used_at.as_micros(),
        ];
        self.tx.execute(INSERT, args).await?;
        Ok(true)
    }

    async fn replace_metadata(&mut self, client: &Client, at: Timestamp) -> StoreResult<bool> {
        let args = args![
            client.client_name.as_str(),
            client.token_endpoint_auth_method.as_str(),
            stored::json(&client.redirect_uris)?,
            stored::json(&client.post_logout_redirect_uris)?,
            stored::json(&client.grant_types)?,
            stored::json(&client.response_types)?,
            client.scope.to_string(),
            stored::json(&client.links)?,
            client.require_pkce,
            client.id_token_signed_response_alg.as_str(),
            client.access_token_signing_alg.as_str(),
            stored::json(&client.protocol)?,
            at.as_micros(),
            client.client_id.as_str(),
        ];
        Ok(self.tx.execute(REPLACE, args).await? == 1)
    }

    async fn renew_registration(&mut self, client: &ClientId, from: &TokenMac, to: &TokenMac) -> StoreResult<bool> {
        let args = args![to.0.as_str(), client.as_str(), from.0.as_str()];
        Ok(self.tx.execute(RENEW, args).await? == 1)
    }

    async fn end_registration(&mut self, client: &ClientId, when: &RegistrationEnd) -> StoreResult<bool> {
        let id = client.as_str();
        let ended = match when {
            RegistrationEnd::Holder(mac) => self.tx.execute(END_HOLDER, args![id, mac.0.as_str()]).await?,
            RegistrationEnd::UnusedSince(before) => self.tx.execute(END_UNUSED, args![id, before.as_micros()]).await?,
            RegistrationEnd::Adopted => self.tx.execute(END, args![id]).await?,
        };
        if ended == 0 {
            return Ok(false);
        }
        self.tx.execute(COUNT_DOWN, args![]).await?;
        Ok(true)
    }

    async fn delete_client(&mut self, client: &ClientId, at: Timestamp) -> StoreResult<bool> {
        let at = at.as_micros();
        Ok(self.tx.execute(DELETE_CLIENT, args![at, at, client.as_str()]).await? == 1)
    }
}

impl From<RegistrationRow> for Registration {
    fn from(row: RegistrationRow) -> Self {
        Self {
            client: ClientId::new(row.client_id),
            access_token: TokenMac(row.access_token),
            registered_at: Timestamp::from_micros(row.registered_at),
            last_used_at: Timestamp::from_micros(row.last_used_at),
        }
    }
}

impl From<InitialRow> for InitialToken {
    fn from(row: InitialRow) -> Self {
        Self {
            id: row.id,
            mac: TokenMac(row.mac),
            tenant: TenantId::new(row.tenant),
            uses_left: row.uses_left,
            created_at: Timestamp::from_micros(row.created_at),
            expires_at: Timestamp::from_micros(row.expires_at),
        }
    }
}
