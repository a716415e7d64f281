//! The shape of documents: `[[vendor]]` and `[[interface]]`.

use std::{path::Path, time::Duration};

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::table::{Faults, Table};
use crate::{
    domain::{
        ids::{InterfaceName, ModelName, StrategyName, VendorName, check_name},
        interface::{Capability, FieldAction, FieldRule, Interface, JsonPointer, LogPolicy, Route, Timeouts},
        vendor::{Address, BaseUrl, Credential, Pool, PoolStrategy, SecretKey, Switch, Vendor},
    },
    ports::config_source::SecretSource,
};

/// An hour: longer waits are a mistake in the unit.
const LONGEST_MS: u32 = 3_600_000;

/// What a document says about a vendor's secret.
pub(super) enum SecretChange {
    /// Nothing: what is stored stays.
    Keep,
    Set(SecretKey),
}

/// An entry `[[vendor]]`, read as far as it can be read.
pub(super) struct VendorEntry {
    /// As in faults: `vendor[0]`.
    pub(super) path: String,
    /// Its secret is in `secret`.
    pub(super) vendor: Vendor,
    pub(super) secret: SecretChange,
}

/// An entry `[[interface]]`, read as far as it can be read.
pub(super) struct InterfaceEntry {
    pub(super) path: String,
    pub(super) interface: Interface,
}

/// All entries of a document.
#[derive(Default)]
pub(super) struct Document {
    pub(super) vendors: Vec<VendorEntry>,
    pub(super) interfaces: Vec<InterfaceEntry>,
}

/// Where secrets come from that a document only points at.
pub(super) struct SecretPlace<'a> {
    pub(super) source: &'a dyn SecretSource,
    /// Relative paths begin here: the document's folder.
    pub(super) base: &'a Path,
}

/// Reads a TOML text. Notes everything that is wrong; entries that are partly wrong stand in the result with substitutes in the
/// wrong places, so that the rest of them can be judged, too.
pub(super) fn read(text: &str, secrets: &SecretPlace<'_>, faults: &mut Faults) -> Document {
    let members = match toml::from_str::<toml::Table>(text) {
        Ok(table) => json_table(table, "", faults),
        Err(error) => {
            // Only the message and the place: the parser's own text quotes the line, which may hold a secret.
            let at = error.span().map_or(0, |span| span.start);
            faults.add(line_and_column(text, at), error.message());
            return Document::default();
        }
    };
    let mut root = Table::root(members);
    let mut document = Document::default();
    for (at, table) in root.tables("vendor", faults).into_iter().enumerate() {
        if let Some(table) = table {
            let entry = vendor(table, at, secrets, faults);
            document.vendors.push(entry);
        }
    }
    for (at, table) in root.tables("interface", faults).into_iter().enumerate() {
        if let Some(table) = table {
            let entry = interface(table, at, faults);
            document.interfaces.push(entry);
        }
    }
    root.refuse(&["price", "quota", "budget"], faults);
    root.finish("vendor, interface", faults);
    document
}

fn line_and_column(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}")
}

fn vendor(mut table: Table, at: usize, secrets: &SecretPlace<'_>, faults: &mut Faults) -> VendorEntry {
    let name = name(&mut table, at, faults);
    let strategy = table.required_text("strategy", faults).unwrap_or_default();
    let enabled = table.flag("enabled", true, faults);
    let base_url = table
        .text("base_url", faults)
        .and_then(|text| base_url(&table.at("base_url"), &text, faults));
    let credential = Credential {
        app_id: table.optional_text("app_id", faults),
        secret_id: table.optional_text("secret_id", faults),
        secret_key: SecretKey::Absent,
    };
    let secret = secret(&mut table, secrets, faults);
    let pool = table
        .table("pool", faults)
        .map_or_else(Pool::default, |table| pool(table, faults));
    let path = table.path().to_owned();
    table.finish(
        "name, strategy, enabled, base_url, app_id, secret_id, secret_key, secret_key_env, secret_key_file, pool",
        faults,
    );
    let vendor = Vendor {
        name: VendorName::new(name),
        strategy: StrategyName::new(strategy),
        enabled: enabled.into(),
        base_url,
        credential,
        pool,
    };
    VendorEntry { path, vendor, secret }
}

