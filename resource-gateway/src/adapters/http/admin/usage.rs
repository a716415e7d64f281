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
use serde_json::{Map, Value, json};

use super::{
    super::AppState,
    Answer, Asked, csv,
    page::{self, Query, bad_token},
    problem::Problem,
    refuse, settle,
};
use crate::{
    application::{
        administer::{AdministerError, Page},
        documents::read_time,
        report_usage::{BudgetStatus, Permitted},
    },
    domain::{budget::Match, money::Nanos},
    ports::usage_reports::{Grouping, UsageFilter, UsagePlace, UsageRow, UsageSum},
};

/// Rows that an export reads at once.
const EXPORTED_AT_ONCE: u32 = 500;

const FILTERS: [&str; 14] = [
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
];

pub(super) async fn list(State(app): State<AppState>, request: Request) -> Response {
    let answer: Answer = async {
        let asked = Asked::read(&app, request).await?;
        let query = Query::read(&asked.head.uri, &FILTERS)?;
        let permitted = permit(&app, &asked, &query)?;
        let after = match query.page_token()? {
            None => None,
            Some(token) => Some(place(&token).ok_or_else(bad_token)?),
        };
        let limit = query.limit()?;
        if wants_csv(&query, &asked.head.headers)? {
            return Ok(export(app, permitted, after));
        }
        let rows = app.report_usage.list(&permitted, after.as_ref(), limit).await;
        let rows = rows.map_err(|error| Box::new(Problem::of(&app, error)))?;
        let items = rows.items.iter().map(item).collect();
        Ok(page::respond(items, rows.next.map(text).as_deref()))
    }
    .await;
    settle(answer)
}

pub(super) async fn summary(State(app): State<AppState>, request: Request) -> Response {
    let answer: Answer = async {
        let asked = Asked::read(&app, request).await?;
        let known: Vec<&str> = FILTERS.into_iter().chain(["group_by"]).collect();
        let query = Query::read(&asked.head.uri, &known)?;
        let permitted = permit(&app, &asked, &query)?;
        let by = groupings(&query)?;
        let skip = match query.page_token()? {
            None => 0,
            Some(token) => token.parse().map_err(|_| bad_token())?,
        };
        let limit = query.limit()?;
        if wants_csv(&query, &asked.head.headers)? {
            return Ok(export_sums(app, permitted, by, skip));
        }
        let sums = app.report_usage.sum(&permitted, &by, skip, limit).await;
        let sums = sums.map_err(|error| Box::new(Problem::of(&app, error)))?;
        let items = sums.items.iter().map(|sum| Value::Object(sum_item(sum, &by))).collect();
        let next = sums.next.map(|next| next.to_string());
        Ok(page::respond(items, next.as_deref()))
    }
    .await;
    settle(answer)
}

