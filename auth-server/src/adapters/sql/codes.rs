//! Authorization codes, and the columns that they share with refresh families.

use async_trait::async_trait;
use oauth_wire::CodeChallenge;
use service_kit::Timestamp;
use sql_kit::{Arg, Sql, args, sql};

use super::SqlStore;
use super::stored::{self, Place};
use crate::domain::grant::{CodeGrant, Grant};
use crate::domain::ids::{ClientId, CodeDigest, GrantId, SessionId, TenantId, UserId};
use crate::ports::store::{Codes, StoreError, StoreResult};

/// Takes [`values`].
pub(super) const INSERT: Sql = sql!(
    "INSERT INTO authorization_code (grant_id, client_id, tenant, user_sub, sid, scope, auth_time, amr, details, digest, \
     redirect_uri, code_challenge, nonce, issued_at, expires_at, redeemed_at) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
);
const BY_DIGEST: Sql = sql!(
    "SELECT grant_id, client_id, tenant, user_sub, sid, scope, auth_time, amr, details, digest, redirect_uri, code_challenge, \
     nonce, issued_at, expires_at, redeemed_at FROM authorization_code WHERE digest = ?"
);

/// Takes the moment, the digest and the moment. One statement, so that of N redemptions one counts a row (RFC 6749 §4.1.2:
/// a code is used once).
pub(super) const REDEEM: Sql =
    sql!("UPDATE authorization_code SET redeemed_at = ? WHERE digest = ? AND redeemed_at IS NULL AND expires_at > ?");
pub(super) const TAKE_OF_USER: Sql = sql!("DELETE FROM authorization_code WHERE user_sub = ? RETURNING grant_id");
pub(super) const TAKE_OF_USER_AND_CLIENT: Sql =
    sql!("DELETE FROM authorization_code WHERE user_sub = ? AND client_id = ? RETURNING grant_id");
/// Without an index, as with the families of a client; what waits is little, too.
pub(super) const TAKE_OF_CLIENT: Sql = sql!("DELETE FROM authorization_code WHERE client_id = ?");

/// The columns that say who authorised what for whom.
#[derive(sqlx::FromRow)]
pub(super) struct GrantRow {
    grant_id: String,
    client_id: String,
    tenant: String,
    user_sub: String,
    sid: Option<String>,
    scope: String,
    auth_time: i64,
    amr: String,
    details: String,
}

#[derive(sqlx::FromRow)]
struct CodeRow {
    #[sqlx(flatten)]
    grant: GrantRow,
    digest: Vec<u8>,
    redirect_uri: String,
    code_challenge: Option<String>,
    nonce: Option<String>,
    issued_at: i64,
    expires_at: i64,
    redeemed_at: Option<i64>,
}

#[async_trait]
impl Codes for SqlStore {
    async fn insert_code(&self, code: &CodeGrant) -> StoreResult<()> {
        self.db.execute(INSERT, values(code)?).await?;
        Ok(())
    }

    async fn find_code(&self, digest: &CodeDigest) -> StoreResult<Option<CodeGrant>> {
        let row: Option<CodeRow> = self.db.optional(BY_DIGEST, args![digest.0]).await?;
        row.map(CodeGrant::try_from).transpose()
    }

    async fn redeem_code(&self, digest: &CodeDigest, at: Timestamp) -> StoreResult<bool> {
        Ok(self.db.execute(REDEEM, redeem_args(digest, at)).await? == 1)
    }
}

pub(super) fn values(code: &CodeGrant) -> StoreResult<impl Iterator<Item = Arg> + Send + use<>> {
    let own = args![
        code.digest.0,
        code.redirect_uri.as_str(),
        code.code_challenge.as_ref().map(CodeChallenge::as_str),
        code.nonce.as_deref(),
        code.issued_at.as_micros(),
        code.expires_at.as_micros(),
        code.redeemed_at.map(Timestamp::as_micros),
    ];
    Ok(grant_values(&code.grant)?.into_iter().chain(own))
}

pub(super) fn redeem_args(digest: &CodeDigest, at: Timestamp) -> [Arg; 3] {
    args![at.as_micros(), digest.0, at.as_micros()]
}

/// The columns of [`GrantRow`], in its order.
pub(super) fn grant_values(grant: &Grant) -> StoreResult<[Arg; 9]> {
    Ok(args![
        grant.grant_id.as_str(),
        grant.client.as_str(),
        grant.tenant.as_str(),
        grant.user.as_str(),
        grant.sid.as_ref().map(SessionId::as_str),
        grant.scope.to_string(),
        grant.auth_time.as_micros(),
        stored::json(&grant.amr)?,
        stored::json(&grant.details)?,
    ])
}

impl GrantRow {
    pub(super) fn into_grant(self, table: &'static str) -> StoreResult<Grant> {
        Ok(Grant {
            grant_id: GrantId::new(self.grant_id),
            client: ClientId::new(self.client_id),
            tenant: TenantId::new(self.tenant),
            user: UserId::new(self.user_sub),
            sid: self.sid.map(SessionId::new),
            scope: Place(table, "scope").scope(&self.scope)?,
            auth_time: Timestamp::from_micros(self.auth_time),
            amr: Place(table, "amr").json(&self.amr)?,
            details: Place(table, "details").json(&self.details)?,
        })
    }
}

impl TryFrom<CodeRow> for CodeGrant {
    type Error = StoreError;

    fn try_from(row: CodeRow) -> StoreResult<Self> {
        let at = |column| Place("authorization_code", column);
        let challenge = |text: String| CodeChallenge::from_stored(&text).map_err(|_| at("code_challenge").corrupt());
        Ok(Self {
            digest: CodeDigest(row.digest.try_into().map_err(|_| at("digest").corrupt())?),
            grant: row.grant.into_grant("authorization_code")?,
            redirect_uri: row.redirect_uri,
            code_challenge: row.code_challenge.map(challenge).transpose()?,
            nonce: row.nonce,
            issued_at: Timestamp::from_micros(row.issued_at),
            expires_at: Timestamp::from_micros(row.expires_at),
            redeemed_at: stored::optional_time(row.redeemed_at),
        })
    }
}
