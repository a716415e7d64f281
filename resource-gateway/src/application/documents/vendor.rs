//! `[[vendor]]`.

use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::{Entry, Faults, Place, SecretChange, SecretPlace, Table, name, options, pool_policy, read_pool_policy};
use crate::domain::{
    config_row::Row,
    ids::{StrategyName, VendorName},
    vendor::{Address, BaseUrl, Credential, Pool, PoolStrategy, SecretKey, Vendor},
};

pub(super) fn read(mut table: Table, substitute: &str, secrets: SecretPlace<'_>, faults: &mut Faults) -> Entry {
    let name = name(&mut table, substitute, faults);
    let strategy = table.required_text("strategy", faults).unwrap_or_default();
    let enabled = table.flag("enabled", true, faults);
    let base_url = table
        .text("base_url", faults)
        .and_then(|text| base_url(table.at("base_url"), &text, faults));
    let credential = Credential {
        app_id: table.optional_text("app_id", faults),
        secret_id: table.optional_text("secret_id", faults),
        secret_key: SecretKey::Absent,
    };
    let secret = secret(&mut table, secrets, faults);
    let options = options::read(&mut table, faults);
    // Written by `render`, so that what was read can be sent back; it says nothing new.
    table.flag(SECRET_KEY_SET, false, faults);
    let pool = table
        .table("pool", faults)
        .map_or_else(Pool::default, |table| pool(table, faults));
    let place = table.place().clone();
    table.finish(faults);
    let vendor = Vendor {
        name: VendorName::new(name),
        strategy: StrategyName::new(strategy),
        enabled: enabled.into(),
        base_url,
        credential,
        options,
        pool,
    };
    let row = Row::Vendor(vendor);
    Entry { place, row, secret }
}

/// Tells readers whether there is a secret, which itself is never shown.
const SECRET_KEY_SET: &str = "secret_key_set";

pub(super) fn render(vendor: &Vendor) -> Map<String, Value> {
    let mut members = Map::new();
    let mut set = |name: &str, value: Value| members.insert(name.to_owned(), value);
    set("name", json!(vendor.name));
    set("strategy", json!(vendor.strategy));
    set("enabled", json!(vendor.enabled.is_on()));
    if let Some(url) = &vendor.base_url {
        set("base_url", json!(url.as_str()));
    }
    if let Some(app_id) = &vendor.credential.app_id {
        set("app_id", json!(app_id));
    }
    if let Some(secret_id) = &vendor.credential.secret_id {
        set("secret_id", json!(secret_id));
    }
    let is_set = !matches!(vendor.credential.secret_key, SecretKey::Absent);
    set(SECRET_KEY_SET, json!(is_set));
    set("pool", Value::Object(render_pool(&vendor.pool)));
    members.extend(options::render(&vendor.options));
    members
}

fn render_pool(pool: &Pool) -> Map<String, Value> {
    let mut members = pool_policy(pool);
    if let Some(strategy) = pool.strategy {
        members.insert("strategy".to_owned(), json!(strategy.as_str()));
    }
    let address = |address: &Address| json!({"url": address.url.as_str(), "weight": address.weight});
    let addresses: Vec<Value> = pool.addresses.iter().map(address).collect();
    members.insert("addresses".to_owned(), addresses.into());
    members
}

fn base_url(place: Place, text: &str, faults: &mut Faults) -> Option<BaseUrl> {
    BaseUrl::parse(text)
        .map_err(|error| faults.add(place, error.to_string()))
        .ok()
}

/// `secret_key`, `secret_key_env` or `secret_key_file`; an empty `secret_key` takes the stored one away.
fn secret(table: &mut Table, secrets: SecretPlace<'_>, faults: &mut Faults) -> SecretChange {
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
    let place = table.at(name);
    let Value::String(text) = value else {
        faults.add(place, "must be text");
        return SecretChange::Keep;
    };
    // Faults do not repeat the text: whoever mixed up the three keys wrote the secret itself there.
    let found = match name {
        "secret_key" if text.is_empty() => return SecretChange::Set(SecretKey::Absent),
        "secret_key" => Ok(SecretString::from(text)),
        "secret_key_env" => secrets.find_variable(&text),
        _ => secrets.read_file(&text),
    };
    match found.and_then(usable_secret) {
        Ok(secret) => SecretChange::Set(SecretKey::Present(secret)),
        Err(reason) => {
            faults.add(place, reason);
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
    let addresses = table.tables("addresses", faults).into_iter().enumerate();
    let addresses = addresses.filter_map(|(at, entry)| address(entry, at, faults)).collect();
    let mut pool = Pool {
        strategy,
        addresses,
        ..Pool::default()
    };
    read_pool_policy(&mut pool, &mut table, faults);
    table.finish(faults);
    pool
}

/// An address, with a substitute for a URL that cannot be read: one that no other address has, so that places stay what they are.
fn address(entry: Option<Table>, at: usize, faults: &mut Faults) -> Option<Address> {
    let substitute = || BaseUrl::parse(&format!("http://unreadable-{at}.invalid")).ok();
    let Some(mut table) = entry else {
        return substitute().map(|url| Address { url, weight: 1 });
    };
    let text = table.required_text("url", faults);
    let url = text.and_then(|text| base_url(table.at("url"), &text, faults));
    let weight = table.number("weight", 0..=1_000_000, faults).unwrap_or(1);
    table.finish(faults);
    url.or_else(substitute).map(|url| Address { url, weight })
}