pub(super) async fn budget(State(app): State<AppState>, Path(name): Path<String>, request: Request) -> Response {
    let answer: Answer = async {
        let asked = Asked::read(&app, request).await?;
        let query = Query::read(&asked.head.uri, &[])?;
        let (after, limit) = (query.page_token()?, query.limit()?);
        let status = app
            .report_usage
            .budget(asked.by(), &name, after.as_deref(), limit)
            .await
            .map_err(|error| Box::new(Problem::of(&app, error)))?;
        let next = status.accounts.next.as_deref().map(page::token);
        let mut response = Json(budget_form(&status, next)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
    .await;
    settle(answer)
}

fn permit(app: &AppState, asked: &Asked, query: &Query) -> Result<Permitted, Box<Response>> {
    let filter = filter(query);
    // Who may not read learns nothing of what could be asked.
    let permitted = app.report_usage.permit(
        asked.by(),
        filter.as_ref().map_or_else(|_| UsageFilter::default(), Clone::clone),
    );
    let permitted = permitted.map_err(|error| Box::new(Problem::of(app, error)))?;
    filter?;
    Ok(permitted)
}

fn filter(query: &Query) -> Result<UsageFilter, Box<Response>> {
    let time = |name: &str| {
        let Some(text) = query.get(name) else { return Ok(None) };
        let moment = read_time(text);
        moment.map(Some).ok_or_else(|| {
            let detail = format!("{name} must be a time such as 2030-01-01T00:00:00Z, or a day such as 2030-01-01.");
            refuse(Problem::bad_request("invalid_query", detail))
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

fn groupings(query: &Query) -> Result<Vec<Grouping>, Box<Response>> {
    let text = query.get("group_by").unwrap_or("day");
    let mut by = Vec::new();
    // Sums are always by currency; naming it says nothing new.
    for word in text.split(',').filter(|word| *word != "currency" && !word.is_empty()) {
        let Some(grouping) = Grouping::parse(word) else {
            let known: Vec<_> = Grouping::ALL.iter().map(|grouping| grouping.as_str()).collect();
            let detail = format!("group_by must be a list of some of {}, currency.", known.join(", "));
            return Err(refuse(Problem::bad_request("invalid_query", detail)));
        };
        by.push(grouping);
    }
    Ok(by)
}

/// `format` goes before `Accept` (RFC 9110 §12.5.1).
fn wants_csv(query: &Query, headers: &HeaderMap) -> Result<bool, Box<Response>> {
    match query.get("format") {
        Some("csv") => return Ok(true),
        Some("json") => return Ok(false),
        Some(_) => {
            let detail = "format must be json or csv.";
            return Err(refuse(Problem::bad_request("invalid_query", detail)));
        }
        None => {}
    }
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
    Ok(wanted.is_some_and(|wanted| wanted.eq_ignore_ascii_case("text/csv")))
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

/// The columns of an export: those of the list, then what else is known of a row.
const COLUMNS: [&str; 26] = [
    "request_id",
    "time",
    "tenant",
    "client_id",
    "sub",
    "interface",
    "capability",
    "vendor",
    "model",
    "state",
    "stream",
    "input_tokens",
    "output_tokens",
    "cost",
    "currency",
    "estimated",
    "attempts",
    "duration_ms",
    "cached_input_tokens",
    "reasoning_tokens",
    "images",
    "audio_ms",
    "characters",
    "price",
    "access_key",
    "first_byte_ms",
];

fn push_row(line: &mut csv::Lines, row: &UsageRow) {
    line.text(&row.request_id);
    line.text(&row.time.to_rfc3339());
    line.optional_text(row.tenant.as_deref());
    line.text(&row.client_id);
    line.text(&row.sub);
    line.text(&row.interface);
    line.text(&row.capability);
    line.optional_text(row.vendor.as_deref());
    line.optional_text(row.model.as_deref());
    line.text(&row.state);
    line.value(row.stream);
    line.value(row.input_tokens);
    line.value(row.output_tokens);
    line.optional_value(row.cost.map(amount));
    line.optional_text(row.currency.as_deref());
    line.value(row.estimated);
    line.value(row.attempts);
    line.value(row.duration_ms);
    line.optional_value(row.cached_input_tokens);
    line.optional_value(row.reasoning_tokens);
    line.value(row.images);
    line.value(row.audio_ms);
    line.value(row.characters);
    line.optional_text(row.price.as_deref());
    line.optional_text(row.access_key.as_deref());
    line.optional_value(row.first_byte_ms);
    line.end();
}

fn sum_item(sum: &UsageSum, by: &[Grouping]) -> Map<String, Value> {
    let mut item = Map::new();
    for (grouping, value) in groups(sum, by) {
        item.insert(grouping.as_str().to_owned(), json!(value));
    }
    let rest = json!({
        "currency": sum.currency,
        "requests": sum.requests,
        "input_tokens": sum.input_tokens,
        "output_tokens": sum.output_tokens,
        "cached_input_tokens": sum.cached_input_tokens,
        "reasoning_tokens": sum.reasoning_tokens,
        "images": sum.images,
        "audio_ms": sum.audio_ms,
        "characters": sum.characters,
        "cost": amount(sum.cost),
        "estimated": sum.estimated,
        "unpriced": sum.unpriced,
    });
    if let Value::Object(rest) = rest {
        item.extend(rest);
    }
    item
}

const SUM_COLUMNS: [&str; 12] = [
    "currency",
    "requests",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "reasoning_tokens",
    "images",
    "audio_ms",
    "characters",
    "cost",
    "estimated",
    "unpriced",
];

fn push_sum(line: &mut csv::Lines, sum: &UsageSum, by: &[Grouping]) {
    for (_, value) in groups(sum, by) {
        line.optional_text(value.as_deref());
    }
    line.optional_text(sum.currency.as_deref());
    for number in [
        sum.requests,
        sum.input_tokens,
        sum.output_tokens,
        sum.cached_input_tokens,
        sum.reasoning_tokens,
        sum.images,
        sum.audio_ms,
        sum.characters,
    ] {
        line.value(number);
    }
    line.value(amount(sum.cost));
    line.value(sum.estimated);
    line.value(sum.unpriced);
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
    let head = csv::header(COLUMNS);
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
            push_row(&mut lines, row);
        }
        let state = next.map(|next| (app, permitted, Some(next)));
        Ok(Some((lines.into_bytes(), state)))
    });
    csv_response("usage.csv", head, Body::from_stream(rows))
}

fn export_sums(app: AppState, permitted: Permitted, by: Vec<Grouping>, skip: u32) -> Response {
    let groups = Grouping::ALL.into_iter().filter(|grouping| by.contains(grouping));
    let head = csv::header(groups.map(Grouping::as_str).chain(SUM_COLUMNS));
    let sums = stream::try_unfold(Some((app, permitted, by, skip)), |state| async move {
        let Some((app, permitted, by, skip)) = state else {
            return Ok::<_, AdministerError>(None);
        };
        let page = app.report_usage.sum(&permitted, &by, skip, EXPORTED_AT_ONCE).await;
        let Page { items, next } = page.inspect_err(told)?;
        let mut lines = csv::Lines::default();
        for sum in &items {
            push_sum(&mut lines, sum, &by);
        }
        let state = next.map(|next| (app, permitted, by, next));
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

fn text(place: UsagePlace) -> String {
    format!("{}.{}", place.time.as_micros(), place.request_id)
}

fn place(text: &str) -> Option<UsagePlace> {
    let (time, request_id) = text.split_once('.')?;
    Some(UsagePlace {
        time: service_kit::Timestamp::from_micros(time.parse().ok()?),
        request_id: request_id.to_owned(),
    })
}