/// The entry's name, or one that no entry can have.
fn name(table: &mut Table, at: usize, faults: &mut Faults) -> String {
    let name = table.required_text("name", faults).unwrap_or_default();
    if name.is_empty() {
        return format!("?{at}");
    }
    if let Err(error) = check_name(&name) {
        faults.add(table.at("name"), error.to_string());
        return format!("?{at}");
    }
    name
}

fn base_url(path: &str, text: &str, faults: &mut Faults) -> Option<BaseUrl> {
    BaseUrl::parse(text)
        .map_err(|error| faults.add(path.to_owned(), error.to_string()))
        .ok()
}

/// `secret_key`, `secret_key_env` or `secret_key_file`; an empty `secret_key` takes the stored one away.
fn secret(table: &mut Table, secrets: &SecretPlace<'_>, faults: &mut Faults) -> SecretChange {
    let given: Vec<_> = ["secret_key", "secret_key_env", "secret_key_file"]
        .into_iter()
        .filter_map(|name| table.take(name).map(|value| (name, value)))
        .collect();
    if let [_, (second, _), ..] = given.as_slice() {
        faults.add(
            table.at(second),
            "only one of secret_key, secret_key_env and secret_key_file may be given",
        );
        return SecretChange::Keep;
    }
    let Some((name, value)) = given.into_iter().next() else {
        return SecretChange::Keep;
    };
    let path = table.at(name);
    let Value::String(text) = value else {
        faults.add(path, "must be text");
        return SecretChange::Keep;
    };
    // Faults do not repeat the text: whoever mixed up the three keys wrote the secret itself there.
    let found = match name {
        "secret_key" if text.is_empty() => return SecretChange::Set(SecretKey::Absent),
        "secret_key" => Ok(SecretString::from(text)),
        "secret_key_env" => secrets
            .source
            .find_variable(&text)
            .ok_or_else(|| "names an environment variable that is not set".to_owned()),
        _ => secrets
            .source
            .read_file(&secrets.base.join(&text))
            .map_err(|why| format!("names a file that cannot be read: {why}")),
    };
    match found.and_then(usable_secret) {
        Ok(secret) => SecretChange::Set(SecretKey::Present(secret)),
        Err(reason) => {
            faults.add(path, reason);
            SecretChange::Keep
        }
    }
}

