//! The written form of access keys: what administrators send and see. Secrets are in none of it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use service_kit::{Network, Timestamp};

use super::KeyError;
use crate::{
    application::documents::{Faults, Place, Table},
    domain::{
        access_key::{AccessKey, KeySettings, SettingReason, check_interface, check_scope},
        ids::{ClientId, Subject, TenantId},
    },
};

/// What a key is shown with and nobody may change; `last_used_at` and `version` move by themselves.
const STAMPS: [&str; 5] = ["id", "created_at", "rotated_at", "changed_at", "previous_until"];

/// Takes the settings out of a table; a tenant that is not named is `tenant`.
pub(super) fn read_settings(table: &mut Table, tenant: Option<&TenantId>, faults: &mut Faults) -> KeySettings {
    let scopes = set(table, "scopes", check_scope, faults).unwrap_or_default();
    let interfaces = set(table, "interfaces", check_interface, faults);
    let mut ip_allow: Vec<Network> = Vec::new();
    for (at, text) in table.texts("ip_allow", faults).unwrap_or_default() {
        match text.parse() {
            Ok(network) => ip_allow.push(network),
            Err(error) => faults.add(table.at("ip_allow").index(at), format!("{error}")),
        }
    }
    KeySettings {
        client_id: ClientId::new(table.required_text("client_id", faults).unwrap_or_default()),
        tenant: table
            .optional_text("tenant", faults)
            .map(TenantId::new)
            .or_else(|| tenant.cloned()),
        sub: table.optional_text("sub", faults).map(Subject::new),
        scopes,
        interfaces,
        ip_allow,
        enabled: table.flag("enabled", true, faults).into(),
    }
}

/// Takes a set. Its entries are judged where they stand: the set itself has an order of its own.
fn set(
    table: &mut Table,
    name: &str,
    check: impl Fn(&str) -> Result<(), SettingReason>,
    faults: &mut Faults,
) -> Option<BTreeSet<String>> {
    let texts = table.texts(name, faults)?;
    let place = table.at(name);
    let mut set = BTreeSet::new();
    for (at, text) in texts {
        if let Err(reason) = check(&text) {
            faults.add(place.index(at), reason.to_string());
        }
        if !set.insert(text) {
            faults.add(place.index(at), "stands there twice");
        }
    }
    Some(set)
}

/// What was read may be sent again as it was, and no otherwise.
pub(super) fn refuse_changes(table: &mut Table, key: &AccessKey, faults: &mut Faults) {
    let shown = render_key(key);
    for name in STAMPS {
        if let Some(sent) = table.take(name)
            && Some(&sent) != shown.get(name)
        {
            faults.add(table.at(name), "cannot be changed");
        }
    }
    drop(table.take("last_used_at"));
}

/// Settings that make sense.
pub(super) fn check(settings: &KeySettings, mut faults: Faults) -> Result<(), KeyError> {
    for fault in settings.faults() {
        faults.add_unless_known(Place::of(fault.path), fault.reason.to_string());
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(KeyError::Invalid(faults.into_vec())),
    }
}

/// The settings as they are written.
pub fn render_settings(settings: &KeySettings) -> Map<String, Value> {
    let members = [
        ("client_id", Some(json!(settings.client_id))),
        ("tenant", settings.tenant.as_ref().map(|tenant| json!(tenant))),
        ("sub", settings.sub.as_ref().map(|sub| json!(sub))),
        ("scopes", Some(json!(settings.scopes))),
        ("interfaces", settings.interfaces.as_ref().map(|names| json!(names))),
        ("ip_allow", Some(json!(settings.ip_allow))),
        ("enabled", Some(json!(settings.enabled.is_on()))),
    ];
    let present = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    present.collect()
}

/// A key as administrators see it.
pub fn render_key(key: &AccessKey) -> Map<String, Value> {
    let mut form = Map::from_iter([("id".to_owned(), json!(key.id))]);
    form.extend(render_settings(&key.settings));
    for (name, moment) in [
        ("created_at", Some(key.created_at)),
        ("rotated_at", key.rotated_at),
        ("changed_at", Some(key.changed_at)),
        ("last_used_at", key.last_used_at),
        ("previous_until", key.previous_until),
    ] {
        if let Some(moment) = moment {
            form.insert(name.to_owned(), json!(Timestamp::to_rfc3339(moment)));
        }
    }
    form
}
