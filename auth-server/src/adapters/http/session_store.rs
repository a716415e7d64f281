//! tower-sessions' store over our own port: the browser's cookie holds a random id, the database a digest of it and the contents.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use service_kit::Timestamp;
use sha2::{Digest, Sha256};
use tower_sessions::{
    SessionStore,
    cookie::time::OffsetDateTime,
    session::{Id, Record},
    session_store::{Error, Result},
};

use crate::ports::store::BrowserSessions;
use service_kit::Clock;

#[derive(Clone)]
pub(crate) struct PortSessionStore {
    pub(crate) sessions: Arc<dyn BrowserSessions>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl fmt::Debug for PortSessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortSessionStore").finish_non_exhaustive()
    }
}

/// A stolen database must not hold anything that can be put into a cookie.
fn key(id: &Id) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(Sha256::digest(id.0.to_be_bytes()))
}

fn backend(error: impl fmt::Display) -> Error {
    Error::Backend(error.to_string())
}

impl PortSessionStore {
    /// By our own clock: the record's date comes from the system's, which the rows are not read by.
    fn expiry(&self) -> Timestamp {
        self.clock.now() + super::pages::BROWSER_SESSION
    }
}

#[async_trait]
impl SessionStore for PortSessionStore {
    async fn create(&self, record: &mut Record) -> Result<()> {
        let contents = serde_json::to_string(&record.data).map_err(|e| Error::Encode(e.to_string()))?;
        loop {
            let created = self
                .sessions
                .create_browser_session(&key(&record.id), &contents, self.expiry())
                .await;
            if created.map_err(backend)? {
                return Ok(());
            }
            record.id = Id::default();
        }
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let contents = serde_json::to_string(&record.data).map_err(|e| Error::Encode(e.to_string()))?;
        self.sessions
            .save_browser_session(&key(&record.id), &contents, self.expiry())
            .await
            .map_err(backend)
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let now = self.clock.now();
        let Some(contents) = self
            .sessions
            .load_browser_session(&key(id), now)
            .await
            .map_err(backend)?
        else {
            return Ok(None);
        };
        let data = serde_json::from_str(&contents).map_err(|e| Error::Decode(e.to_string()))?;
        let expiry_date =
            OffsetDateTime::from_unix_timestamp(now.as_seconds()).map_err(backend)? + super::pages::BROWSER_SESSION;
        Ok(Some(Record {
            id: *id,
            data,
            expiry_date,
        }))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        self.sessions.delete_browser_session(&key(id)).await.map_err(backend)
    }
}