/// Secrets go into headers, where a line break or another control character cannot stand.
fn usable_secret(secret: SecretString) -> Result<SecretString, String> {
    let text = secrecy::ExposeSecret::expose_secret(&secret);
    if text.trim().is_empty() {
        return Err("the secret is empty".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("the secret holds a line break or another control character".to_owned());
    }
    Ok(secret)
}

fn pool(mut table: Table, faults: &mut Faults) -> Pool {
    let strategy = table.text("strategy", faults).and_then(|word| {
        let strategy = PoolStrategy::parse(&word);
        if strategy.is_none() {
            let known: Vec<_> = PoolStrategy::ALL.iter().map(|s| s.as_str()).collect();
            faults.add(
                table.at("strategy"),
                format!("unknown strategy {word:?}; known are {}", known.join(", ")),
            );
        }
        strategy
    });
    let mut addresses = Vec::new();
    for entry in table.tables("addresses", faults).into_iter().flatten() {
        addresses.extend(address(entry, faults));
    }
    discovery(&mut table, faults);
    table.refuse(&["hash_key"], faults);
    table.finish("strategy, addresses, discovery", faults);
    Pool { strategy, addresses }
}

fn address(mut table: Table, faults: &mut Faults) -> Option<Address> {
    let text = table.required_text("url", faults);
    let url = text.and_then(|text| base_url(&table.at("url"), &text, faults));
    let weight = table.number("weight", 0..=1_000_000, faults).unwrap_or(1);
    table.finish("url, weight", faults);
    url.map(|url| Address { url, weight })
}

/// The list in the document is the only discovery of this version, and naming it says nothing new.
fn discovery(table: &mut Table, faults: &mut Faults) {
    let Some(word) = table.text("discovery", faults) else {
        return;
    };
    match word.as_str() {
        "static" => {}
        "dns" | "etcd" => faults.add(
            table.at("discovery"),
            format!("{word:?} is not supported by this version"),
        ),
        _ => faults.add(
            table.at("discovery"),
            format!("unknown discovery {word:?}; known is static"),
        ),
    }
}

fn interface(mut table: Table, at: usize, faults: &mut Faults) -> InterfaceEntry {
    let name = name(&mut table, at, faults);
    let word = table.required_text("capability", faults);
    let capability = word.and_then(|word| capability(&word, &table.at("capability"), faults));
    let enabled = table.flag("enabled", true, faults);
    let routes = table.tables("routes", faults).into_iter();
    let routes = routes.map(|entry| route(entry, &name, faults)).collect();
    let fields = table.tables("fields", faults).into_iter().enumerate();
    let fields = fields.map(|(at, entry)| field(entry, at, faults)).collect();
    let timeouts = table
        .table("timeouts_ms", faults)
        .map_or_else(Timeouts::default, |table| timeouts(table, faults));
    let log = table
        .table("log", faults)
        .map_or_else(LogPolicy::default, |table| log(table, faults));
    table.refuse(
        &[
            "limits",
            "min_confidence",
            "max_attempts",
            "cache_ttl_s",
            "price",
            "budget",
        ],
        faults,
    );
    let path = table.path().to_owned();
    table.finish("name, capability, enabled, routes, fields, timeouts_ms, log", faults);
    let interface = Interface {
        name: InterfaceName::new(name),
        // Which vendors fit is not judged when this is a substitute.
        capability: capability.unwrap_or(Capability::Raw),
        enabled: enabled.into(),
        routes,
        fields,
        timeouts,
        log,
    };
    InterfaceEntry { path, interface }
}

fn capability(word: &str, path: &str, faults: &mut Faults) -> Option<Capability> {
    let capability = Capability::parse(word);
    if capability.is_none() {
        let known: Vec<_> = Capability::ALL.iter().map(|c| c.as_str()).collect();
        faults.add(
            path.to_owned(),
            format!("unknown capability {word:?}; known are {}", known.join(", ")),
        );
    }
    capability
}

fn route(entry: Option<Table>, interface: &str, faults: &mut Faults) -> Route {
    let substitute = Route {
        vendor: VendorName::new(""),
        model: ModelName::new(interface),
        weight: 1,
        priority: 0,
    };
    let Some(mut table) = entry else {
        return substitute;
    };
    let vendor = table
        .required_text("vendor", faults)
        .map_or(substitute.vendor, VendorName::new);
    // A self-hosted model is often named like the interface that serves it.
    let model = table
        .optional_text("model", faults)
        .map_or(substitute.model, ModelName::new);
    let weight = table
        .number("weight", 0..=1_000_000, faults)
        .unwrap_or(substitute.weight);
    let priority = table
        .number("priority", 0..=1_000_000, faults)
        .unwrap_or(substitute.priority);
    table.finish("vendor, model, weight, priority", faults);
    Route {
        vendor,
        model,
        weight,
        priority,
    }
}

/// A rule, with substitutes for what cannot be read: a field that no request has, and a rule that does nothing to it.
fn field(entry: Option<Table>, at: usize, faults: &mut Faults) -> FieldRule {
    let substitute = || JsonPointer::of_member(&format!("?{at}"));
    let Some(mut table) = entry else {
        return FieldRule {
            pointer: substitute(),
            action: FieldAction::Forbid,
            enabled: Switch::Off,
        };
    };
    let name = table.required_text("name", faults);
    let pointer = name.and_then(|name| {
        let pointer = JsonPointer::parse(&name);
        pointer
            .map_err(|error| faults.add(table.at("name"), error.to_string()))
            .ok()
    });
    let enabled = table.flag("enabled", true, faults);
    let action = action(&mut table, faults);
    table.finish("name, value, enabled, allow_override, forbid", faults);
    FieldRule {
        pointer: pointer.unwrap_or_else(substitute),
        action: action.unwrap_or(FieldAction::Forbid),
        enabled: enabled.into(),
    }
}

fn action(table: &mut Table, faults: &mut Faults) -> Option<FieldAction> {
    let value = table.take("value");
    let allow_override = table.take("allow_override");
    let forbidden = table.flag("forbid", false, faults);
    let (place, reason) = match (forbidden, value, allow_override) {
        (true, None, None) => return Some(FieldAction::Forbid),
        (false, Some(value), None | Some(Value::Bool(false))) => return Some(FieldAction::Force(value)),
        (false, Some(value), Some(Value::Bool(true))) => return Some(FieldAction::Fill(value)),
        (true, Some(_), _) => ("value", "a forbidden field has no value"),
        (true, None, Some(_)) => ("allow_override", "a forbidden field has nothing to override"),
        (false, None, _) => ("value", "is missing (or forbid = true)"),
        (false, Some(_), Some(_)) => ("allow_override", "must be true or false"),
    };
    faults.add(table.at(place), reason);
    None
}

fn timeouts(mut table: Table, faults: &mut Faults) -> Timeouts {
    let default = Timeouts::default();
    let mut time = |name: &str, default: Duration| {
        let millis = table.number(name, 1..=LONGEST_MS, faults);
        millis.map_or(default, |millis| Duration::from_millis(u64::from(millis)))
    };
    let timeouts = Timeouts {
        connect: time("connect", default.connect),
        first_byte: time("first_byte", default.first_byte),
        idle: time("idle", default.idle),
        total: time("total", default.total),
    };
    table.finish("connect, first_byte, idle, total", faults);
    timeouts
}

fn log(mut table: Table, faults: &mut Faults) -> LogPolicy {
    let metadata = table
        .flag("metadata", LogPolicy::default().metadata.is_on(), faults)
        .into();
    table.refuse(&["payload", "image_base64"], faults);
    table.finish("metadata", faults);
    LogPolicy { metadata }
}

/// TOML as JSON. A date or a number that JSON lacks is noted.
fn json_table(table: toml::Table, path: &str, faults: &mut Faults) -> Map<String, Value> {
    let mut members = Map::new();
    for (name, value) in table {
        let at = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        if let Some(value) = json(value, &at, faults) {
            members.insert(name, value);
        }
    }
    members
}

fn json(value: toml::Value, path: &str, faults: &mut Faults) -> Option<Value> {
    match value {
        toml::Value::String(text) => Some(Value::String(text)),
        toml::Value::Integer(number) => Some(number.into()),
        toml::Value::Boolean(flag) => Some(Value::Bool(flag)),
        toml::Value::Float(number) => {
            let number = serde_json::Number::from_f64(number).map(Value::Number);
            if number.is_none() {
                faults.add(path.to_owned(), "is not a finite number");
            }
            number
        }
        toml::Value::Datetime(_) => {
            faults.add(path.to_owned(), "is a date without quotes, which JSON does not have");
            None
        }
        toml::Value::Array(values) => {
            let values = values.into_iter().enumerate();
            let values = values.map(|(at, value)| json(value, &format!("{path}[{at}]"), faults));
            // A substitute keeps the places of those behind it.
            Some(values.map(|value| value.unwrap_or(Value::Null)).collect())
        }
        toml::Value::Table(table) => Some(Value::Object(json_table(table, path, faults))),
    }
}
