//! People and what the provider may say about them.

use std::{collections::BTreeSet, fmt};

use oauth_wire::Scope;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use service_kit::Timestamp;

use super::ids::{OrgId, RoleName, TenantId, UserId, Username};

/// A person's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub sub: UserId,
    pub tenant: TenantId,
    pub username: Username,
    pub password: Option<PasswordHash>,
    pub org: Option<OrgId>,
    pub roles: BTreeSet<RoleName>,
    pub status: UserStatus,
    pub claims: StandardClaims,
    pub updated_at: Timestamp,
}

/// Whether an account may sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserStatus {
    Active,
    /// Locked by an operator.
    Locked,
    /// Soft-deleted: the name is free again, the `sub` is not.
    Deleted,
}

/// The scope that opens a claim.
pub fn scope_of_claim(claim: &str) -> Option<&'static str> {
    let opening = CLAIMS_OF_SCOPE.iter().find(|(_, names)| names.contains(&claim));
    opening.map(|(scope, _)| *scope)
}

impl User {
    pub fn is_active(&self) -> bool {
        self.status == UserStatus::Active
    }
}

/// An Argon2id hash in PHC string form.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// The standard claims (OpenID Connect Core §5.1) but `sub`, `updated_at` and `preferred_username`, which the account
/// itself supplies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandardClaims {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub middle_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub website: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gender: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub birthdate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zoneinfo: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number_verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
}

/// The `address` claim (OpenID Connect Core §5.1.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formatted: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub street_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

/// Claims that a scope opens (OpenID Connect Core §5.4).
const CLAIMS_OF_SCOPE: &[(&str, &[&str])] = &[
    (
        "profile",
        &[
            "name",
            "given_name",
            "family_name",
            "middle_name",
            "nickname",
            "preferred_username",
            "profile",
            "picture",
            "website",
            "gender",
            "birthdate",
            "zoneinfo",
            "locale",
            "updated_at",
        ],
    ),
    ("email", &["email", "email_verified"]),
    ("phone", &["phone_number", "phone_number_verified"]),
    ("address", &["address"]),
];

/// Every claim name that userinfo may answer, for the metadata document.
pub fn claim_names() -> impl Iterator<Item = &'static str> {
    CLAIMS_OF_SCOPE.iter().flat_map(|(_, names)| names.iter().copied())
}

/// The claims that a scope opens.
pub fn claims_opened_by(scope: &Scope) -> impl Iterator<Item = &'static str> {
    let opened = CLAIMS_OF_SCOPE.iter().filter(|(name, _)| scope.contains(name));
    opened.flat_map(|(_, names)| names.iter().copied())
}

impl User {
    /// The claims about this person that `scope` opens, `sub` included.
    pub fn claims_for(&self, scope: &Scope) -> Map<String, Value> {
        let mut opened = Map::from_iter([("sub".to_owned(), Value::from(self.sub.as_str()))]);
        opened.extend(self.claims_named(&claims_opened_by(scope).collect::<Vec<_>>()));
        opened
    }

    /// Of these claims those that this person has.
    pub fn claims_named(&self, names: &[&'static str]) -> Map<String, Value> {
        if names.is_empty() {
            return Map::new();
        }
        let mut all = match serde_json::to_value(&self.claims) {
            Ok(Value::Object(all)) => all,
            // A struct of named fields always serialises to an object.
            Ok(_) | Err(_) => Map::new(),
        };
        all.entry("preferred_username")
            .or_insert_with(|| self.username.as_str().into());
        all.insert("updated_at".into(), self.updated_at.as_seconds().into());
        names.iter().filter_map(|name| all.remove_entry(*name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> User {
        User {
            sub: UserId::new("u1"),
            tenant: TenantId::new("default"),
            username: Username::parse("alice").unwrap(),
            password: None,
            org: None,
            roles: BTreeSet::new(),
            status: UserStatus::Active,
            claims: StandardClaims {
                name: Some("Alice".into()),
                email: Some("alice@example.org".into()),
                email_verified: Some(true),
                ..StandardClaims::default()
            },
            updated_at: Timestamp::from_seconds(1_700_000_000),
        }
    }

    #[test]
    fn a_scope_opens_its_claims_and_no_others() {
        for (scope, wanted) in [
            ("openid", &["sub"][..]),
            ("openid email", &["email", "email_verified", "sub"]),
            ("openid profile", &["name", "preferred_username", "sub", "updated_at"]),
        ] {
            let opened = alice().claims_for(&scope.parse().unwrap());
            let names: BTreeSet<&str> = opened.keys().map(String::as_str).collect();
            assert_eq!(names, wanted.iter().copied().collect(), "{scope}");
        }
    }

    #[test]
    fn every_field_of_the_standard_claims_is_opened_by_some_scope() {
        let mut claims = alice().claims;
        claims.address = Some(Address::default());
        let known: BTreeSet<_> = claim_names().collect();
        for name in serde_json::to_value(claims).unwrap().as_object().unwrap().keys() {
            assert!(known.contains(name.as_str()), "{name}");
        }
    }
}
