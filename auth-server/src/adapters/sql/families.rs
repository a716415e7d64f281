//! Refresh families, and the transaction's writes about grants and sessions.

use async_trait::async_trait;
use service_kit::Timestamp;
use sql_kit::{Arg, Sql, args, sql};

use super::codes::{self, GrantRow, REDEEM, TAKE_OF_USER, TAKE_OF_USER_AND_CLIENT, grant_values, redeem_args};
use super::dialect::INSERT_FAMILY;
use super::pushed;
use super::sessions::{DELETE_CONSENT, END, END_ALL_OF};
use super::{SqlStore, SqlTx, decoupled, revocations, sectors, single_use, stored};
use crate::domain::authorization::PushedRequest;
use crate::domain::grant::{CodeGrant, RefreshFamily};
use crate::domain::ids::{ClientId, CodeDigest, GrantId, PushedDigest, SessionId, UserId};
use crate::domain::user::PasswordHash;
use crate::ports::store::{
    GrantWrites, RecordedRevocation, RefreshFamilies, Renewal, SingleUseId, StoreError, StoreResult,
};

const BY_GRANT: Sql = sql!(
    "SELECT grant_id, client_id, tenant, user_sub, sid, scope, auth_time, amr, details, generation, issued_at, rotated_at, \
     idle_expires_at, absolute_expires_at, revoked_at FROM refresh_token WHERE grant_id = ?"
);
/// The old generation is in the condition, so that of N rotations one counts a row (RFC 9700 §4.14.2).
const RENEW: Sql = sql!(
    "UPDATE refresh_token SET rotated_at = CASE WHEN generation < ? THEN ? ELSE rotated_at END, generation = ?, idle_expires_at = ?, \
     ends_at = CASE WHEN absolute_expires_at < ? THEN absolute_expires_at ELSE ? END \
     WHERE grant_id = ? AND generation = ? AND revoked_at IS NULL AND ends_at > ?"
);

/// What every revocation sets; takes the moment three times.
macro_rules! revoke {
    () => {
        "UPDATE refresh_token SET revoked_at = ?, ends_at = CASE WHEN ends_at < ? THEN ends_at ELSE ? END \
         WHERE revoked_at IS NULL AND "
    };
}

const REVOKE: Sql = sql!(concat!(revoke!(), "grant_id = ?"));
const REVOKE_OF_USER: Sql = sql!(concat!(revoke!(), "user_sub = ? RETURNING grant_id"));
const REVOKE_OF_USER_AND_CLIENT: Sql = sql!(concat!(revoke!(), "user_sub = ? AND client_id = ? RETURNING grant_id"));
/// Without an index: clients are disabled seldom, families are written with every sign-in.
const REVOKE_OF_CLIENT: Sql = sql!(concat!(revoke!(), "client_id = ?"));
/// OpenID Connect Core §11: offline access outlives the session. Scopes are stored with single blanks between them.
const REVOKE_OF_SESSION: Sql = sql!(concat!(
    revoke!(),
    "sid = ? AND ' ' || scope || ' ' NOT LIKE '% offline!_access %' ESCAPE '!' RETURNING grant_id"
));

#[derive(sqlx::FromRow)]
struct FamilyRow {
    #[sqlx(flatten)]
    grant: GrantRow,
    generation: i64,
    issued_at: i64,
    rotated_at: i64,
    idle_expires_at: i64,
    absolute_expires_at: i64,
    revoked_at: Option<i64>,
}

#[async_trait]
impl RefreshFamilies for SqlStore {
    async fn find_family(&self, grant: &GrantId) -> StoreResult<Option<RefreshFamily>> {
        let row: Option<FamilyRow> = self.db.optional(BY_GRANT, args![grant.as_str()]).await?;
        row.map(RefreshFamily::try_from).transpose()
    }

    async fn renew_family(&self, grant: &GrantId, renewal: Renewal) -> StoreResult<bool> {
        Ok(self.db.execute(RENEW, renew_args(grant, renewal)).await? == 1)
    }
}

