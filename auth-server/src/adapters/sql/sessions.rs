//! Single sign-on sessions, consents, and the contents of browser sessions.

use async_trait::async_trait;
use service_kit::Timestamp;
use sql_kit::{Arg, Sql, args, sql};

use super::SqlStore;
use super::dialect::INSERT_SESSION;
use super::stored::{self, Place};
use crate::domain::ids::{ClientId, SessionId, TenantId, UserId};
use crate::domain::session::{Consent, Session};
use crate::domain::user::PasswordHash;
use crate::ports::store::{BrowserSessions, Consents, Sessions, StoreError, StoreResult};

macro_rules! session {
    () => {
        "SELECT s.sid, s.user_sub, s.tenant, s.auth_time, s.last_seen_at, s.expires_at, s.user_agent, s.address \
         FROM session s JOIN users u ON u.sub = s.user_sub AND u.status = 'active' \
         JOIN tenant t ON t.id = u.tenant AND t.enabled "
    };
}

const LIVE: Sql = sql!(concat!(session!(), "WHERE s.sid = ? AND s.ends_at > ?"));
const LIVE_OF: Sql = sql!(concat!(
    session!(),
    "WHERE s.user_sub = ? AND s.ends_at > ? ORDER BY s.auth_time DESC, s.sid LIMIT 100"
));
const RENEW: Sql = sql!(
    "UPDATE session SET auth_time = ?, last_seen_at = ?, expires_at = ?, ends_at = ? \
     WHERE sid = ? AND ended_at IS NULL AND ends_at > ? AND EXISTS (SELECT 1 FROM users u \
     JOIN tenant t ON t.id = u.tenant AND t.enabled \
     WHERE u.sub = session.user_sub AND u.status = 'active' AND u.password_hash = ?)"
);
/// Late writers lose: of two requests at once the later moment stays.
const TOUCH: Sql = sql!("UPDATE session SET last_seen_at = ? WHERE sid = ? AND ended_at IS NULL AND last_seen_at < ?");

/// Takes the moment three times and the sid. An expired session ended when it expired.
pub(super) const END: Sql = sql!(
    "UPDATE session SET ended_at = ?, ends_at = CASE WHEN ends_at < ? THEN ends_at ELSE ? END \
     WHERE sid = ? AND ended_at IS NULL"
);
/// Takes the moment twice, the person, the moment and the sid to keep (empty: none).
pub(super) const END_ALL_OF: Sql = sql!(
    "UPDATE session SET ended_at = ?, ends_at = ? \
     WHERE user_sub = ? AND ended_at IS NULL AND ends_at > ? AND sid <> ? RETURNING sid"
);

const CONSENT: Sql =
    sql!("SELECT user_sub, client_id, scope, claims, granted_at FROM consent WHERE user_sub = ? AND client_id = ?");
const CONSENTS: Sql = sql!(
    "SELECT user_sub, client_id, scope, claims, granted_at FROM consent WHERE user_sub = ? ORDER BY client_id LIMIT 200"
);
pub(super) const SAVE_CONSENT: Sql = sql!(
    "INSERT INTO consent (user_sub, client_id, scope, claims, granted_at) VALUES (?, ?, ?, ?, ?) \
     ON CONFLICT (user_sub, client_id) DO UPDATE SET scope = excluded.scope, claims = excluded.claims, \
     granted_at = excluded.granted_at"
);
pub(super) const DELETE_CONSENT: Sql = sql!("DELETE FROM consent WHERE user_sub = ? AND client_id = ?");

const CREATE_BROWSER: Sql =
    sql!("INSERT INTO browser_session (id, contents, expires_at) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING");
const SAVE_BROWSER: Sql = sql!(
    "INSERT INTO browser_session (id, contents, expires_at) VALUES (?, ?, ?) \
     ON CONFLICT (id) DO UPDATE SET contents = excluded.contents, expires_at = excluded.expires_at"
);
const LOAD_BROWSER: Sql = sql!("SELECT contents FROM browser_session WHERE id = ? AND expires_at > ?");
const DELETE_BROWSER: Sql = sql!("DELETE FROM browser_session WHERE id = ?");

#[derive(sqlx::FromRow)]
struct SessionRow {
    sid: String,
    user_sub: String,
    tenant: String,
    auth_time: i64,
    last_seen_at: i64,
    expires_at: i64,
    user_agent: String,
    address: String,
}

#[derive(sqlx::FromRow)]
struct ConsentRow {
    user_sub: String,
    client_id: String,
    scope: String,
    claims: String,
    granted_at: i64,
}

