//! The caller: what a verified access token says, and what it permits.

use std::collections::BTreeSet;

use oauth_wire::{
    AI_SCOPE, AiCall, AuthorizationDetail, AuthorizationDetails, Confirmation, Cost, Scope, TokenFacts, actors,
    ai_scope, grant_of,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    access_key::AccessKey,
    ids::{AccessKeyId, ClientId, Subject, TenantId},
    interface::{Capability, Interface},
};

/// The scope without which nobody administers.
const ADMIN_SCOPE: &str = "admin";
/// The permission code that stands for all.
const EVERY_PERMISSION: &str = "*";

/// Whom tokens must come from and be meant for.
#[derive(Debug, Clone)]
pub struct Expected {
    pub issuer: String,
    pub audience: String,
    /// Seconds by which the two clocks may differ.
    pub leeway: i64,
}

/// A caller, known by its access token (RFC 9068).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Caller {
    pub client_id: ClientId,
    pub sub: Subject,
    pub tenant: Option<TenantId>,
    /// The access key that signed the request; `None`: the caller came with a token.
    pub access_key: Option<AccessKeyId>,
    scope: Scope,
    /// Interfaces that the client may use; `None`: all that the scopes allow.
    interfaces: Option<BTreeSet<String>>,
    /// The calls that somebody agreed to in detail (RFC 9396); `None`: the token has no details, and its scopes alone decide.
    calls: Option<Vec<AiCall>>,
    /// What the token is bound to: only who proves possession of it may use the token.
    confirmation: Option<Confirmation>,
    /// What a person may administer; empty for whoever has not the scope `admin`.
    permissions: BTreeSet<String>,
    jti: String,
    sid: Option<String>,
    /// Clients whose tokens this one was made of (RFC 8693).
    via: Vec<String>,
    /// Those who act by it, each by `sub`.
    actors: Vec<String>,
    issued_at: i64,
    expires_at: i64,
}

/// Why a token with a good signature is no good here. The texts go to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    #[error("the token is not an access token")]
    WrongType,
    #[error("the token is from another issuer")]
    WrongIssuer,
    #[error("the token is for another audience")]
    WrongAudience,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token lacks a claim that access tokens have")]
    Incomplete,
    #[error("the token is bound in a way that is not known here")]
    UnknownBinding,
    #[error("the token's authorization_details cannot be read")]
    MalformedDetails,
}

/// Why a caller may not do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// This scope would do.
    Scope(String),
    /// No scope helps: the client was not granted the interface.
    Interface,
    /// The token's authorization details name other interfaces.
    Details,
    /// They name the interface, but its time is over.
    DetailsEnded,
    /// The caller administers, but not this.
    Permission(String),
    /// It holds the permission, for its own tenant, and this is the installation's.
    Installation(String),
}

