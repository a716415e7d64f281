//! What buckets are called in Redis.

use sha2::{Digest as _, Sha256};

use super::super::hex;
use crate::{
    domain::ids::{AccessKeyId, ClientId, Subject, TenantId},
    ports::rate_store::BucketKey,
};

/// Callers' names beyond this are replaced by their hash: a token's subject may be as long as a header.
const LONGEST: usize = 160;

/// The name of a bucket behind what the keys of its part begin with.
pub(super) fn name(head: String, key: &BucketKey) -> String {
    let mut name = head;
    name.push_str(":limit:");
    name.push_str(&key.rule);
    name.push(':');
    name.push_str(key.measure.as_str());
    let caller = name.len();
    let who = &key.who;
    for (member, value) in [
        ("tenant", who.tenant.as_ref().map(TenantId::as_str)),
        ("client_id", who.client_id.as_ref().map(ClientId::as_str)),
        ("sub", who.sub.as_ref().map(Subject::as_str)),
        ("access_key", who.access_key.as_ref().map(AccessKeyId::as_str)),
    ] {
        if let Some(value) = value {
            name.push(':');
            name.push_str(member);
            name.push('=');
            push_escaped(&mut name, value);
        }
    }
    if name.len() - caller > LONGEST {
        let digest = Sha256::digest(name.get(caller..).unwrap_or_default());
        name.truncate(caller);
        name.push_str(":sha256=");
        name.push_str(&hex(&digest));
    }
    name
}

/// No value may look like another member.
fn push_escaped(name: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            ':' => name.push_str("%3A"),
            '%' => name.push_str("%25"),
            c => name.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{adapters::redis::channel::head, domain::limits::Measure, ports::rate_store::Who};

    fn key(tenant: &str, sub: &str) -> BucketKey {
        BucketKey {
            rule: "quota/gold".into(),
            measure: Measure::RequestsPerMinute,
            who: Who {
                tenant: Some(TenantId::new(tenant)),
                sub: Some(Subject::new(sub)),
                ..Who::default()
            },
        }
    }

    #[test]
    fn names_tell_everything_apart_and_stay_short() {
        let name = |key: &BucketKey| name(head("hexgate", "all", false), key);
        assert_eq!(
            name(&key("main", "alice")),
            "hexgate:limit:quota/gold:requests_per_minute:tenant=main:sub=alice"
        );
        assert_ne!(name(&key("a:sub=b", "c")), name(&key("a", "b:sub=c")));
        let long = name(&key("main", &"x".repeat(5000)));
        assert!(long.len() < 200, "{long}");
        assert_ne!(long, name(&key("main", &"x".repeat(5001))));
    }

    #[test]
    fn in_a_cluster_the_keys_of_a_part_have_one_hash_tag() {
        let name = name(head("hexgate", "interface/chat", true), &key("{other}", "x"));
        assert!(name.starts_with("{hexgate:interface/chat}:limit:"), "{name}");
    }
}
