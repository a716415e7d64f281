//! What buckets are called in Redis.

use std::{fmt::Write as _, sync::Arc};

use sha2::{Digest as _, Sha256};

use crate::{
    domain::ids::{AccessKeyId, ClientId, Subject, TenantId},
    ports::rate_store::BucketKey,
};

/// Callers' names beyond this are replaced by their hash: a token's subject may be as long as a header.
const LONGEST: usize = 160;

#[derive(Debug)]
pub(super) struct Names {
    prefix: String,
    cluster: bool,
    home: Arc<str>,
}

impl Names {
    pub(super) fn new(prefix: String, cluster: bool) -> Self {
        let home = "home".into();
        Self { prefix, cluster, home }
    }

    /// The part that is looked at when no request tells of others.
    pub(super) fn home(&self) -> &Arc<str> {
        &self.home
    }

    /// In a cluster the keys of a part lie on one node, because a script reaches no more: their common hash tag is what stands
    /// in braces.
    fn head(&self, part: &str) -> String {
        match self.cluster {
            true => format!("{{{}:{part}}}", self.prefix),
            false => self.prefix.clone(),
        }
    }

    pub(super) fn probe(&self, part: &str) -> String {
        format!("{}:limit:probe", self.head(part))
    }

    pub(super) fn key(&self, part: &str, key: &BucketKey) -> String {
        let mut name = self.head(part);
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
            for byte in digest {
                // Writing to a string never fails.
                let _ = write!(name, "{byte:02x}");
            }
        }
        name
    }
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
    use crate::{domain::limits::Measure, ports::rate_store::Who};

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
        let names = Names::new("hexgate".into(), false);
        assert_eq!(
            names.key("all", &key("main", "alice")),
            "hexgate:limit:quota/gold:requests_per_minute:tenant=main:sub=alice"
        );
        assert_ne!(
            names.key("all", &key("a:sub=b", "c")),
            names.key("all", &key("a", "b:sub=c"))
        );
        let long = names.key("all", &key("main", &"x".repeat(5000)));
        assert!(long.len() < 200, "{long}");
        assert_ne!(long, names.key("all", &key("main", &"x".repeat(5001))));
    }

    #[test]
    fn in_a_cluster_the_keys_of_a_part_have_one_hash_tag() {
        let names = Names::new("hexgate".into(), true);
        let name = names.key("interface/chat", &key("{other}", "x"));
        assert!(name.starts_with("{hexgate:interface/chat}:limit:"), "{name}");
        assert!(names.probe("interface/chat").starts_with("{hexgate:interface/chat}:"));
    }
}
