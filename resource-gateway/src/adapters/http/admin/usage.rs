//! `/admin/v1/usage`, its sums, and how it stands with budgets.

use axum::{
    Json,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::stream;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};

use super::{
    super::AppState,
    Answer, Asked, Refused, csv,
    page::{self, PAGE, Query, invalid, place_token},
};
use crate::{
    application::{
        administer::AdministerError,
        documents::read_time,
        page::Page,
        report_usage::{BudgetStatus, Permitted},
    },
    domain::{budget::Match, money::Nanos},
    ports::usage_reports::{Grouping, UsageFilter, UsagePlace, UsageRow, UsageSum},
};

/// Rows that an export reads at once.
const EXPORTED_AT_ONCE: u32 = 500;

const FILTERS: [&str; 16] = [
    "from",
    "to",
    "tenant",
    "client_id",
    "sub",
    "access_key",
    "interface",
    "capability",
    "vendor",
    "model",
    "state",
    "currency",
    "request_id",
    "format",
    "limit",
    "page_token",
];

pub(super) async fn list(State(app): State<AppState>, request: Request) -> Answer {
    let asked = Asked::read(&app, request, &FILTERS).await?;
    let permitted = permit(&asked)?;
    let after = asked.query.page_place()?;
    let after = after.map(|(time, request_id)| UsagePlace { time, request_id });
    if wants_csv(&asked)? {
        return Ok(export(app, permitted, after));
    }
    let rows = app
        .report_usage
        .list(&permitted, after.as_ref(), asked.query.limit()?)
        .await;
    let rows = rows.map_err(|error| asked.refuse(error))?;
    let items = rows.items.iter().map(item).collect();
    let next = rows.next.map(|place| place_token(place.time, &place.request_id));
    Ok(page::respond(items, next.as_deref()))
}

pub(super) async fn summary(State(app): State<AppState>, request: Request) -> Answer {
    let known: Vec<&str> = FILTERS.into_iter().chain(["group_by"]).collect();
    let asked = Asked::read(&app, request, &known).await?;
    let permitted = permit(&asked)?;
    let by = groupings(&asked.query)?;
    let after = asked.query.page_token()?;
    if wants_csv(&asked)? {
        return Ok(export_sums(app, permitted, by, after));
    }
    let limit = asked.query.limit()?;
    let sums = app.report_usage.sum(&permitted, &by, after.as_deref(), limit).await;
    let sums = sums.map_err(|error| asked.refuse(error))?;
    let items = sums.items.iter().map(|sum| Value::Object(sum_item(sum, &by))).collect();
    Ok(page::respond(items, sums.next.as_deref()))
}