fn renew_args(grant: &GrantId, renewal: Renewal) -> [Arg; 9] {
    let Renewal { from, to, .. } = renewal;
    let (at, idle) = (renewal.at.as_micros(), renewal.idle_expires_at.as_micros());
    args![to, at, to, idle, idle, idle, grant.as_str(), from, at]
}

#[async_trait]
impl GrantWrites for SqlTx {
    async fn spend(&mut self, ids: &[SingleUseId]) -> StoreResult<bool> {
        let Some((insert, values)) = single_use::insert(ids)? else {
            return Ok(true);
        };
        single_use::outcome(self.tx.execute(insert, values).await)
    }

    async fn renew_family(&mut self, grant: &GrantId, renewal: Renewal) -> StoreResult<bool> {
        Ok(self.tx.execute(RENEW, renew_args(grant, renewal)).await? == 1)
    }

    async fn insert_pushed_request(&mut self, pushed: &PushedRequest) -> StoreResult<()> {
        self.tx.execute(pushed::INSERT, pushed::values(pushed)?).await?;
        Ok(())
    }

    async fn insert_code(&mut self, code: &CodeGrant) -> StoreResult<()> {
        self.tx.execute(codes::INSERT, codes::values(code)?).await?;
        Ok(())
    }

    async fn take_pushed_request(&mut self, digest: &PushedDigest) -> StoreResult<bool> {
        Ok(self.tx.execute(pushed::TAKE, args![digest.0]).await? == 1)
    }

    async fn redeem_code(&mut self, digest: &CodeDigest, at: Timestamp) -> StoreResult<bool> {
        Ok(self.tx.execute(REDEEM, redeem_args(digest, at)).await? == 1)
    }

    async fn redeem_decoupled(&mut self, digest: &CodeDigest, at: Timestamp) -> StoreResult<bool> {
        Ok(self
            .tx
            .execute(decoupled::REDEEM, decoupled::redeem_args(digest, at))
            .await?
            == 1)
    }

    async fn insert_family(&mut self, family: &RefreshFamily, verified: Option<&PasswordHash>) -> StoreResult<bool> {
        let verified = verified.map(|hash| hash.0.as_str());
        let revoked_at = family.revoked_at.map(Timestamp::as_micros);
        let (idle, absolute) = (
            family.idle_expires_at.as_micros(),
            family.absolute_expires_at.as_micros(),
        );
        let own = args![
            family.generation,
            family.issued_at.as_micros(),
            family.rotated_at.as_micros(),
            idle,
            absolute,
            revoked_at,
            idle.min(absolute).min(revoked_at.unwrap_or(i64::MAX)),
            family.grant.user.as_str(),
            verified,
            verified,
        ];
        let args = grant_values(&family.grant)?.into_iter().chain(own);
        Ok(self.tx.execute(INSERT_FAMILY, args).await? == 1)
    }

    async fn revoke_family(&mut self, grant: &GrantId, at: Timestamp) -> StoreResult<bool> {
        let at = at.as_micros();
        Ok(self.tx.execute(REVOKE, args![at, at, at, grant.as_str()]).await? == 1)
    }

    async fn revoke_families_of_user(
        &mut self,
        user: &UserId,
        client: Option<&ClientId>,
        at: Timestamp,
    ) -> StoreResult<Vec<GrantId>> {
        let at = at.as_micros();
        let rows: Vec<(String,)> = match client {
            None => self.tx.all(REVOKE_OF_USER, args![at, at, at, user.as_str()]).await?,
            Some(client) => {
                let args = args![at, at, at, user.as_str(), client.as_str()];
                self.tx.all(REVOKE_OF_USER_AND_CLIENT, args).await?
            }
        };
        Ok(grants(rows))
    }

    async fn revoke_families_of_client(&mut self, client: &ClientId, at: Timestamp) -> StoreResult<u64> {
        let at = at.as_micros();
        Ok(self
            .tx
            .execute(REVOKE_OF_CLIENT, args![at, at, at, client.as_str()])
            .await?)
    }

