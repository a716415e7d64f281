//! Usage and budgets under the eyes of administrators.

use std::sync::Arc;

use secrecy::SecretString;
use service_kit::{Clock, Timestamp};

use super::{
    administer::{Administer, AdministerError, By},
    budgets::NoticeSecrets,
    change_config::ChangeError,
    page::Page,
};
use crate::{
    domain::{
        budget::{Allowance, Budget},
        config_row::{Row, RowId, RowKind},
        money::Nanos,
    },
    ports::{
        budget::{AccountStatus, BudgetLedger},
        usage_reports::{Grouping, UsageFilter, UsagePlace, UsageReports, UsageRow, UsageSum},
    },
};

/// The permission to read usage.
const READ_USAGE: &str = "usage:read";

/// The use cases.
#[derive(Debug, Clone)]
pub struct ReportUsage {
    pub administer: Administer,
    pub reports: Arc<dyn UsageReports>,
    pub ledger: Arc<dyn BudgetLedger>,
    pub notice_secrets: Arc<NoticeSecrets>,
    pub clock: Arc<dyn Clock>,
}

/// What an administrator may see of what it asked for.
#[derive(Debug, Clone)]
pub struct Permitted(Option<UsageFilter>);

/// How it stands with a budget.
#[derive(Debug, Clone)]
pub struct BudgetStatus {
    pub budget: Budget,
    pub money: Allowance,
    pub period_start: Timestamp,
    /// None for a period without an end.
    pub period_end: Option<Timestamp>,
    /// One for each of those whom the budget is for, as far as they have spent anything in the period.
    pub accounts: Page<AccountStatus, String>,
}

impl BudgetStatus {
    /// What nobody has spent or holds of an account.
    pub fn remaining(&self, account: &AccountStatus) -> Nanos {
        Nanos(account.row.left(self.money.amount.0).max(0))
    }
}

fn missing(name: &str) -> AdministerError {
    ChangeError::Missing(RowId::new(RowKind::Budget, name)).into()
}

impl ReportUsage {
    /// Narrows a filter to the rows that the caller may see: those of its tenant, or all.
    ///
    /// # Errors
    /// [`AdministerError`].
    pub fn permit(&self, by: By<'_>, mut filter: UsageFilter) -> Result<Permitted, AdministerError> {
        let administrator = self.administer.admit(by, READ_USAGE)?;
        if let Some(own) = administrator.only_tenant() {
            if filter.tenant.as_ref().is_some_and(|asked| asked != own.as_str()) {
                // Nothing of another tenant is there for it.
                return Ok(Permitted(None));
            }
            filter.tenant = Some(own.as_str().to_owned());
        }
        Ok(Permitted(Some(filter)))
    }

    /// Rows, the newest first.
    ///
    /// # Errors
    /// [`AdministerError`].
    pub async fn list(
        &self,
        permitted: &Permitted,
        after: Option<&UsagePlace>,
        limit: u32,
    ) -> Result<Page<UsageRow, UsagePlace>, AdministerError> {
        let Some(filter) = &permitted.0 else {
            return Ok(Page::empty());
        };
        let rows = self.reports.list_usage(filter, after, limit.saturating_add(1)).await?;
        Ok(Page::cut(rows, limit, |row| UsagePlace {
            time: row.time,
            request_id: row.request_id.clone(),
        }))
    }

    /// Sums.
    ///
    /// # Errors
    /// [`AdministerError`].
    pub async fn sum(
        &self,
        permitted: &Permitted,
        by: &[Grouping],
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<UsageSum, String>, AdministerError> {
        let Some(filter) = &permitted.0 else {
            return Ok(Page::empty());
        };
        let more = limit.saturating_add(1);
        let sums = self.reports.sum_usage(filter, by, after, more).await?;
        Ok(Page::cut(sums, limit, |sum| sum.place.clone()))
    }

    async fn find_budget(&self, by: By<'_>, permission: &str, name: &str) -> Result<Budget, AdministerError> {
        let administrator = self.administer.admit(by, permission)?;
        let id = RowId::new(RowKind::Budget, name);
        let row = self.administer.store.load_rows().await?.find(&id);
        match row.filter(|row| administrator.reaches(Some(row))) {
            Some(Row::Budget(budget)) => Ok(budget),
            _ => Err(missing(name)),
        }
    }

    /// What the news of a budget are signed with, for those who may say where they go.
    ///
    /// # Errors
    /// [`AdministerError`]; a budget out of reach is missing, and so is the secret of one whose news go nowhere.
    pub async fn notice_secret(&self, by: By<'_>, name: &str) -> Result<SecretString, AdministerError> {
        let budget = self.find_budget(by, "budget:write", name).await?;
        let told = budget.notify_url().is_some();
        let secret = self.notice_secrets.show(&budget).filter(|_| told);
        secret.ok_or_else(|| missing(name))
    }

    /// How it stands with a budget in the period that holds now.
    ///
    /// # Errors
    /// [`AdministerError`]; a budget out of reach is missing, and so is the money of one that has none.
    pub async fn budget(
        &self,
        by: By<'_>,
        name: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<BudgetStatus, AdministerError> {
        let budget = self.find_budget(by, "budget:read", name).await?;
        let money = budget.money.clone().ok_or_else(|| missing(name))?;
        let now = self.clock.now();
        let period_start = money.period.start(now);
        let more = limit.saturating_add(1);
        let accounts = self.ledger.accounts_of(name, period_start, after, more).await?;
        Ok(BudgetStatus {
            period_end: money.period.end(now),
            period_start,
            money,
            budget,
            accounts: Page::cut(accounts, limit, |status| status.account.key.clone()),
        })
    }
}
