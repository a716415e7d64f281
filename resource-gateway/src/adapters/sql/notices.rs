//! The outbox of notices in SQL.

use async_trait::async_trait;
use service_kit::Timestamp;
use sql_kit::args;
use sqlx::FromRow;

use super::{SqlLedger, statements_notices as statements};
use crate::{
    domain::{
        ids::BudgetName,
        job::WebhookState,
        money::{Currency, Nanos},
    },
    ports::{
        config_source::{StoreError, StoreResult},
        jobs::Told,
        notices::{DueNotice, NoticeOutbox},
    },
};

#[derive(FromRow)]
struct NoticeRow {
    budget_key: String,
    period_start: i64,
    share: i64,
    budget: String,
    spent: i64,
    amount: i64,
    currency: String,
    time: i64,
    attempts: i64,
}

impl NoticeRow {
    fn read(self) -> StoreResult<DueNotice> {
        let corrupt = |column| StoreError::Corrupt {
            table: "budget_notice",
            column,
            row: self.budget_key.clone(),
        };
        Ok(DueNotice {
            share: u32::try_from(self.share).map_err(|_| corrupt("share"))?,
            currency: Currency::parse(&self.currency).map_err(|_| corrupt("currency"))?,
            period: Timestamp::from_micros(self.period_start),
            budget: BudgetName::new(self.budget),
            spent: Nanos(self.spent),
            amount: Nanos(self.amount),
            at: Timestamp::from_micros(self.time),
            attempts: self.attempts,
            key: self.budget_key,
        })
    }
}

#[async_trait]
impl NoticeOutbox for SqlLedger {
    async fn claim_notice(&self, now: Timestamp, until: Timestamp) -> StoreResult<Option<DueNotice>> {
        let args = args![until.as_micros(), now.as_micros(), now.as_micros()];
        let row: Option<NoticeRow> = self.0.optional(statements::CLAIM_NOTICE, args).await?;
        row.map(NoticeRow::read).transpose()
    }

    async fn note_notice(&self, notice: &DueNotice, told: Told) -> StoreResult<bool> {
        let (state, due) = match told {
            Told::Delivered => (WebhookState::Delivered, None),
            Told::Dead => (WebhookState::Dead, None),
            Told::Again(at) => (WebhookState::Pending, Some(at.as_micros())),
        };
        let args = args![
            state.as_str(),
            due,
            notice.key.as_str(),
            notice.period.as_micros(),
            notice.share,
            notice.attempts
        ];
        Ok(self.0.execute(statements::NOTE_NOTICE, args).await? == 1)
    }
}