impl Caller {
    /// Reads and checks the claims of an access token at `now` (seconds).
    ///
    /// # Errors
    /// [`TokenFault`].
    pub fn from_claims(claims: &Map<String, Value>, expected: &Expected, now: i64) -> Result<Self, TokenFault> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let time = |name: &str| claims.get(name).and_then(seconds);
        // RFC 9068 §4: the issuer must be exactly the one that was configured …
        if text("iss") != Some(expected.issuer.as_str()) {
            return Err(TokenFault::WrongIssuer);
        }
        // … and we must be among the audience. RFC 7519 §4.1.3: an array, or one string.
        let meant_for_us = match claims.get("aud") {
            Some(Value::String(one)) => *one == expected.audience,
            Some(Value::Array(many)) => many.iter().any(|one| one.as_str() == Some(&expected.audience)),
            _ => false,
        };
        if !meant_for_us {
            return Err(TokenFault::WrongAudience);
        }
        // RFC 9068 §2.2: these claims are required.
        let (Some(expires_at), Some(issued_at)) = (time("exp"), time("iat")) else {
            return Err(TokenFault::Incomplete);
        };
        let (Some(sub), Some(client_id), Some(jti)) = (text("sub"), text("client_id"), text("jti")) else {
            return Err(TokenFault::Incomplete);
        };
        let not_before = time("nbf").unwrap_or(issued_at).max(issued_at);
        // RFC 7519 §4.1.5.
        if not_before > now.saturating_add(expected.leeway) {
            return Err(TokenFault::NotYet);
        }
        let interfaces = match claims.get("ai_interfaces") {
            None => None,
            Some(Value::Array(names)) => {
                let names: Option<_> = names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
                Some(names.ok_or(TokenFault::Incomplete)?)
            }
            // Anything else is no grant of all.
            Some(_) => return Err(TokenFault::Incomplete),
        };
        // RFC 7800 §3: a binding that is not understood cannot be checked, so the token is not accepted.
        let confirmation = match claims.get("cnf") {
            None => None,
            Some(cnf) => Some(Confirmation::deserialize(cnf).map_err(|_| TokenFault::UnknownBinding)?),
        };
        // Whoever made the token of another one's answers for it as well.
        let via = claims
            .get("via")
            .map_or(Some(Vec::new()), |via| Vec::deserialize(via).ok());
        // So does everybody who acts by it: nobody could end it by one who cannot be read.
        let named = |act: &Value| act.get("sub").and_then(Value::as_str).map(str::to_owned);
        let actors: Option<Vec<String>> = actors(claims).map(named).collect();
        let calls = claims.get("authorization_details").map(calls).transpose()?;
        let permissions = claims
            .get("permissions")
            .map_or(Some(BTreeSet::new()), |codes| BTreeSet::deserialize(codes).ok());
        let caller = Self {
            client_id: ClientId::new(client_id),
            sub: Subject::new(sub),
            tenant: text("tenant").map(TenantId::new),
            access_key: None,
            scope: text("scope")
                .unwrap_or_default()
                .parse()
                .map_err(|_| TokenFault::Incomplete)?,
            interfaces,
            calls,
            confirmation,
            permissions: permissions.ok_or(TokenFault::Incomplete)?,
            jti: jti.to_owned(),
            sid: text("sid").map(str::to_owned),
            via: via.ok_or(TokenFault::Incomplete)?,
            actors: actors.ok_or(TokenFault::Incomplete)?,
            issued_at,
            expires_at,
        };
        if caller.has_expired(expected, now) {
            return Err(TokenFault::Expired);
        }
        Ok(caller)
    }

    /// The caller that an access key stands for. It does not expire; it ends with its client, as tokens do.
    pub fn of_access_key(key: &AccessKey) -> Self {
        Self {
            client_id: key.settings.client_id.clone(),
            sub: key.settings.subject(),
            tenant: key.settings.tenant.clone(),
            access_key: Some(key.id.clone()),
            scope: key.settings.scope(),
            interfaces: key.settings.interfaces.clone(),
            permissions: BTreeSet::new(),
            calls: None,
            confirmation: None,
            jti: key.id.as_str().to_owned(),
            sid: None,
            via: Vec::new(),
            actors: Vec::new(),
            issued_at: key.changed_at.as_seconds(),
            expires_at: i64::MAX,
        }
    }

    /// RFC 7519 §4.1.4: on or after `exp` a token is not accepted, give or take the leeway.
    pub fn has_expired(&self, expected: &Expected, now: i64) -> bool {
        now >= self.expires_at.saturating_add(expected.leeway)
    }

    /// What the token is bound to (RFC 7800).
    pub fn confirmation(&self) -> Option<&Confirmation> {
        self.confirmation.as_ref()
    }

    /// Space-separated.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Whether the caller has a scope, or the wider one of which it is a part (`ai:chat` for `ai:chat:small`).
    pub fn has_scope(&self, wanted: &str) -> bool {
        let wider = wanted
            .strip_prefix(AI_SCOPE)
            .and_then(|rest| rest.split_once(':'))
            .map(|(capability, _)| capability);
        self.scope.contains(wanted) || wider.is_some_and(|capability| self.scope.contains(&ai_scope(capability)))
    }

    /// What revocations are matched with.
    pub fn facts(&self) -> TokenFacts<'_> {
        TokenFacts {
            jti: &self.jti,
            sid: self.sid.as_deref(),
            sub: self.sub.as_str(),
            client_id: self.client_id.as_str(),
            via: &self.via,
            actors: &self.actors,
            iat: self.issued_at,
        }
    }

    /// Whether the caller may administer what a permission code (`vendor:write`) names.
    ///
    /// # Errors
    /// [`Denied::Scope`], [`Denied::Permission`].
    pub fn check_permission(&self, code: &str) -> Result<(), Denied> {
        if !self.scope.contains(ADMIN_SCOPE) {
            return Err(Denied::Scope(ADMIN_SCOPE.to_owned()));
        }
        let permitted = self.permissions.contains(code) || self.permissions.contains(EVERY_PERMISSION);
        permitted
            .then_some(())
            .ok_or_else(|| Denied::Permission(code.to_owned()))
    }

    /// Whether some interface of the capability may be permitted: asked before the body is read, so that nobody without a
    /// scope learns which interfaces exist.
    ///
    /// # Errors
    /// [`Denied::Scope`].
    pub fn check_capability(&self, capability: Capability) -> Result<(), Denied> {
        let any = self.scopes_for(capability).next().is_some();
        any.then_some(())
            .ok_or_else(|| Denied::Scope(ai_scope(capability.as_str())))
    }

    /// Whether the caller may use an interface at `now` (seconds).
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_interface(&self, interface: &Interface, now: i64) -> Result<(), Denied> {
        self.check_capability(interface.capability)?;
        let name = interface.name.as_str();
        let in_scope = self
            .scopes_for(interface.capability)
            .any(|narrowed| narrowed.is_none_or(|only| only == name));
        if !in_scope {
            return Err(Denied::Scope(format!(
                "{AI_SCOPE}{}:{name}",
                interface.capability.as_str()
            )));
        }
        let granted = self.interfaces.as_ref().is_none_or(|names| names.contains(name));
        granted.then_some(()).ok_or(Denied::Interface)?;
        self.check_details(name, now)
    }

    /// RFC 9396 §9: details narrow what the scopes allow. Their time is looked at on every call, since a verified token is remembered.
    fn check_details(&self, name: &str, now: i64) -> Result<(), Denied> {
        let Some(calls) = &self.calls else { return Ok(()) };
        let mut named = calls.iter().filter(|call| call.interfaces.contains(name)).peekable();
        if named.peek().is_none() {
            return Err(Denied::Details);
        }
        match named.all(|call| call.has_ended(now)) {
            true => Err(Denied::DetailsEnded),
            false => Ok(()),
        }
    }

    /// What somebody agreed that calls of an interface may cost (RFC 9396); empty: nothing was said about that. Of several agreements
    /// about one interface those without a limit decide.
    pub fn cost_limits(&self, interface: &str, now: i64) -> impl Iterator<Item = &Cost> {
        let named = || {
            let calls = self.calls.iter().flatten();
            calls.filter(move |call| call.interfaces.contains(interface) && !call.has_ended(now))
        };
        let limited = named().all(|call| call.max_cost.is_some());
        named().filter_map(move |call| call.max_cost.as_ref().filter(|_| limited))
    }

    /// What the token's agreements are kept by: the grant, which outlives its tokens; for a token that a client got by itself,
    /// which is renewed by no refresh, the token.
    pub fn grant(&self) -> &str {
        grant_of(&self.jti).unwrap_or(&self.jti)
    }

    /// The caller's scopes for a capability: `ai:<capability>` (`None`) and `ai:<capability>:<interface>`.
    fn scopes_for(&self, capability: Capability) -> impl Iterator<Item = Option<&str>> {
        self.scope.iter().filter_map(move |scope| {
            match scope.strip_prefix(AI_SCOPE)?.strip_prefix(capability.as_str())? {
                "" => Some(None),
                rest => rest.strip_prefix(':').map(Some),
            }
        })
    }
}

