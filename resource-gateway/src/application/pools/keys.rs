//! Which calls belong together.

use http::HeaderMap;

use crate::domain::{
    balance::{HashKey, hash_of},
    caller::Caller,
};

/// The number that calls of one key have in common. Tenants do not share keys.
pub fn key_of(by: &HashKey, caller: &Caller, headers: &HeaderMap) -> u64 {
    let tenant = caller.tenant.as_ref().map_or("", |tenant| tenant.as_str());
    let (sub, client) = (caller.sub.as_str(), caller.client_id.as_str());
    let user = || hash_of(&["user", tenant, sub]);
    match by {
        HashKey::User => user(),
        HashKey::Client => hash_of(&["client", tenant, client]),
        HashKey::Session => match caller.facts().sid {
            Some(sid) => hash_of(&["session", tenant, sid]),
            None => hash_of(&["caller", tenant, sub, client]),
        },
        HashKey::Header(name) => {
            let value = headers.get(&**name).and_then(|value| value.to_str().ok());
            value.map_or_else(user, |value| hash_of(&["header", tenant, value]))
        }
    }
}