#[async_trait]
impl Sessions for SqlStore {
    async fn insert_session(&self, session: &Session, verified: &PasswordHash) -> StoreResult<bool> {
        let expires_at = session.expires_at.as_micros();
        let args = args![
            session.sid.as_str(),
            session.user.as_str(),
            session.tenant.as_str(),
            session.auth_time.as_micros(),
            session.last_seen_at.as_micros(),
            expires_at,
            session.user_agent.as_str(),
            session.address.as_str(),
            expires_at,
            session.user.as_str(),
            verified.0.as_str(),
            verified.0.as_str(),
        ];
        Ok(self.db.execute(INSERT_SESSION, args).await? == 1)
    }

    async fn find_live_session(&self, sid: &SessionId, now: Timestamp) -> StoreResult<Option<Session>> {
        let row: Option<SessionRow> = self.db.optional(LIVE, args![sid.as_str(), now.as_micros()]).await?;
        Ok(row.map(Session::from))
    }

    async fn live_sessions_of(&self, user: &UserId, now: Timestamp) -> StoreResult<Vec<Session>> {
        let rows: Vec<SessionRow> = self.db.all(LIVE_OF, args![user.as_str(), now.as_micros()]).await?;
        Ok(rows.into_iter().map(Session::from).collect())
    }

    async fn renew_session(
        &self,
        sid: &SessionId,
        verified: &PasswordHash,
        auth_time: Timestamp,
        expires_at: Timestamp,
    ) -> StoreResult<bool> {
        let (at, end) = (auth_time.as_micros(), expires_at.as_micros());
        let args = args![at, at, end, end, sid.as_str(), at, verified.0.as_str()];
        Ok(self.db.execute(RENEW, args).await? == 1)
    }

    async fn touch_session(&self, sid: &SessionId, at: Timestamp) -> StoreResult<()> {
        let at = at.as_micros();
        self.db.execute(TOUCH, args![at, sid.as_str(), at]).await?;
        Ok(())
    }
}

#[async_trait]
impl Consents for SqlStore {
    async fn find_consent(&self, user: &UserId, client: &ClientId) -> StoreResult<Option<Consent>> {
        let row: Option<ConsentRow> = self.db.optional(CONSENT, args![user.as_str(), client.as_str()]).await?;
        row.map(Consent::try_from).transpose()
    }

    async fn save_consent(&self, consent: &Consent) -> StoreResult<()> {
        self.db.execute(SAVE_CONSENT, consent_values(consent)?).await?;
        Ok(())
    }

    async fn consents_of(&self, user: &UserId) -> StoreResult<Vec<Consent>> {
        let rows: Vec<ConsentRow> = self.db.all(CONSENTS, args![user.as_str()]).await?;
        rows.into_iter().map(Consent::try_from).collect()
    }
}

/// What [`SAVE_CONSENT`] takes.
pub(super) fn consent_values(consent: &Consent) -> StoreResult<[Arg; 5]> {
    Ok(args![
        consent.user.as_str(),
        consent.client.as_str(),
        consent.scope.to_string(),
        stored::json(&consent.claims)?,
        consent.granted_at.as_micros(),
    ])
}

#[async_trait]
impl BrowserSessions for SqlStore {
    async fn create_browser_session(&self, key: &str, contents: &str, expires_at: Timestamp) -> StoreResult<bool> {
        Ok(self
            .db
            .execute(CREATE_BROWSER, args![key, contents, expires_at.as_micros()])
            .await?
            == 1)
    }

    async fn save_browser_session(&self, key: &str, contents: &str, expires_at: Timestamp) -> StoreResult<()> {
        self.db
            .execute(SAVE_BROWSER, args![key, contents, expires_at.as_micros()])
            .await?;
        Ok(())
    }

    async fn load_browser_session(&self, key: &str, now: Timestamp) -> StoreResult<Option<String>> {
        let row: Option<(String,)> = self.db.optional(LOAD_BROWSER, args![key, now.as_micros()]).await?;
        Ok(row.map(|(contents,)| contents))
    }

    async fn delete_browser_session(&self, key: &str) -> StoreResult<()> {
        self.db.execute(DELETE_BROWSER, args![key]).await?;
        Ok(())
    }
}

impl From<SessionRow> for Session {
    fn from(row: SessionRow) -> Self {
        Self {
            sid: SessionId::new(row.sid),
            user: UserId::new(row.user_sub),
            tenant: TenantId::new(row.tenant),
            auth_time: Timestamp::from_micros(row.auth_time),
            last_seen_at: Timestamp::from_micros(row.last_seen_at),
            expires_at: Timestamp::from_micros(row.expires_at),
            user_agent: row.user_agent,
            address: row.address,
        }
    }
}

impl TryFrom<ConsentRow> for Consent {
    type Error = StoreError;

    fn try_from(row: ConsentRow) -> StoreResult<Self> {
        Ok(Self {
            user: UserId::new(row.user_sub),
            client: ClientId::new(row.client_id),
            scope: Place("consent", "scope").scope(&row.scope)?,
            claims: Place("consent", "claims").json(&row.claims)?,
            granted_at: Timestamp::from_micros(row.granted_at),
        })
    }
}
