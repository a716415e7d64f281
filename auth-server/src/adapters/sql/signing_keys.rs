//! Signing keys.

use async_trait::async_trait;
use oauth_wire::SigningAlg;
use service_kit::Timestamp;
use sql_kit::{Sql, args, sql};

use super::stored::{self, Place};
use super::{SqlStore, SqlTx};
use crate::domain::ids::KeyId;
use crate::domain::signing_key::{KeyStage, SigningKey};
use crate::ports::store::{KeyWrites, SigningKeys, StoreError, StoreResult};

const LIST: Sql = sql!(
    "SELECT kid, alg, stage, public_jwk, sealed_private, created_at, activated_at, retire_at FROM signing_key ORDER BY created_at, kid"
);
const INSERT: Sql = sql!(
    "INSERT INTO signing_key (kid, alg, stage, slot, public_jwk, sealed_private, created_at, activated_at, retire_at) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
);
/// Null appended to a text is null: a retiring key takes no slot.
const MOVE: Sql = sql!(
    "UPDATE signing_key SET stage = ?, slot = alg || ?, activated_at = COALESCE(?, activated_at), retire_at = ? \
     WHERE kid = ? AND stage = ?"
);

#[derive(sqlx::FromRow)]
struct KeyRow {
    kid: String,
    alg: String,
    stage: String,
    public_jwk: String,
    sealed_private: Vec<u8>,
    created_at: i64,
    activated_at: Option<i64>,
    retire_at: Option<i64>,
}

#[async_trait]
impl SigningKeys for SqlStore {
    async fn list_keys(&self) -> StoreResult<Vec<SigningKey>> {
        let rows: Vec<KeyRow> = self.db.all(LIST, args![]).await?;
        rows.into_iter().map(SigningKey::try_from).collect()
    }
}

#[async_trait]
impl KeyWrites for SqlTx {
    async fn insert_key(&mut self, key: &SigningKey) -> StoreResult<()> {
        let args = args![
            key.kid.as_str(),
            key.alg.as_str(),
            key.stage.as_str(),
            slot(key.stage).map(|suffix| format!("{}{suffix}", key.alg.as_str())),
            stored::json(&key.public_jwk)?,
            key.sealed_private.as_slice(),
            key.created_at.as_micros(),
            key.activated_at.map(Timestamp::as_micros),
            key.retire_at.map(Timestamp::as_micros),
        ];
        self.tx.execute(INSERT, args).await?;
        Ok(())
    }

    async fn move_key(&mut self, kid: &KeyId, from: KeyStage, to: KeyStage, at: Timestamp) -> StoreResult<bool> {
        let at_if = |stage| (to == stage).then(|| at.as_micros());
        let (activated_at, retire_at) = (at_if(KeyStage::Current), at_if(KeyStage::Retiring));
        let args = args![
            to.as_str(),
            slot(to),
            activated_at,
            retire_at,
            kid.as_str(),
            from.as_str()
        ];
        Ok(self.tx.execute(MOVE, args).await? == 1)
    }
}

/// What follows the algorithm in the unique slot of a stage that holds one key.
fn slot(stage: KeyStage) -> Option<&'static str> {
    match stage {
        KeyStage::Next => Some("/next"),
        KeyStage::Current => Some("/current"),
        KeyStage::Retiring => None,
    }
}

impl TryFrom<KeyRow> for SigningKey {
    type Error = StoreError;

    fn try_from(row: KeyRow) -> StoreResult<Self> {
        let at = |column| Place("signing_key", column);
        Ok(Self {
            kid: KeyId::new(row.kid),
            alg: SigningAlg::from_wire(&row.alg).ok_or_else(|| at("alg").corrupt())?,
            stage: KeyStage::from_stored(&row.stage).ok_or_else(|| at("stage").corrupt())?,
            public_jwk: at("public_jwk").json(&row.public_jwk)?,
            sealed_private: row.sealed_private,
            created_at: Timestamp::from_micros(row.created_at),
            activated_at: stored::optional_time(row.activated_at),
            retire_at: stored::optional_time(row.retire_at),
        })
    }
}
