//! Sectors that know people by a pairwise `sub`.

use async_trait::async_trait;
use sql_kit::{Sql, args, sql};

use super::SqlStore;
use super::dialect::INSERT_SECTOR;
use crate::domain::ids::UserId;
use crate::ports::store::{Sectors, StoreResult};

const EXISTS: Sql = sql!("SELECT sector FROM subject_sector WHERE user_sub = ? AND sector = ?");
pub(super) const OF_USER: Sql = sql!("SELECT sector FROM subject_sector WHERE user_sub = ? ORDER BY sector");

#[async_trait]
impl Sectors for SqlStore {
    async fn note_sector(&self, user: &UserId, sector: &str) -> StoreResult<bool> {
        let (user, none) = (user.as_str(), None::<String>);
        let args = args![sector, user, none.clone(), none];
        if self.db.execute(INSERT_SECTOR, args).await? == 1 {
            return Ok(true);
        }
        // It is there already, or the account may have nothing new.
        let known: Option<(String,)> = self.db.optional(EXISTS, args![user, sector]).await?;
        Ok(known.is_some())
    }
}
