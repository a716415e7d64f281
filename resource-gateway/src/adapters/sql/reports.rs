//! Usage rows for reports.

use async_trait::async_trait;
use service_kit::Timestamp;
use sql_kit::{Arg, Db, Sql, args, sql};
use sqlx::FromRow;

use crate::ports::{
    config_source::StoreResult,
    usage_reports::{Grouping, UsageFilter, UsagePlace, UsageReports, UsageRow, UsageSum},
};

macro_rules! filter {
    () => {
        " WHERE time >= ? AND time < ? AND (? OR tenant = ?) AND (? OR client_id = ?) AND (? OR sub = ?) \
         AND (? OR access_key = ?) AND (? OR interface = ?) AND (? OR capability = ?) AND (? OR vendor = ?) \
         AND (? OR model = ?) AND (? OR state = ?) AND (? OR currency = ?) AND (? OR request_id = ?)"
    };
}

const LIST: Sql = sql!(concat!(
    "SELECT request_id, time, tenant, client_id, sub, interface, capability, vendor, model, state, stream, input_tokens, \
     output_tokens, cached_input_tokens, reasoning_tokens, images, audio_ms, characters, cost, currency, price, access_key, \
     estimated, attempts, duration_ms, first_byte_ms FROM usage_record",
    filter!(),
    " AND (time < ? OR (time = ? AND request_id < ?)) ORDER BY time DESC, request_id DESC LIMIT ?"
));
/// The place of a row's group in the order of groups: all that is grouped by, one behind the other. A control character that no name
/// holds keeps them apart, so that no two groups have one place.
macro_rules! place {
    () => {
        place!(
            "CAST(time / 86400000000 AS TEXT)" "tenant" "client_id" "sub" "access_key" "interface" "capability" "vendor" "model"
            "state"
        )
    };
    ($($column:literal)+) => {
        concat!(
            "(",
            $("CASE WHEN ? THEN COALESCE('=' || ", $column, ", '') ELSE '' END || '\u{1f}' || ",)+
            "COALESCE('=' || currency, ''))"
        )
    };
}

const SUM: Sql = sql!(concat!(
    "SELECT ",
    place!(),
    " AS place, CASE WHEN ? THEN time / 86400000000 END AS day, CASE WHEN ? THEN tenant END AS tenant, \
     CASE WHEN ? THEN client_id END AS client_id, CASE WHEN ? THEN sub END AS sub, \
     CASE WHEN ? THEN access_key END AS access_key, CASE WHEN ? THEN interface END AS interface, \
     CASE WHEN ? THEN capability END AS capability, CASE WHEN ? THEN vendor END AS vendor, \
     CASE WHEN ? THEN model END AS model, CASE WHEN ? THEN state END AS state, currency, \
     COUNT(*) AS requests, CAST(SUM(CASE WHEN estimated THEN 1 ELSE 0 END) AS BIGINT) AS estimated, \
     CAST(SUM(CASE WHEN cost IS NULL THEN 1 ELSE 0 END) AS BIGINT) AS unpriced, \
     CAST(SUM(input_tokens) AS BIGINT) AS input_tokens, CAST(SUM(output_tokens) AS BIGINT) AS output_tokens, \
     CAST(COALESCE(SUM(cached_input_tokens), 0) AS BIGINT) AS cached_input_tokens, \
     CAST(COALESCE(SUM(reasoning_tokens), 0) AS BIGINT) AS reasoning_tokens, CAST(SUM(images) AS BIGINT) AS images, \
     CAST(SUM(audio_ms) AS BIGINT) AS audio_ms, CAST(SUM(characters) AS BIGINT) AS characters, \
     CAST(COALESCE(SUM(cost), 0) AS BIGINT) AS cost FROM usage_record",
    filter!(),
    " AND ",
    place!(),
    " > ? GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 ORDER BY 1 LIMIT ?"
));
const DELETE: Sql = sql!(
    "DELETE FROM usage_record WHERE request_id IN \
     (SELECT request_id FROM usage_record WHERE time < ? ORDER BY time, request_id LIMIT ?)"
);

const DAY: i64 = 86_400_000_000;

/// The table `usage_record`, for reading.
#[derive(Debug, Clone)]
pub struct SqlReports(Db);

impl SqlReports {
    pub fn new(db: Db) -> Self {
        Self(db)
    }
}

fn conditions(filter: &UsageFilter) -> Vec<Arg> {
    let from = filter.from.map_or(i64::MIN, Timestamp::as_micros);
    let to = filter.to.map_or(i64::MAX, Timestamp::as_micros);
    let mut args = args![from, to].to_vec();
    for member in [
        &filter.tenant,
        &filter.client_id,
        &filter.sub,
        &filter.access_key,
        &filter.interface,
        &filter.capability,
        &filter.vendor,
        &filter.model,
        &filter.state,
        &filter.currency,
        &filter.request_id,
    ] {
        args.extend(args![member.is_none(), member.clone()]);
    }
    args
}

