//! `[[interface]]`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Entry, Faults, Place, Table, interface_policy, name, read_interface_policy, table::to_ms};
use crate::domain::{
    config_row::Row,
    ids::{InterfaceName, ModelName, VendorName},
    interface::{Capability, FieldAction, FieldRule, Interface, JsonPointer, LogPolicy, Route, Timeouts},
    vendor::Switch,
};

pub(super) fn read(mut table: Table, substitute: &str, faults: &mut Faults) -> Entry {
    let name = name(&mut table, substitute, faults);
    let word = table.required_text("capability", faults);
    let capability = word.and_then(|word| capability(&word, table.at("capability"), faults));
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
        .map_or_else(LogPolicy::default, |table| read_log_policy(table, faults));
    let policy = read_interface_policy(&mut table, faults);
    let place = table.place().clone();
    table.finish(faults);
    let interface = Interface {
        name: InterfaceName::new(name),
        // Which vendors fit is not judged when this is a substitute.
        capability: capability.unwrap_or(Capability::Raw),
        enabled: enabled.into(),
        routes,
        fields,
        timeouts,
        log,
        policy,
    };
    Entry::without_secret(place, Row::Interface(interface))
}

pub(super) fn render(interface: &Interface) -> Map<String, Value> {
    let mut members = interface_policy(&interface.policy);
    let mut set = |name: &str, value: Value| members.insert(name.to_owned(), value);
    set("name", json!(interface.name));
    set("capability", json!(interface.capability));
    set("enabled", json!(interface.enabled.is_on()));
    let route = |route: &Route| json!({"vendor": route.vendor, "model": route.model, "weight": route.weight, "priority": route.priority});
    set("routes", interface.routes.iter().map(route).collect());
    set("fields", interface.fields.iter().map(render_field).collect());
    let times = interface.timeouts;
    set(
        "timeouts_ms",
        json!({"connect": to_ms(times.connect), "first_byte": to_ms(times.first_byte), "idle": to_ms(times.idle),
            "total": to_ms(times.total)}),
    );
    set("log", log_policy(interface.log));
    members
}

fn render_field(rule: &FieldRule) -> Value {
    let (name, enabled) = (rule.pointer.as_str(), rule.enabled.is_on());
    match &rule.action {
        FieldAction::Fill(value) => json!({"name": name, "enabled": enabled, "value": value, "allow_override": true}),
        FieldAction::Force(value) => json!({"name": name, "enabled": enabled, "value": value, "allow_override": false}),
        FieldAction::Forbid => json!({"name": name, "enabled": enabled, "forbid": true}),
    }
}

fn capability(word: &str, place: Place, faults: &mut Faults) -> Option<Capability> {
    let capability = Capability::parse(word);
    if capability.is_none() {
        let known: Vec<_> = Capability::ALL.iter().map(|c| c.as_str()).collect();
        faults.add(
            place,
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
    table.finish(faults);
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
    table.finish(faults);
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
    let mut time = |name: &str, default: Duration| table.millis(name, 1, faults).unwrap_or(default);
    let timeouts = Timeouts {
        connect: time("connect", default.connect),
        first_byte: time("first_byte", default.first_byte),
        idle: time("idle", default.idle),
        total: time("total", default.total),
    };
    table.finish(faults);
    timeouts
}

/// An interface's `log` in its written form.
pub fn log_policy(log: LogPolicy) -> Value {
    json!({"metadata": log.metadata.is_on(), "payload": log.payload.is_on(), "image_base64": log.image_base64.is_on()})
}

/// Reads a `log` table.
pub fn read_log_policy(mut table: Table, faults: &mut Faults) -> LogPolicy {
    let default = LogPolicy::default();
    let mut flag = |name: &str, default: Switch| table.flag(name, default.is_on(), faults).into();
    let log = LogPolicy {
        metadata: flag("metadata", default.metadata),
        payload: flag("payload", default.payload),
        image_base64: flag("image_base64", default.image_base64),
    };
    table.finish(faults);
    log
}
