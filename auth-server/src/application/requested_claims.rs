//! The claims about a person that a request names one by one (OpenID Connect Core §5.5).
//!
//! Those for the ID token go into it. Those for userinfo have to find their way to a request that shows nothing but an access token:
//! the token carries the names, as far as its scope does not open them anyway. They are a handful of known words at most, tell nothing that the
//! client did not ask for itself, and cost userinfo no look-up, whatever grant the token came from.

use std::collections::BTreeSet;

use oauth_wire::Scope;

use crate::domain::{
    grant::GrantDetails,
    user::{claim_names, claims_opened_by, scope_of_claim},
};

/// Where a requested claim is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    IdToken,
    Userinfo,
}

impl Destination {
    fn member(self) -> &'static str {
        match self {
            Self::IdToken => "id_token",
            Self::Userinfo => "userinfo",
        }
    }
}

/// The claims about the person that were asked for; others (`acr`, `auth_time`, unknown ones) are no business of this module.
pub fn names(details: &GrantDetails, destination: Destination) -> Vec<&'static str> {
    let asked = details
        .claims
        .as_ref()
        .and_then(|claims| claims.get(destination.member())?.as_object());
    let Some(asked) = asked else { return Vec::new() };
    claim_names().filter(|name| asked.contains_key(*name)).collect()
}

/// Those of them that a client may see which is registered for `may`: it may have lost a scope since the request.
pub fn within(mut names: Vec<&'static str>, may: &Scope) -> Vec<&'static str> {
    names.retain(|name| scope_of_claim(name).is_some_and(|scope| may.contains(scope)));
    names
}

/// Those for userinfo that the scope does not open, as the access token carries them: names with blanks between them. `may` is what the client is
/// registered for.
pub fn beyond(details: &GrantDetails, scope: &Scope, may: &Scope) -> Option<String> {
    let mut names = within(names(details, Destination::Userinfo), may);
    names.retain(|name| !claims_opened_by(scope).any(|opened| opened == *name));
    (!names.is_empty()).then(|| names.join(" "))
}

/// Those for either that the scope does not open: what a person is asked about beside the scope.
pub fn beyond_scope(details: &GrantDetails, scope: &Scope) -> BTreeSet<&'static str> {
    let asked = [Destination::IdToken, Destination::Userinfo].map(|destination| names(details, destination));
    let mut beyond: BTreeSet<&str> = asked.into_iter().flatten().collect();
    beyond.retain(|name| !claims_opened_by(scope).any(|opened| opened == *name));
    beyond
}

/// The names that an access token carries.
pub fn carried(claim: Option<&str>) -> Vec<&'static str> {
    let carried: Vec<&str> = claim.unwrap_or_default().split(' ').collect();
    claim_names().filter(|name| carried.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asking(claims: serde_json::Value) -> GrantDetails {
        GrantDetails {
            claims: claims.as_object().cloned(),
            ..GrantDetails::default()
        }
    }

    #[test]
    fn each_destination_gets_the_standard_claims_that_were_asked_for_there() {
        let details = asking(json!({
            "id_token": {"email": null, "acr": {"essential": true}, "http://example.com/x": null},
            "userinfo": {"name": {"essential": true}, "email": null, "sub": null},
        }));
        assert_eq!(names(&details, Destination::IdToken), ["email"]);
        assert_eq!(names(&details, Destination::Userinfo), ["name", "email"]);
        assert_eq!(names(&GrantDetails::default(), Destination::Userinfo), [""; 0]);
    }

    #[test]
    fn an_access_token_carries_what_its_scope_does_not_open() {
        let details = asking(json!({"userinfo": {"name": null, "email": null, "address": null}}));
        let all = "openid profile email address".parse().unwrap();
        let beyond_within = |scope: &str, may: &Scope| beyond(&details, &scope.parse().unwrap(), may);
        let beyond = |scope: &str| beyond_within(scope, &all);
        let less = "openid profile".parse().unwrap();
        assert_eq!(beyond_within("openid", &less).as_deref(), Some("name"));
        assert_eq!(beyond("openid").as_deref(), Some("name email address"));
        assert_eq!(beyond("openid profile email").as_deref(), Some("address"));
        assert_eq!(beyond("openid profile email address"), None);
        let scope = "openid email".parse().unwrap();
        assert_eq!(beyond_scope(&details, &scope), ["address", "name"].into());
        assert_eq!(carried(Some("address name role")), ["name", "address"]);
        assert_eq!(carried(None), [""; 0]);
    }

    #[test]
    fn a_request_of_the_wrong_shape_asks_for_nothing() {
        for claims in [
            json!({}),
            json!({"userinfo": []}),
            json!({"userinfo": null}),
            json!({"userinfo": "name"}),
        ] {
            assert_eq!(
                names(&asking(claims.clone()), Destination::Userinfo),
                [""; 0],
                "{claims}"
            );
        }
    }
}
