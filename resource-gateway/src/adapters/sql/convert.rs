//! Rows to domain values and back.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use secrecy::SecretString;
use serde_json::{Map, Value};
use sqlx::FromRow;
use token_keys::MasterKey;

use crate::{
    application::documents::{Faults, Table, read_interface_policy, read_log_policy, read_vendor_policy},
    domain::{
        config_row::{RowId, RowKind},
        ids::{InterfaceName, ModelName, StrategyName, VendorName},
        interface::{Capability, FieldAction, FieldRule, Interface, JsonPointer, LogPolicy, Route, Timeouts},
        snapshot::UnreadableRow,
        vendor::{Address, BaseUrl, Credential, Pool, PoolStrategy, SecretKey, Vendor},
    },
    ports::config_source::{StoreError, StoreResult},
};

#[derive(FromRow)]
pub(super) struct VendorRow {
    name: String,
    strategy: String,
    enabled: bool,
    base_url: Option<String>,
    app_id: Option<String>,
    secret_id: Option<String>,
    secret_key: Option<Vec<u8>>,
    policy: String,
    pool_strategy: Option<String>,
}

#[derive(FromRow)]
pub(super) struct AddressRow {
    vendor: String,
    url: String,
    weight: i64,
}

#[derive(FromRow)]
pub(super) struct InterfaceRow {
    name: String,
    capability: String,
    enabled: bool,
    connect_ms: i64,
    first_byte_ms: i64,
    idle_ms: i64,
    total_ms: i64,
    log_metadata: bool,
    policy: String,
}

#[derive(FromRow)]
pub(super) struct RouteRow {
    interface: String,
    vendor: String,
    model: String,
    weight: i64,
    priority: i64,
}

#[derive(FromRow)]
pub(super) struct FieldRow {
    interface: String,
    name: String,
    value: Option<String>,
    enabled: bool,
    allow_override: bool,
    forbidden: bool,
}

/// What a vendor's secret is sealed for, so that it opens in no other row.
pub(super) fn seal_place(vendor: &str) -> String {
    format!("vendor/secret_key/{vendor}")
}

/// A row that does not read back: which and where, not what stands there.
fn corrupt<'a>(table: &'static str, column: &'static str, row: &'a str) -> impl FnOnce() -> StoreError + use<'a> {
    move || StoreError::Corrupt {
        table,
        column,
        row: row.to_owned(),
    }
}

fn count(value: i64, table: &'static str, column: &'static str, row: &str) -> StoreResult<u32> {
    u32::try_from(value).ok().ok_or_else(corrupt(table, column, row))
}

/// Rows of a kind: as they were read, and those that do not read back.
#[derive(Debug)]
pub(super) struct Readings<T> {
    pub(super) rows: Vec<T>,
    pub(super) unreadable: Vec<UnreadableRow>,
}

impl<T> Readings<T> {
    /// # Errors
    /// Of rows that were not read at all.
    pub(super) fn of(
        kind: RowKind,
        read: impl Iterator<Item = (String, SecretKey, StoreResult<T>)>,
    ) -> StoreResult<Self> {
        let (mut rows, mut unreadable) = (Vec::new(), Vec::new());
        for (name, secret, row) in read {
            match row {
                Ok(row) => rows.push(row),
                Err(StoreError::Corrupt { table, column, .. }) => unreadable.push(UnreadableRow {
                    id: RowId::new(kind, name),
                    table,
                    column,
                    secret,
                }),
                Err(error @ (StoreError::Unavailable(_) | StoreError::Failed(_))) => return Err(error),
            }
        }
        Ok(Self { rows, unreadable })
    }
}

pub(super) fn vendors(
    rows: Vec<VendorRow>,
    addresses: Vec<AddressRow>,
    keys: &MasterKey,
) -> StoreResult<Readings<Vendor>> {
    let mut pools: HashMap<String, Vec<AddressRow>> = HashMap::new();
    for row in addresses {
        pools.entry(row.vendor.clone()).or_default().push(row);
    }
    let vendors = rows.into_iter().map(|mut row| {
        let (name, addresses) = (row.name.clone(), pools.remove(&row.name).unwrap_or_default());
        let sealed = row.secret_key.take();
        let secret = sealed.map_or(SecretKey::Absent, |sealed| unseal(&row.name, &sealed, keys));
        (name, secret.clone(), vendor(row, addresses, secret))
    });
    Readings::of(RowKind::Vendor, vendors)
}

fn address(row: &AddressRow) -> StoreResult<Address> {
    let bad = corrupt("pool_address", "url", &row.vendor);
    let url = BaseUrl::parse(&row.url).ok().ok_or_else(bad)?;
    let weight = count(row.weight, "pool_address", "weight", &row.vendor)?;
    Ok(Address { url, weight })
}

fn vendor(row: VendorRow, addresses: Vec<AddressRow>, secret_key: SecretKey) -> StoreResult<Vendor> {
    let addresses: StoreResult<Vec<Address>> = addresses.iter().map(address).collect();
    let name = VendorName::new(row.name.as_str());
    let base_url = match row.base_url {
        None => None,
        Some(url) => {
            let bad = corrupt("vendor", "base_url", &row.name);
            Some(BaseUrl::parse(&url).ok().ok_or_else(bad)?)
        }
    };
    let strategy = match row.pool_strategy {
        None => None,
        Some(word) => Some(PoolStrategy::parse(&word).ok_or_else(corrupt("pool", "strategy", &row.name))?),
    };
    let mut vendor = Vendor {
        strategy: StrategyName::new(row.strategy),
        enabled: row.enabled.into(),
        base_url,
        credential: Credential {
            app_id: row.app_id,
            secret_id: row.secret_id,
            secret_key,
        },
        options: BTreeMap::new(),
        pool: Pool {
            strategy,
            addresses: addresses?,
            ..Pool::default()
        },
        name,
    };
    policy(&row.policy, |table, faults| {
        read_vendor_policy(&mut vendor, table, faults);
    })
    .ok_or_else(corrupt("vendor", "policy", &row.name))?;
    Ok(vendor)
}

