//! `raw = { … }`, of interfaces whose calls are passed on as they are.

use std::sync::Arc;

use http::{HeaderName, Method};
use serde_json::{Value, json};

use super::{Faults, Table};
use crate::domain::{
    ids::{RawRouteName, check_name},
    raw::{PathPattern, RawPolicy, RawRoute, may_come, may_go},
};

/// The member that is read here.
const MEMBER: &str = "raw";

pub(super) fn read(table: &mut Table, faults: &mut Faults) -> Option<Arc<RawPolicy>> {
    let mut table = table.table(MEMBER, faults)?;
    let mut allow: Vec<RawRoute> = Vec::new();
    let entries = table.tables("allow", faults);
    if entries.len() > RawPolicy::MOST_ROUTES {
        let reason = format!("there are at most {} routes", RawPolicy::MOST_ROUTES);
        faults.add(table.at("allow"), reason);
    }
    for entry in entries.into_iter().flatten().take(RawPolicy::MOST_ROUTES) {
        if let Some(route) = route(entry, &allow, faults) {
            allow.push(route);
        }
    }
    let headers = header_names(&mut table, ("headers", may_go, "can never go to a vendor"), faults);
    let response_headers = header_names(
        &mut table,
        ("response_headers", may_come, "can never come back to a caller"),
        faults,
    );
    table.finish(faults);
    Some(Arc::new(RawPolicy {
        allow,
        headers,
        response_headers,
    }))
}

/// A route, unless something is wrong with it: no call is compared with half of one.
fn route(mut entry: Table, earlier: &[RawRoute], faults: &mut Faults) -> Option<RawRoute> {
    let name = entry.required_text("name", faults).and_then(|name| {
        if let Err(error) = check_name(&name) {
            faults.add(entry.at("name"), error.to_string());
            return None;
        }
        if earlier.iter().any(|other| other.name.as_str() == name) {
            faults.add(entry.at("name"), format!("{name:?} is the name of an earlier route"));
            return None;
        }
        Some(RawRouteName::new(name))
    });
    let methods = methods(&mut entry, faults);
    let path = entry.required_text("path", faults).and_then(|text| {
        let path = PathPattern::parse(&text);
        path.map_err(|fault| faults.add(entry.at("path"), fault.to_string()))
            .ok()
    });
    let place = entry.at("path");
    entry.finish(faults);
    let route = RawRoute {
        name: name?,
        methods: methods?,
        path: path?,
    };
    let hidden_by = |other: &&RawRoute| {
        let methods = route.methods.iter().all(|method| other.methods.contains(method));
        methods && other.path.includes(&route.path)
    };
    if let Some(other) = earlier.iter().find(hidden_by) {
        faults.add(
            place,
            format!("the earlier route {:?} takes all of its calls", other.name.as_str()),
        );
    }
    Some(route)
}

fn methods(entry: &mut Table, faults: &mut Faults) -> Option<Vec<Method>> {
    let place = entry.at("methods");
    if !entry.has("methods") {
        faults.add(place, "is missing");
        return None;
    }
    let mut methods = Vec::new();
    for (at, word) in entry.texts("methods", faults)? {
        let known = RawRoute::METHODS.into_iter().find(|method| method.as_str() == word);
        match known {
            Some(method) if !methods.contains(&method) => methods.push(method),
            Some(_) => faults.add(place.index(at), format!("{word:?} stands there twice")),
            None => {
                let known = RawRoute::METHODS.map(|method| method.to_string()).join(", ");
                faults.add(place.index(at), format!("must be one of {known}"));
            }
        }
    }
    if methods.is_empty() {
        faults.add_unless_known(place, "must not be empty");
        return None;
    }
    Some(methods)
}