/// The members of type `ai_call`. Other types speak of other things; a member that cannot be told is no reason to allow all.
fn calls(details: &Value) -> Result<Vec<AiCall>, TokenFault> {
    let members = details.as_array().ok_or(TokenFault::MalformedDetails)?;
    let mut calls = Vec::new();
    for member in members {
        let kind = member.get("type").and_then(Value::as_str);
        let kind = kind.ok_or(TokenFault::MalformedDetails)?;
        if AuthorizationDetails::TYPES.contains(&kind) {
            let read = AuthorizationDetail::deserialize(member).map_err(|_| TokenFault::MalformedDetails)?;
            let AuthorizationDetail::AiCall(call) = read;
            calls.push(call);
        }
    }
    Ok(calls)
}

/// `NumericDate` may have a fraction (RFC 7519 §2).
fn seconds(value: &Value) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast from f64 saturates, and fractions are cut on purpose"
    )]
    value
        .as_i64()
        .or_else(|| value.as_f64().map(|fraction| fraction as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: i64 = 1_000_000;

    fn expected() -> Expected {
        Expected {
            issuer: "https://op.test".into(),
            audience: "https://gw.test".into(),
            leeway: 5,
        }
    }

    fn claims() -> Value {
        json!({"iss": "https://op.test", "aud": ["https://gw.test", "x"], "sub": "u", "client_id": "c", "jti": "g.j",
            "iat": NOW - 10, "exp": NOW + 600, "scope": "openid ai:chat"})
    }

    fn read(change: &Value) -> Result<Caller, TokenFault> {
        let mut claims = claims();
        for (name, value) in change.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        Caller::from_claims(claims.as_object().unwrap(), &expected(), NOW)
    }

    #[test]
    fn a_token_ends_with_the_client_whose_token_it_was_made_of() {
        let caller = read(&json!({"via": ["web"]})).unwrap();
        assert_eq!(
            (caller.facts().client_id, caller.facts().via),
            ("c", &["web".to_owned()][..])
        );
    }

    #[test]
    fn a_token_ends_with_everybody_who_acts_by_it() {
        let caller = read(&json!({"act": {"sub": "svc", "act": {"sub": "helper"}}})).unwrap();
        assert_eq!(caller.facts().actors, ["svc", "helper"]);
        assert!(read(&json!({})).unwrap().facts().actors.is_empty());
    }

    #[test]
    fn what_calls_may_cost_is_what_was_agreed_about_their_interface() {
        let call = |interface: &str, cost: Option<&str>| {
            let mut call = json!({"type": "ai_call", "interfaces": [interface]});
            if let Some(amount) = cost {
                call["max_cost"] = json!({"amount": amount, "currency": "EUR"});
            }
            call
        };
        let ended = json!({"type": "ai_call", "interfaces": ["chat"], "expires_at": NOW,
            "max_cost": {"amount": "99", "currency": "EUR"}});
        for (details, wanted) in [
            (json!([call("chat", Some("5"))]), vec!["5"]),
            (
                json!([
                    call("chat", Some("5")),
                    call("chat", Some("7")),
                    call("draw", Some("9"))
                ]),
                vec!["5", "7"],
            ),
            (json!([call("chat", Some("5")), call("chat", None)]), vec![]),
            (json!([ended, call("chat", Some("1"))]), vec!["1"]),
            (json!([call("draw", Some("9"))]), vec![]),
        ] {
            let caller = read(&json!({"authorization_details": details})).unwrap();
            let amounts: Vec<_> = caller
                .cost_limits("chat", NOW)
                .map(|cost| cost.amount.as_str())
                .collect();
            assert_eq!(amounts, wanted, "{details}");
        }
        assert_eq!(read(&json!({})).unwrap().cost_limits("chat", NOW).count(), 0);
        assert_eq!(read(&json!({"jti": "grant.token"})).unwrap().grant(), "grant");
        assert_eq!(read(&json!({"jti": "token"})).unwrap().grant(), "token");
    }

    #[test]
    fn each_claim_is_checked() {
        for (change, wanted) in [
            (json!({}), None),
            (json!({"aud": "https://gw.test"}), None),
            (json!({"exp": 1_000_000.5}), None),
            (json!({"iss": "https://op.test/"}), Some(TokenFault::WrongIssuer)),
            (json!({"iss": null}), Some(TokenFault::WrongIssuer)),
            (json!({"aud": "https://gw.test.evil"}), Some(TokenFault::WrongAudience)),
            (json!({"aud": ["x"]}), Some(TokenFault::WrongAudience)),
            (json!({"aud": null}), Some(TokenFault::WrongAudience)),
            (json!({"exp": null}), Some(TokenFault::Incomplete)),
            (json!({"exp": "soon"}), Some(TokenFault::Incomplete)),
            (json!({"exp": NOW - 4}), None),
            (json!({"exp": NOW - 5}), Some(TokenFault::Expired)),
            (json!({"iat": NOW + 6}), Some(TokenFault::NotYet)),
            (json!({"nbf": NOW + 5}), None),
            (json!({"nbf": NOW + 6}), Some(TokenFault::NotYet)),
            (json!({"sub": null}), Some(TokenFault::Incomplete)),
            (json!({"client_id": null}), Some(TokenFault::Incomplete)),
            (json!({"jti": null}), Some(TokenFault::Incomplete)),
            (json!({"ai_interfaces": "all"}), Some(TokenFault::Incomplete)),
            (json!({"ai_interfaces": [1]}), Some(TokenFault::Incomplete)),
            (json!({"via": ["web"], "act": {"sub": "svc"}}), None),
            (json!({"via": "web"}), Some(TokenFault::Incomplete)),
            (json!({"act": "svc"}), Some(TokenFault::Incomplete)),
            (json!({"act": {"sub": 1}}), Some(TokenFault::Incomplete)),
            (json!({"act": {"sub": "svc", "act": {}}}), Some(TokenFault::Incomplete)),
            (json!({"authorization_details": []}), None),
            (json!({"authorization_details": [{"type": "payment", "sum": 1}]}), None),
            (json!({"authorization_details": {}}), Some(TokenFault::MalformedDetails)),
            (
                json!({"authorization_details": "all"}),
                Some(TokenFault::MalformedDetails),
            ),
            (
                json!({"authorization_details": [{}]}),
                Some(TokenFault::MalformedDetails),
            ),
            (
                json!({"authorization_details": [{"type": 1}]}),
                Some(TokenFault::MalformedDetails),
            ),
            (
                json!({"authorization_details": [{"type": "ai_call"}]}),
                Some(TokenFault::MalformedDetails),
            ),
            (
                json!({"authorization_details": [{"type": "ai_call", "interfaces": ["a"], "only_on": "Sunday"}]}),
                Some(TokenFault::MalformedDetails),
            ),
        ] {
            assert_eq!(read(&change).err(), wanted, "{change}");
        }
    }

    fn interface(name: &str, capability: Capability) -> Interface {
        Interface {
            name: name.to_owned().into(),
            capability,
            enabled: true.into(),
            routes: Vec::new(),
            fields: Vec::new(),
            timeouts: super::super::interface::Timeouts::default(),
            log: super::super::interface::LogPolicy::default(),
            policy: super::super::interface::Policy::default(),
        }
    }

    #[test]
    fn scopes_and_the_clients_set_decide_together() {
        let scope = |scope: &str| Some(Denied::Scope(scope.into()));
        for (scopes, set, name, capability, wanted) in [
            ("ai:chat", json!(null), "a", Capability::Chat, None),
            ("ai:chat:a", json!(null), "a", Capability::Chat, None),
            ("ai:chat:a", json!(null), "b", Capability::Chat, scope("ai:chat:b")),
            (
                "ai:chat",
                json!(null),
                "a",
                Capability::Embeddings,
                scope("ai:embeddings"),
            ),
            ("openid", json!(null), "a", Capability::Chat, scope("ai:chat")),
            ("ai:chats", json!(null), "a", Capability::Chat, scope("ai:chat")),
            ("ai:chat", json!(["a"]), "a", Capability::Chat, None),
            ("ai:chat", json!(["a"]), "b", Capability::Chat, Some(Denied::Interface)),
            ("ai:chat", json!([]), "b", Capability::Chat, Some(Denied::Interface)),
        ] {
            let caller = read(&json!({"scope": scopes, "ai_interfaces": set})).unwrap();
            let got = caller.check_interface(&interface(name, capability), NOW).err();
            assert_eq!(got, wanted, "{scopes} {set} {name}");
        }
    }

    #[test]
    fn details_narrow_what_scopes_and_the_clients_set_allow() {
        let call =
            |interfaces: Value, end: Value| json!({"type": "ai_call", "interfaces": interfaces, "expires_at": end});
        let other = json!({"type": "payment", "interfaces": ["a"]});
        for (details, name, wanted) in [
            (json!(null), "a", None),
            (json!([call(json!(["a"]), json!(null))]), "a", None),
            (json!([call(json!(["a"]), json!(null))]), "b", Some(Denied::Details)),
            (json!([call(json!(["a"]), json!(NOW + 1))]), "a", None),
            (json!([call(json!(["a"]), json!(NOW))]), "a", Some(Denied::DetailsEnded)),
            (json!([call(json!(["a"]), json!(NOW))]), "b", Some(Denied::Details)),
            (
                json!([call(json!(["a"]), json!(NOW)), call(json!(["b", "a"]), json!(NOW + 1))]),
                "a",
                None,
            ),
            (json!([call(json!([]), json!(null))]), "a", Some(Denied::Details)),
            (json!([other, call(json!(["b"]), json!(null))]), "b", None),
            (json!([other]), "a", Some(Denied::Details)),
            (json!([]), "a", Some(Denied::Details)),
        ] {
            let caller = read(&json!({"scope": "ai:chat", "authorization_details": details})).unwrap();
            let got = caller.check_interface(&interface(name, Capability::Chat), NOW).err();
            assert_eq!(got, wanted, "{details} {name}");
        }
        // Neither scope nor the client's own set is widened.
        let all = json!([call(json!(["a"]), json!(null))]);
        let caller = read(&json!({"scope": "openid", "authorization_details": all})).unwrap();
        let denied = caller.check_interface(&interface("a", Capability::Chat), NOW).err();
        assert_eq!(denied, Some(Denied::Scope("ai:chat".into())));
        let caller = read(&json!({"ai_interfaces": ["b"], "authorization_details": all})).unwrap();
        let denied = caller.check_interface(&interface("a", Capability::Chat), NOW).err();
        assert_eq!(denied, Some(Denied::Interface));
    }
}