pub(super) async fn budget(State(app): State<AppState>, Path(name): Path<String>, request: Request) -> Answer {
    let asked = Asked::read(&app, request, &PAGE).await?;
    let (after, limit) = (asked.query.page_token()?, asked.query.limit()?);
    let status = app
        .report_usage
        .budget(asked.by(), &name, after.as_deref(), limit)
        .await;
    let status = status.map_err(|error| asked.refuse(error))?;
    let next = status.accounts.next.as_deref().map(page::token);
    let mut response = Json(budget_form(&status, next)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What the webhooks of a budget are signed with.
pub(super) async fn notice_secret(State(app): State<AppState>, Path(name): Path<String>, request: Request) -> Answer {
    let asked = Asked::read(&app, request, &[]).await?;
    let secret = app.report_usage.notice_secret(asked.by(), &name).await;
    let secret = secret.map_err(|error| asked.refuse(error))?;
    let mut response = Json(json!({"secret": secret.expose_secret()})).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn permit(asked: &Asked) -> Result<Permitted, Refused> {
    let filter = filter(&asked.query);
    // Who may not read learns nothing of what could be asked.
    let readable = filter.as_ref().map_or_else(|_| UsageFilter::default(), Clone::clone);
    let permitted = asked.app.report_usage.permit(asked.by(), readable);
    let permitted = permitted.map_err(|error| asked.refuse(error))?;
    filter?;
    Ok(permitted)
}

fn filter(query: &Query) -> Result<UsageFilter, Refused> {
    let time = |name: &str| {
        let Some(text) = query.get(name) else { return Ok(None) };
        let moment = read_time(text);
        moment.map(Some).ok_or_else(|| {
            let detail = format!("{name} must be a time such as 2030-01-01T00:00:00Z, or a day such as 2030-01-01.");
            invalid(detail)
        })
    };
    let text = |name: &str| query.get(name).map(str::to_owned);
    Ok(UsageFilter {
        from: time("from")?,
        to: time("to")?,
        tenant: text("tenant"),
        client_id: text("client_id"),
        sub: text("sub"),
        access_key: text("access_key"),
        interface: text("interface"),
        capability: text("capability"),
        vendor: text("vendor"),
        model: text("model"),
        state: text("state"),
        currency: text("currency"),
        request_id: text("request_id"),
    })
}

fn groupings(query: &Query) -> Result<Vec<Grouping>, Refused> {
    let text = query.get("group_by").unwrap_or("day");
    let mut by = Vec::new();
    // Sums are always by currency; naming it says nothing new.
    for word in text.split(',').filter(|word| *word != "currency" && !word.is_empty()) {
        let Some(grouping) = Grouping::parse(word) else {
            let known: Vec<_> = Grouping::ALL.iter().map(|grouping| grouping.as_str()).collect();
            let known = known.join(", ");
            return Err(invalid(format!(
                "group_by must be a list of some of {known}, currency."
            )));
        };
        by.push(grouping);
    }
    Ok(by)
}

/// Whether the answer is to be a file, which is never cut: then there is no `limit`.
fn wants_csv(asked: &Asked) -> Result<bool, Refused> {
    let wanted = match asked.query.get("format") {
        Some("csv") => true,
        Some("json") => false,
        Some(_) => return Err(invalid("format must be json or csv.")),
        None => accepts_csv(&asked.head.headers),
    };
    if wanted && asked.query.get("limit").is_some() {
        return Err(invalid("limit is for pages of JSON; a CSV file holds all rows."));
    }
    Ok(wanted)
}

/// `format` goes before `Accept` (RFC 9110 §12.5.1).
fn accepts_csv(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(header::ACCEPT).iter();
    let types = accept
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut types = types.map(|media_type| media_type.split(';').next().unwrap_or_default().trim());
    // Whoever takes JSON as well gets that.
    let wanted = types.find(|media_type| {
        ["text/csv", "application/json", "*/*"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(media_type))
    });
    wanted.is_some_and(|wanted| wanted.eq_ignore_ascii_case("text/csv"))
}

fn amount(nanos: i64) -> String {
    Nanos(nanos).to_string()
}

fn item(row: &UsageRow) -> Value {
    json!({
        "request_id": row.request_id,
        "time": row.time.to_rfc3339(),
        "tenant": row.tenant,
        "client_id": row.client_id,
        "sub": row.sub,
        "interface": row.interface,
        "capability": row.capability,
        "vendor": row.vendor,
        "model": row.model,
        "state": row.state,
        "stream": row.stream,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cost": row.cost.map(amount),
        "currency": row.currency,
        "estimated": row.estimated,
        "attempts": row.attempts,
        "duration_ms": row.duration_ms,
    })
}

/// A column of an export: its name, and what of a row stands in it.
type Column<T> = (&'static str, fn(&mut csv::Lines, &T));

/// Those of the list, then what else is known of a row.
const COLUMNS: [Column<UsageRow>; 26] = [
    ("request_id", |line, row| line.text(&row.request_id)),
    ("time", |line, row| line.text(&row.time.to_rfc3339())),
    ("tenant", |line, row| line.optional_text(row.tenant.as_deref())),
    ("client_id", |line, row| line.text(&row.client_id)),
    ("sub", |line, row| line.text(&row.sub)),
    ("interface", |line, row| line.text(&row.interface)),
    ("capability", |line, row| line.text(&row.capability)),
    ("vendor", |line, row| line.optional_text(row.vendor.as_deref())),
    ("model", |line, row| line.optional_text(row.model.as_deref())),
    ("state", |line, row| line.text(&row.state)),
    ("stream", |line, row| line.value(row.stream)),
    ("input_tokens", |line, row| line.value(row.input_tokens)),
    ("output_tokens", |line, row| line.value(row.output_tokens)),
    ("cost", |line, row| line.optional_value(row.cost.map(amount))),
    ("currency", |line, row| line.optional_text(row.currency.as_deref())),
    ("estimated", |line, row| line.value(row.estimated)),
    ("attempts", |line, row| line.value(row.attempts)),
    ("duration_ms", |line, row| line.value(row.duration_ms)),
    ("cached_input_tokens", |line, row| {
        line.optional_value(row.cached_input_tokens);
    }),
    ("reasoning_tokens", |line, row| {
        line.optional_value(row.reasoning_tokens);
    }),
    ("images", |line, row| line.value(row.images)),
    ("audio_ms", |line, row| line.value(row.audio_ms)),
    ("characters", |line, row| line.value(row.characters)),
    ("price", |line, row| line.optional_text(row.price.as_deref())),
    ("access_key", |line, row| line.optional_text(row.access_key.as_deref())),
    ("first_byte_ms", |line, row| line.optional_value(row.first_byte_ms)),
];

fn sum_item(sum: &UsageSum, by: &[Grouping]) -> Map<String, Value> {
    let mut item = Map::new();
    for (grouping, value) in groups(sum, by) {
        item.insert(grouping.as_str().to_owned(), json!(value));
    }
    item.insert("currency".to_owned(), json!(sum.currency));
    for (name, value) in FIGURES {
        let value = match value {
            Figure::Count(count) => json!(count(sum)),
            Figure::Amount(nanos) => json!(amount(nanos(sum))),
        };
        item.insert(name.to_owned(), value);
    }
    item
}

/// What is summed up.
enum Figure {
    Count(fn(&UsageSum) -> i64),
    Amount(fn(&UsageSum) -> i64),
}

/// In the order of an export's columns.
const FIGURES: [(&str, Figure); 11] = [
    ("requests", Figure::Count(|sum| sum.requests)),
    ("input_tokens", Figure::Count(|sum| sum.input_tokens)),
    ("output_tokens", Figure::Count(|sum| sum.output_tokens)),
    ("cached_input_tokens", Figure::Count(|sum| sum.cached_input_tokens)),
    ("reasoning_tokens", Figure::Count(|sum| sum.reasoning_tokens)),
    ("images", Figure::Count(|sum| sum.images)),
    ("audio_ms", Figure::Count(|sum| sum.audio_ms)),
    ("characters", Figure::Count(|sum| sum.characters)),
    ("cost", Figure::Amount(|sum| sum.cost)),
    ("estimated", Figure::Count(|sum| sum.estimated)),
    ("unpriced", Figure::Count(|sum| sum.unpriced)),
];

fn push_sum(line: &mut csv::Lines, sum: &UsageSum, by: &[Grouping]) {
    for (_, value) in groups(sum, by) {
        line.optional_text(value.as_deref());
    }
    line.optional_text(sum.currency.as_deref());
    for (_, figure) in FIGURES {
        match figure {
            Figure::Count(count) => line.value(count(sum)),
            Figure::Amount(nanos) => line.value(amount(nanos(sum))),
        }
    }
    line.end();
}

/// The members of a sum by which it is grouped, in one order whatever the request's.
fn groups(sum: &UsageSum, by: &[Grouping]) -> Vec<(Grouping, Option<String>)> {
    // RFC 3339 begins with the day.
    let day = sum.day.map(|day| day.to_rfc3339().chars().take(10).collect());
    let values = std::iter::once(day).chain(sum.names.iter().cloned());
    let all = Grouping::ALL.into_iter().zip(values);
    all.filter(|(grouping, _)| by.contains(grouping)).collect()
}

/// All rows as CSV, page by page, without ever holding more than one page.
fn export(app: AppState, permitted: Permitted, after: Option<UsagePlace>) -> Response {
    let head = csv::header(COLUMNS.map(|(name, _)| name));
    let rows = stream::try_unfold(Some((app, permitted, after)), |state| async move {
        let Some((app, permitted, after)) = state else {
            return Ok::<_, AdministerError>(None);
        };
        let page = app
            .report_usage
            .list(&permitted, after.as_ref(), EXPORTED_AT_ONCE)
            .await;
        let Page { items, next } = page.inspect_err(told)?;
        let mut lines = csv::Lines::default();
        for row in &items {
            for (_, push) in COLUMNS {
                push(&mut lines, row);
            }
            lines.end();
        }
        let state = next.map(|next| (app, permitted, Some(next)));
        Ok(Some((lines.into_bytes(), state)))
    });
    csv_response("usage.csv", head, Body::from_stream(rows))
}

fn export_sums(app: AppState, permitted: Permitted, by: Vec<Grouping>, after: Option<String>) -> Response {
    let groups = Grouping::ALL.into_iter().filter(|grouping| by.contains(grouping));
    let names = FIGURES.map(|(name, _)| name);
    let head = csv::header(groups.map(Grouping::as_str).chain(["currency"]).chain(names));
    let sums = stream::try_unfold(Some((app, permitted, by, after)), |state| async move {
        let Some((app, permitted, by, after)) = state else {
            return Ok::<_, AdministerError>(None);
        };
        let page = app
            .report_usage
            .sum(&permitted, &by, after.as_deref(), EXPORTED_AT_ONCE);
        let page = page.await;
        let Page { items, next } = page.inspect_err(told)?;
        let mut lines = csv::Lines::default();
        for sum in &items {
            push_sum(&mut lines, sum, &by);
        }
        let state = next.map(|next| (app, permitted, by, Some(next)));
        Ok(Some((lines.into_bytes(), state)))
    });
    csv_response("usage-summary.csv", head, Body::from_stream(sums))
}

/// The stream breaks off where the database went away: a file that is cut is no file that ends early.
fn told(error: &AdministerError) {
    tracing::error!(%error, "an export of usage broke off");
}

fn csv_response(name: &'static str, head: Bytes, rows: Body) -> Response {
    use futures_util::StreamExt as _;
    let head = stream::once(async move { Ok::<_, axum::Error>(head) });
    let mut response = Body::from_stream(head.chain(rows.into_data_stream())).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/csv; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(disposition) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

fn budget_form(status: &BudgetStatus, next: Option<String>) -> Value {
    let each: Vec<&str> = status
        .budget
        .selector
        .members()
        .into_iter()
        .filter(|(_, member)| matches!(member, Some(Match::Each)))
        .map(|(name, _)| name)
        .collect();
    let accounts = status.accounts.items.iter().map(|account| {
        json!({
            "key": account.account.key,
            "spent": amount(account.row.spent),
            "held": amount(account.row.held),
            "remaining": status.remaining(account).to_string(),
        })
    });
    let accounts: Vec<Value> = accounts.collect();
    let mut form = json!({
        "name": status.budget.name,
        "amount": status.money.amount.to_string(),
        "currency": status.money.currency,
        "period": status.money.period.as_str(),
        "period_start": status.period_start.to_rfc3339(),
        "period_end": status.period_end.map(service_kit::Timestamp::to_rfc3339),
        "hard": status.money.firmness.is_hard(),
        "each": each,
        "accounts": accounts,
        "next_page_token": next,
    });
    if let (true, Value::Object(form)) = (each.is_empty(), &mut form) {
        // A budget that is one for all has one account, which may not have been opened.
        let only = status.accounts.items.first();
        let row = only.map(|account| account.row).unwrap_or_default();
        let remaining = only.map_or(status.money.amount, |account| status.remaining(account));
        form.insert("spent".to_owned(), amount(row.spent).into());
        form.insert("held".to_owned(), amount(row.held).into());
        form.insert("remaining".to_owned(), remaining.to_string().into());
    }
    form
}