fn header_names(
    table: &mut Table,
    (member, may, never): (&str, fn(&HeaderName) -> bool, &str),
    faults: &mut Faults,
) -> Vec<HeaderName> {
    let texts = table.texts(member, faults).unwrap_or_default();
    if texts.len() > RawPolicy::MOST_HEADERS {
        faults.add(
            table.at(member),
            format!("there are at most {} names", RawPolicy::MOST_HEADERS),
        );
    }
    let mut names = Vec::new();
    for (at, text) in texts.into_iter().take(RawPolicy::MOST_HEADERS) {
        let place = table.at(member).index(at);
        match HeaderName::from_bytes(text.as_bytes()) {
            Ok(name) if names.contains(&name) => faults.add(place, format!("{text:?} stands there twice")),
            Ok(name) if may(&name) => names.push(name),
            Ok(_) => faults.add(place, format!("{text:?} {never}")),
            Err(_) => faults.add(place, "is not the name of a header"),
        }
    }
    names
}

pub(super) fn render(policy: &RawPolicy) -> (String, Value) {
    let texts = |names: &[HeaderName]| -> Value { names.iter().map(|name| json!(name.as_str())).collect() };
    let route = |route: &RawRoute| {
        let methods: Vec<_> = route.methods.iter().map(Method::as_str).collect();
        json!({"name": route.name, "methods": methods, "path": route.path.as_str()})
    };
    let allow: Value = policy.allow.iter().map(route).collect();
    let value =
        json!({"allow": allow, "headers": texts(&policy.headers), "response_headers": texts(&policy.response_headers)});
    (MEMBER.to_owned(), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: Value) -> (Option<Arc<RawPolicy>>, Vec<String>) {
        let mut faults = Faults::default();
        let Value::Object(members) = text else { panic!() };
        let mut table = Table::root(members);
        let policy = read(&mut table, &mut faults);
        table.finish(&mut faults);
        (policy, faults.into_vec().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_read_is_what_is_written() {
        let text = json!({"raw": {"allow": [
            {"name": "make", "methods": ["POST"], "path": "/threads"},
            {"name": "thread", "methods": ["GET", "DELETE"], "path": "/threads/*"},
            {"name": "rest", "methods": ["GET"], "path": "/threads/**"}],
            "headers": ["openai-beta"], "response_headers": ["openai-version"]}});
        let (policy, faults) = read_text(text.clone());
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(Value::Object(policy.as_deref().map(render).into_iter().collect()), text);
        assert_eq!(read_text(json!({})), (None, Vec::new()));
    }

    #[test]
    fn every_fault_is_named() {
        let (_, faults) = read_text(json!({"raw": {"allow": [
            {"name": "a b", "methods": ["get", "POST", "POST"], "path": "/a/../b"},
            {"methods": [], "path": "v1"},
            {"name": "one", "path": "/x/**", "price": 1},
            {"name": "wide", "methods": ["GET", "POST"], "path": "/x/**"},
            {"name": "wide", "methods": ["GET"], "path": "/y*"},
            {"name": "narrow", "methods": ["GET"], "path": "/x/*/y"},
            7],
            "headers": ["Authorization", "x y", "X-Tag", "x-tag"], "response_headers": ["set-cookie"], "query": []}}));
        assert_eq!(
            faults,
            [
                "raw.allow[6]: must be a table, not a number",
                "raw.allow[0].name: a name has 1 to 64 of the characters A-Z a-z 0-9 . _ - and begins with a letter or digit",
                "raw.allow[0].methods[0]: must be one of GET, POST, PUT, PATCH, DELETE",
                "raw.allow[0].methods[2]: \"POST\" stands there twice",
                "raw.allow[0].path: has a segment of dots",
                "raw.allow[1].name: is missing",
                "raw.allow[1].methods: must not be empty",
                "raw.allow[1].path: must begin with one slash",
                "raw.allow[2].methods: is missing",
                "raw.allow[2].price: unknown key; known are name, methods, path",
                "raw.allow[4].name: \"wide\" is the name of an earlier route",
                "raw.allow[4].path: has a * that is not a whole segment, or a ** that is not the last one",
                "raw.allow[5].path: the earlier route \"wide\" takes all of its calls",
                "raw.headers[0]: \"Authorization\" can never go to a vendor",
                "raw.headers[1]: is not the name of a header",
                "raw.headers[3]: \"x-tag\" stands there twice",
                "raw.response_headers[0]: \"set-cookie\" can never come back to a caller",
                "raw.query: unknown key; known are allow, headers, response_headers",
            ]
        );
    }
}