    async fn revoke_families_of_session(&mut self, sid: &SessionId, at: Timestamp) -> StoreResult<Vec<GrantId>> {
        let at = at.as_micros();
        Ok(grants(
            self.tx.all(REVOKE_OF_SESSION, args![at, at, at, sid.as_str()]).await?,
        ))
    }

    async fn end_session(&mut self, sid: &SessionId, at: Timestamp) -> StoreResult<bool> {
        let at = at.as_micros();
        Ok(self.tx.execute(END, args![at, at, at, sid.as_str()]).await? == 1)
    }

    async fn end_sessions_of(
        &mut self,
        user: &UserId,
        keep: Option<&SessionId>,
        at: Timestamp,
    ) -> StoreResult<Vec<SessionId>> {
        let at = at.as_micros();
        let keep = keep.map_or("", SessionId::as_str);
        let rows: Vec<(String,)> = self.tx.all(END_ALL_OF, args![at, at, user.as_str(), at, keep]).await?;
        Ok(rows.into_iter().map(|(sid,)| SessionId::new(sid)).collect())
    }

    async fn delete_consent(&mut self, user: &UserId, client: &ClientId) -> StoreResult<bool> {
        Ok(self
            .tx
            .execute(DELETE_CONSENT, args![user.as_str(), client.as_str()])
            .await?
            == 1)
    }

    async fn take_codes_of(&mut self, user: &UserId, client: Option<&ClientId>) -> StoreResult<Vec<GrantId>> {
        let rows: Vec<(String,)> = match client {
            None => self.tx.all(TAKE_OF_USER, args![user.as_str()]).await?,
            Some(client) => {
                self.tx
                    .all(TAKE_OF_USER_AND_CLIENT, args![user.as_str(), client.as_str()])
                    .await?
            }
        };
        let elsewhere: Vec<(Option<String>,)> = match client {
            None => self.tx.all(decoupled::TAKE_OF_USER, args![user.as_str()]).await?,
            Some(client) => {
                let args = args![user.as_str(), client.as_str()];
                self.tx.all(decoupled::TAKE_OF_USER_AND_CLIENT, args).await?
            }
        };
        let decided = elsewhere.into_iter().filter_map(|(grant,)| Some((grant?,)));
        Ok(grants(rows.into_iter().chain(decided)))
    }

    async fn take_requests_of_client(&mut self, client: &ClientId) -> StoreResult<u64> {
        let mut taken = 0;
        // Codes before the others, as in `take_codes_of`.
        for delete in [codes::TAKE_OF_CLIENT, decoupled::TAKE_OF_CLIENT, pushed::TAKE_OF_CLIENT] {
            taken += self.tx.execute(delete, args![client.as_str()]).await?;
        }
        Ok(taken)
    }

    async fn sectors_of(&mut self, user: &UserId) -> StoreResult<Vec<String>> {
        let rows: Vec<(String,)> = self.tx.all(sectors::OF_USER, args![user.as_str()]).await?;
        Ok(rows.into_iter().map(|(sector,)| sector).collect())
    }

    async fn record_revocation(&mut self, revocation: &RecordedRevocation) -> StoreResult<bool> {
        let args = revocations::values(revocation)?;
        Ok(self.tx.execute(revocations::INSERT, args).await? == 1)
    }
}

fn grants(rows: impl IntoIterator<Item = (String,)>) -> Vec<GrantId> {
    rows.into_iter().map(|(grant,)| GrantId::new(grant)).collect()
}

impl TryFrom<FamilyRow> for RefreshFamily {
    type Error = StoreError;

    fn try_from(row: FamilyRow) -> StoreResult<Self> {
        Ok(Self {
            grant: row.grant.into_grant("refresh_token")?,
            generation: row.generation,
            issued_at: Timestamp::from_micros(row.issued_at),
            rotated_at: Timestamp::from_micros(row.rotated_at),
            idle_expires_at: Timestamp::from_micros(row.idle_expires_at),
            absolute_expires_at: Timestamp::from_micros(row.absolute_expires_at),
            revoked_at: stored::optional_time(row.revoked_at),
        })
    }
}
