//! `[[price]]`.

use serde_json::{Map, Value, json};
use service_kit::Timestamp;
use time::{Date, OffsetDateTime, Time, format_description::well_known::Rfc3339};

use super::{Entry, Faults, Table, name};
use crate::domain::{
    config_row::Row,
    ids::{InterfaceName, ModelName, PriceName, RawRouteName, VendorName},
    money::{Currency, InvalidAmount, Nanos},
    price::{Price, PriceTarget, Rates, Unit},
};

pub(super) fn read(mut table: Table, substitute: &str, faults: &mut Faults) -> Entry {
    let name = name(&mut table, substitute, faults);
    let target = target(&mut table, substitute, faults);
    let rates = Rates::from_all(Rates::NAMES.map(|rate| amount(&mut table, rate, faults)));
    let unit = unit(&mut table, &rates, faults);
    let currency = currency(&mut table, faults);
    let valid_from = valid_from(&mut table, faults);
    let place = table.place().clone();
    table.finish(faults);
    let price = Price {
        name: PriceName::new(name),
        target,
        unit,
        rates,
        currency,
        valid_from,
    };
    Entry::without_secret(place, Row::Price(price))
}

pub(super) fn render(price: &Price) -> Map<String, Value> {
    let mut members = Map::new();
    let mut set = |name: &str, value: Value| members.insert(name.to_owned(), value);
    set("name", json!(price.name));
    match &price.target {
        PriceTarget::Route(interface, route) => {
            set("interface", json!(interface));
            set("route", json!(route));
        }
        PriceTarget::Interface(interface) => {
            set("interface", json!(interface));
        }
        PriceTarget::Model(vendor, model) => {
            set("vendor", json!(vendor));
            set("model", json!(model));
        }
        PriceTarget::Vendor(vendor) => {
            set("vendor", json!(vendor));
        }
    }
    set("unit", json!(price.unit.as_str()));
    for (name, rate) in Rates::NAMES.into_iter().zip(price.rates.all()) {
        if let Some(rate) = rate {
            set(name, json!(rate.to_string()));
        }
    }
    set("currency", json!(price.currency));
    if price.valid_from != ALWAYS {
        set("valid_from", json!(price.valid_from.to_rfc3339()));
    }
    members
}

/// Holds from the beginning on.
const ALWAYS: Timestamp = Timestamp::from_seconds(0);

fn target(table: &mut Table, substitute: &str, faults: &mut Faults) -> PriceTarget {
    let interface = table.optional_text("interface", faults);
    let vendor = table.optional_text("vendor", faults);
    let model = table.optional_text("model", faults);
    let route = table.optional_text("route", faults);
    if route.is_some() && interface.is_none() {
        faults.add(table.at("route"), "a route belongs to an interface");
    }
    match (interface, vendor, model) {
        (Some(interface), None, None) => {
            let interface = InterfaceName::new(interface);
            return match route {
                Some(route) => PriceTarget::Route(interface, RawRouteName::new(route)),
                None => PriceTarget::Interface(interface),
            };
        }
        (None, Some(vendor), Some(model)) => {
            return PriceTarget::Model(VendorName::new(vendor), ModelName::new(model));
        }
        (None, Some(vendor), None) => return PriceTarget::Vendor(VendorName::new(vendor)),
        (None, None, Some(model)) => {
            faults.add(table.at("vendor"), "is missing: a model belongs to a vendor");
            return PriceTarget::Model(VendorName::new(substitute.to_owned()), ModelName::new(model));
        }
        (None, None, None) => faults.add(table.at("interface"), "is missing (or vendor, or vendor and model)"),
        (Some(interface), Some(_), _) => {
            let reason = "a price is for an interface or for a vendor, not for both";
            faults.add(table.at("vendor"), reason);
            return PriceTarget::Interface(InterfaceName::new(interface));
        }
        (Some(interface), None, Some(_)) => {
            let reason = "a price is for an interface or for a vendor's model, not for both";
            faults.add(table.at("model"), reason);
            return PriceTarget::Interface(InterfaceName::new(interface));
        }
    }
    PriceTarget::Interface(InterfaceName::new(substitute.to_owned()))
}

fn unit(table: &mut Table, rates: &Rates, faults: &mut Faults) -> Unit {
    let Some(word) = table.text("unit", faults) else {
        let misread = Rates::NAMES.iter().any(|rate| faults.mentions(&table.at(rate)));
        if rates.main_unit().is_none() && !misread && !faults.mentions(&table.at("unit")) {
            let known = Rates::NAMES.join(", ");
            faults.add(
                table.at("unit"),
                format!("the price says nothing of what anything costs; known are {known}"),
            );
        }
        return rates.main_unit().unwrap_or(Unit::Call);
    };
    let Some(unit) = Unit::parse(&word) else {
        let known: Vec<_> = Unit::ALL.iter().map(|unit| unit.as_str()).collect();
        let reason = format!("unknown unit {word:?}; known are {}", known.join(", "));
        faults.add(table.at("unit"), reason);
        return Unit::Call;
    };
    if !rates.names(unit) {
        let rate = match unit {
            Unit::Token => "input_per_million or output_per_million",
            Unit::Character => "per_million_characters",
            Unit::Image => "per_image",
            Unit::Second => "per_second",
            Unit::Call => "per_call",
        };
        faults.add(table.at("unit"), format!("{word:?} needs {rate}"));
    }
    unit
}

/// An amount: text, or a number that says the same.
pub(super) fn amount(table: &mut Table, name: &str, faults: &mut Faults) -> Option<Nanos> {
    let amount = match table.take(name)? {
        Value::String(text) => Nanos::parse(&text),
        Value::Number(number) => Nanos::from_number(&number),
        _ => Err(InvalidAmount::Malformed),
    };
    amount
        .map_err(|error| faults.add(table.at(name), error.to_string()))
        .ok()
}

/// A currency, or a substitute whose fault is noted.
pub(super) fn currency(table: &mut Table, faults: &mut Faults) -> Currency {
    let text = table.required_text("currency", faults);
    let currency = text.and_then(|text| {
        Currency::parse(&text)
            .map_err(|error| faults.add(table.at("currency"), error.to_string()))
            .ok()
    });
    currency.unwrap_or_default()
}

fn valid_from(table: &mut Table, faults: &mut Faults) -> Timestamp {
    let Some(text) = table.text("valid_from", faults) else {
        return ALWAYS;
    };
    let moment = read_time(&text);
    if moment.is_none() {
        let reason = "is no time such as \"2030-01-01T00:00:00Z\" or \"2030-01-01\" after 1970";
        faults.add(table.at("valid_from"), reason);
    }
    moment.unwrap_or(ALWAYS)
}

/// RFC 3339 with any offset, or a day, which begins at midnight in UTC. To the microsecond, as everywhere.
pub fn read_time(text: &str) -> Option<Timestamp> {
    let day = || {
        let mut parts = text.splitn(3, '-');
        let year = parts.next().filter(|year| year.len() == 4)?.parse().ok()?;
        let month: u8 = parts.next().filter(|month| month.len() == 2)?.parse().ok()?;
        let day = parts.next().filter(|day| day.len() == 2)?.parse().ok()?;
        let date = Date::from_calendar_date(year, month.try_into().ok()?, day).ok()?;
        Some(date.with_time(Time::MIDNIGHT).assume_utc())
    };
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok().or_else(day)?;
    let micros = i64::try_from(moment.unix_timestamp_nanos() / 1000).ok()?;
    (micros >= 0).then(|| Timestamp::from_micros(micros))
}