fn unseal(name: &str, sealed: &[u8], keys: &MasterKey) -> SecretKey {
    let Ok(plain) = keys.unseal(&seal_place(name), sealed) else {
        return SecretKey::Unreadable;
    };
    match std::str::from_utf8(&plain) {
        Ok(text) => SecretKey::Present(SecretString::from(text.to_owned())),
        Err(_) => SecretKey::Unreadable,
    }
}

pub(super) fn interfaces(
    rows: Vec<InterfaceRow>,
    routes: Vec<RouteRow>,
    fields: Vec<FieldRow>,
) -> StoreResult<Readings<Interface>> {
    let mut routes_of: HashMap<String, Vec<RouteRow>> = HashMap::new();
    for row in routes {
        routes_of.entry(row.interface.clone()).or_default().push(row);
    }
    let mut fields_of: HashMap<String, Vec<FieldRow>> = HashMap::new();
    for row in fields {
        fields_of.entry(row.interface.clone()).or_default().push(row);
    }
    let interfaces = rows.into_iter().map(|row| {
        let routes = routes_of.remove(&row.name).unwrap_or_default();
        let fields = fields_of.remove(&row.name).unwrap_or_default();
        let interface = interface(&row, routes, &fields);
        (row.name, SecretKey::Absent, interface)
    });
    Readings::of(RowKind::Interface, interfaces)
}

fn route(row: RouteRow) -> StoreResult<Route> {
    Ok(Route {
        weight: count(row.weight, "interface_route", "weight", &row.interface)?,
        priority: count(row.priority, "interface_route", "priority", &row.interface)?,
        vendor: VendorName::new(row.vendor),
        model: ModelName::new(row.model),
    })
}

fn interface(row: &InterfaceRow, routes: Vec<RouteRow>, fields: &[FieldRow]) -> StoreResult<Interface> {
    let ms = |value: i64, column| {
        let millis = u64::try_from(value)
            .ok()
            .ok_or_else(corrupt("interface", column, &row.name))?;
        Ok::<_, StoreError>(Duration::from_millis(millis))
    };
    let bad = corrupt("interface", "capability", &row.name);
    let bad_policy = corrupt("interface", "policy", &row.name);
    let (policy, log) = policy(&row.policy, |table, faults| {
        // Rows of older versions have one switch, in a column of its own.
        let older = LogPolicy {
            metadata: row.log_metadata.into(),
            ..LogPolicy::default()
        };
        let log = table
            .table("log", faults)
            .map_or(older, |log| read_log_policy(log, faults));
        (read_interface_policy(table, faults), log)
    })
    .ok_or_else(bad_policy)?;
    Ok(Interface {
        name: InterfaceName::new(row.name.as_str()),
        capability: Capability::parse(&row.capability).ok_or_else(bad)?,
        enabled: row.enabled.into(),
        routes: routes.into_iter().map(route).collect::<StoreResult<_>>()?,
        fields: fields.iter().map(field).collect::<StoreResult<_>>()?,
        timeouts: Timeouts {
            connect: ms(row.connect_ms, "connect_ms")?,
            first_byte: ms(row.first_byte_ms, "first_byte_ms")?,
            idle: ms(row.idle_ms, "idle_ms")?,
            total: ms(row.total_ms, "total_ms")?,
        },
        log,
        policy,
    })
}

/// Reads a `policy` column by the code that reads documents. A member that is not known is a fault, too: a newer version wrote
/// it, and leaving it out would leave out what it demands.
fn policy<T>(column: &str, read: impl FnOnce(&mut Table, &mut Faults) -> T) -> Option<T> {
    let mut table = Table::root(serde_json::from_str(column).ok()?);
    let mut faults = Faults::default();
    let policy = read(&mut table, &mut faults);
    table.finish(&mut faults);
    faults.is_empty().then_some(policy)
}

/// A policy for its column.
pub(super) fn policy_column(members: Map<String, Value>) -> String {
    Value::Object(members).to_string()
}

fn field(row: &FieldRow) -> StoreResult<FieldRule> {
    let bad_name = corrupt("interface_field", "name", &row.interface);
    let bad_value = corrupt("interface_field", "value", &row.interface);
    let value = row.value.as_deref().map(serde_json::from_str);
    let action = match (row.forbidden, value.transpose(), row.allow_override) {
        (true, Ok(None), _) => FieldAction::Forbid,
        (false, Ok(Some(value)), true) => FieldAction::Fill(value),
        (false, Ok(Some(value)), false) => FieldAction::Force(value),
        (true, Ok(Some(_)), _) | (false, Ok(None), _) | (_, Err(_), _) => return Err(bad_value()),
    };
    Ok(FieldRule {
        pointer: JsonPointer::parse(&row.name).ok().ok_or_else(bad_name)?,
        action,
        enabled: row.enabled.into(),
    })
}

/// Columns `value`, `allow_override` and `forbidden` of a rule.
pub(super) fn field_columns(action: &FieldAction) -> (Option<String>, bool, bool) {
    match action {
        FieldAction::Fill(value) => (Some(value.to_string()), true, false),
        FieldAction::Force(value) => (Some(value.to_string()), false, false),
        FieldAction::Forbid => (None, false, true),
    }
}

/// A time for its column; document times are far below the limit.
pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