#[derive(FromRow)]
struct Row {
    request_id: String,
    time: i64,
    tenant: Option<String>,
    client_id: String,
    sub: String,
    interface: String,
    capability: String,
    vendor: Option<String>,
    model: Option<String>,
    state: String,
    stream: bool,
    input_tokens: i64,
    output_tokens: i64,
    cached_input_tokens: Option<i64>,
    reasoning_tokens: Option<i64>,
    images: i64,
    audio_ms: i64,
    characters: i64,
    cost: Option<i64>,
    currency: Option<String>,
    price: Option<String>,
    access_key: Option<String>,
    estimated: bool,
    attempts: i64,
    duration_ms: i64,
    first_byte_ms: Option<i64>,
}

impl From<Row> for UsageRow {
    fn from(row: Row) -> Self {
        Self {
            request_id: row.request_id,
            time: Timestamp::from_micros(row.time),
            tenant: row.tenant,
            client_id: row.client_id,
            sub: row.sub,
            interface: row.interface,
            capability: row.capability,
            vendor: row.vendor,
            model: row.model,
            state: row.state,
            stream: row.stream,
            input_tokens: row.input_tokens,
            output_tokens: row.output_tokens,
            cached_input_tokens: row.cached_input_tokens,
            reasoning_tokens: row.reasoning_tokens,
            images: row.images,
            audio_ms: row.audio_ms,
            characters: row.characters,
            cost: row.cost,
            currency: row.currency,
            price: row.price,
            access_key: row.access_key,
            estimated: row.estimated,
            attempts: row.attempts,
            duration_ms: row.duration_ms,
            first_byte_ms: row.first_byte_ms,
        }
    }
}

#[derive(FromRow)]
struct SumRow {
    place: String,
    day: Option<i64>,
    tenant: Option<String>,
    client_id: Option<String>,
    sub: Option<String>,
    access_key: Option<String>,
    interface: Option<String>,
    capability: Option<String>,
    vendor: Option<String>,
    model: Option<String>,
    state: Option<String>,
    currency: Option<String>,
    requests: i64,
    estimated: i64,
    unpriced: i64,
    input_tokens: i64,
    output_tokens: i64,
    cached_input_tokens: i64,
    reasoning_tokens: i64,
    images: i64,
    audio_ms: i64,
    characters: i64,
    cost: i64,
}

impl From<SumRow> for UsageSum {
    fn from(row: SumRow) -> Self {
        Self {
            place: row.place,
            day: row.day.map(|day| Timestamp::from_micros(day * DAY)),
            names: [
                row.tenant,
                row.client_id,
                row.sub,
                row.access_key,
                row.interface,
                row.capability,
                row.vendor,
                row.model,
                row.state,
            ],
            currency: row.currency,
            requests: row.requests,
            estimated: row.estimated,
            unpriced: row.unpriced,
            input_tokens: row.input_tokens,
            output_tokens: row.output_tokens,
            cached_input_tokens: row.cached_input_tokens,
            reasoning_tokens: row.reasoning_tokens,
            images: row.images,
            audio_ms: row.audio_ms,
            characters: row.characters,
            cost: row.cost,
        }
    }
}

#[async_trait]
impl UsageReports for SqlReports {
    async fn list_usage(
        &self,
        filter: &UsageFilter,
        after: Option<&UsagePlace>,
        limit: u32,
    ) -> StoreResult<Vec<UsageRow>> {
        let (time, request_id) = after.map_or((i64::MAX, ""), |place| (place.time.as_micros(), &place.request_id));
        let mut args = conditions(filter);
        args.extend(args![time, time, request_id, limit]);
        let rows: Vec<Row> = self.0.all(LIST, args).await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    async fn sum_usage(
        &self,
        filter: &UsageFilter,
        by: &[Grouping],
        after: Option<&str>,
        limit: u32,
    ) -> StoreResult<Vec<UsageSum>> {
        let flags: Vec<Arg> = Grouping::ALL
            .into_iter()
            .flat_map(|grouping| args![by.contains(&grouping)])
            .collect();
        let mut args = [flags.as_slice(), flags.as_slice()].concat();
        args.extend(conditions(filter));
        args.extend(flags);
        // Every place has separators, so all of them are behind an empty text.
        args.extend(args![after.unwrap_or_default(), limit]);
        let rows: Vec<SumRow> = self.0.all(SUM, args).await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    async fn delete_usage(&self, before: Timestamp, limit: u32) -> StoreResult<u64> {
        Ok(self.0.execute(DELETE, args![before.as_micros(), limit]).await?)
    }
}
