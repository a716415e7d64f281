//! From the metadata of a client, under the names of RFC 7591 and its kin, to a [`Client`].
//!
//! Documents of the operator, registrations by strangers and documents behind a client id all come through here, so that no door
//! has rules of its own. What a client says about itself is here; what only the operator can say (whether it is one of their own,
//! which permissions it holds) is added by who calls.

use std::collections::BTreeSet;

use oauth_wire::{ClientAuthMethod, GrantType, RedirectUri, ResponseType, Scope, SigningAlg};
use serde_json::{Map, Value};
use url::Url;

use super::{fault::Faults, localized, members::members};
use crate::domain::{
    client::{Client, ClientLinks, ClientStatus},
    client_protocol::{ApplicationType, AssertionAudience, ClientProtocol},
    ids::{ClientId, TenantId},
    reach::{AllowedHost, Target},
    security_profile::SecurityProfile,
};

/// Members of [`Client`] itself that its metadata may hold.
const OWN_MEMBERS: [&str; 13] = [
    "client_name",
    "redirect_uris",
    "post_logout_redirect_uris",
    "grant_types",
    "response_types",
    "scope",
    "token_endpoint_auth_method",
    "id_token_signed_response_alg",
    "access_token_signing_alg",
    "client_uri",
    "logo_uri",
    "policy_uri",
    "tos_uri",
];
/// Members of [`ClientProtocol`] that are ours to write.
const KEPT: [&str; 1] = ["localized"];
/// Longest text, in bytes.
const MAX_TEXT: usize = 2048;
/// Longest name of a client, in characters: it stands on pages.
const MAX_NAME: usize = 200;
/// Most items of a list.
const MAX_ITEMS: usize = 50;
/// Largest key set, in bytes of JSON.
const MAX_JWKS: usize = 32 * 1024;

/// Whether a member belongs to the metadata of clients. Names with a language (`client_name#de`) count.
pub fn is_member(name: &str) -> bool {
    OWN_MEMBERS.contains(&name) || is_protocol_member(name) || localized::is_localized(name)
}

fn is_protocol_member(name: &str) -> bool {
    !KEPT.contains(&name) && members::<ClientProtocol>().contains(&name)
}

/// Who describes the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// The operator, who may link to plain http pages of the house.
    Operator,
    /// Anybody.
    Stranger,
}

/// What the metadata does not say.
#[derive(Debug)]
pub struct Frame<'a> {
    pub client_id: ClientId,
    pub tenant: TenantId,
    pub speaker: Speaker,
    /// Of a client that names no `token_endpoint_auth_method`.
    pub default_method: ClientAuthMethod,
    pub reach: &'a Reach,
}

/// Where else than to https a client's addresses may lead.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// `outbound.allow_hosts`.
    pub allowed: Vec<AllowedHost>,
    /// `dev_mode`: http on loopback will do for what only browsers open.
    pub plain_loopback: bool,
}

/// Reads the metadata. Members that are not known are passed over (RFC 7591 §2); a caller that wants none asks [`is_member`] first.
/// The client has no secrets and nothing that only an operator can give it. With any fault it is of no use. The rules between
/// members are [`client_rules`](crate::application::client_rules)'s, once the client is whole.
pub fn read(metadata: &Map<String, Value>, frame: Frame<'_>, faults: &mut Faults) -> Client {
    let mut reader = Reader {
        metadata,
        speaker: frame.speaker,
        reach: frame.reach,
        faults,
    };
    reader.bounds();
    let grant_types = reader
        .words("grant_types", GrantType::from_wire)
        .unwrap_or_else(|| [GrantType::AuthorizationCode].into());
    let response_types = reader
        .words("response_types", ResponseType::from_wire)
        .unwrap_or_else(|| default_response_types(&grant_types));
    let redirect_uris = reader.redirect_uris("redirect_uris");
    let protocol = reader.protocol(&redirect_uris);
    let profile = protocol.security_profile;
    let id_token_alg = profile.map_or(SigningAlg::Rs256, SecurityProfile::default_signing_alg);
    let client_name = reader.name(&redirect_uris, &frame.client_id);
    let mut client = Client {
        tenant: frame.tenant,
        client_name,
        secrets: Vec::new(),
        token_endpoint_auth_method: reader.method(frame.default_method),
        post_logout_redirect_uris: reader.redirect_uris("post_logout_redirect_uris"),
        redirect_uris,
        grant_types,
        response_types,
        scope: reader.scope(),
        links: ClientLinks {
            client_uri: reader.link("client_uri"),
            logo_uri: reader.fetched("logo_uri"),
            policy_uri: reader.link("policy_uri"),
            tos_uri: reader.link("tos_uri"),
        },
        first_party: false,
        auto_approve: false,
        require_pkce: true,
        access_token_ttl: None,
        refresh_token_ttl: None,
        id_token_signed_response_alg: reader.alg("id_token_signed_response_alg", id_token_alg),
        access_token_signing_alg: reader.alg("access_token_signing_alg", SigningAlg::Es256),
        ai_interfaces: None,
        permissions: BTreeSet::new(),
        status: ClientStatus::Active,
        protocol,
        client_id: frame.client_id,
    };
    if let Some(profile) = profile {
        profile.imply(&mut client);
    }
    if frame.speaker == Speaker::Stranger {
        let fitting = AssertionAudience::of_stranger(&client);
        // RFC 7591 §2: a server may put another value in place of one that it does not allow. A profile says itself what contradicts it.
        let is_replaced = fitting == AssertionAudience::Issuer && profile.is_none();
        if is_replaced || says_nothing(metadata, "client_assertion_audience") {
            client.protocol.client_assertion_audience = fitting;
        }
    }
    client
}

/// RFC 7591 §2: the response types that go with the grants.
fn default_response_types(grant_types: &BTreeSet<GrantType>) -> BTreeSet<ResponseType> {
    match grant_types.contains(&GrantType::AuthorizationCode) {
        true => [ResponseType::Code].into(),
        false => BTreeSet::new(),
    }
}

/// Whether the member is absent, or null or the empty text: so clients write that leave a field empty (RFC 7592 §2.2).
pub(super) fn says_nothing(metadata: &Map<String, Value>, name: &str) -> bool {
    metadata
        .get(name)
        .is_none_or(|value| value.is_null() || value.as_str() == Some(""))
}

struct Reader<'a> {
    metadata: &'a Map<String, Value>,
    speaker: Speaker,
    reach: &'a Reach,
    faults: &'a mut Faults,
}

impl<'a> Reader<'a> {
    /// A member that says something.
    fn get(&self, name: &str) -> Option<&'a Value> {
        match says_nothing(self.metadata, name) {
            true => None,
            false => self.metadata.get(name),
        }
    }

    /// No member is longer than anybody needs, whatever it is.
    fn bounds(&mut self) {
        for (name, value) in self.metadata.iter().filter(|(name, _)| is_member(name)) {
            let reason = match value {
                Value::String(text) if text.len() > MAX_TEXT => "is too long",
                Value::String(text) if text.chars().any(char::is_control) => "holds a control character",
                Value::Array(items) if items.len() > MAX_ITEMS => "has too many items",
                Value::Array(items) if items.iter().any(|item| !is_short(item)) => "has an item that is too long",
                Value::Object(_) if value.to_string().len() > MAX_JWKS => "is too large",
                _ => continue,
            };
            self.faults.add(name.as_str(), reason);
        }
    }

    fn text(&mut self, name: &str) -> Option<&'a str> {
        let value = self.get(name)?;
        if !value.is_string() {
            self.faults.add(name, "must be a text");
        }
        value.as_str()
    }

    fn texts(&mut self, name: &str) -> Option<Vec<&'a str>> {
        let value = self.get(name)?;
        let texts = value
            .as_array()
            .and_then(|items| items.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        if texts.is_none() {
            self.faults.add(name, "must be a list of texts");
        }
        texts
    }

    fn words<T: Ord>(&mut self, name: &str, read: fn(&str) -> Option<T>) -> Option<BTreeSet<T>> {
        let mut words = BTreeSet::new();
        for (at, text) in self.texts(name)?.into_iter().enumerate() {
            match read(text) {
                Some(word) => drop(words.insert(word)),
                None => self.faults.add(format!("{name}[{at}]"), "is not supported"),
            }
        }
        Some(words)
    }

    fn redirect_uris(&mut self, name: &str) -> Vec<RedirectUri> {
        let mut uris = Vec::new();
        for (at, text) in self.texts(name).unwrap_or_default().into_iter().enumerate() {
            match RedirectUri::parse(text) {
                Ok(uri) => uris.push(uri),
                Err(error) => self.faults.add(format!("{name}[{at}]"), error.to_string()),
            }
        }
        uris
    }

    fn scope(&mut self) -> Scope {
        let text = self.text("scope").unwrap_or_default();
        text.parse().unwrap_or_else(|error: oauth_wire::ScopeError| {
            self.faults.add("scope", error.to_string());
            Scope::default()
        })
    }

    /// Without a name people know the application by the host that it sends them to.
    fn name(&mut self, redirect_uris: &[RedirectUri], client_id: &ClientId) -> String {
        if let Some(name) = self.text("client_name") {
            if name.chars().count() > MAX_NAME {
                self.faults
                    .add("client_name", format!("has more than {MAX_NAME} characters"));
            }
            return name.to_owned();
        }
        let host = redirect_uris.first().and_then(|uri| Url::parse(uri.as_str()).ok());
        let host = host.as_ref().and_then(Url::host_str);
        match (self.speaker, host) {
            (Speaker::Stranger, Some(host)) => host.to_owned(),
            _ => client_id.as_str().to_owned(),
        }
    }

    fn method(&mut self, default: ClientAuthMethod) -> ClientAuthMethod {
        let Some(text) = self.text("token_endpoint_auth_method") else {
            return default;
        };
        ClientAuthMethod::from_wire(text).unwrap_or_else(|| {
            let known: Vec<&str> = ClientAuthMethod::ALL.iter().map(|method| method.as_str()).collect();
            self.faults.add(
                "token_endpoint_auth_method",
                format!("must be one of {}", known.join(", ")),
            );
            default
        })
    }

    fn alg(&mut self, name: &str, default: SigningAlg) -> SigningAlg {
        let Some(text) = self.text(name) else { return default };
        SigningAlg::from_wire(text).unwrap_or_else(|| {
            self.faults.add(name, "is not supported");
            default
        })
    }

    /// A page for people to open.
    fn link(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        let reach = match self.speaker {
            Speaker::Operator => Plain::Anywhere,
            Speaker::Stranger => Plain::Never,
        };
        self.web_address(name, text, reach);
        Some(text.to_owned())
    }

    /// An address that the provider itself asks.
    fn fetched(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        self.check_fetched(name, text);
        Some(text.to_owned())
    }

    fn check_fetched(&mut self, name: &str, text: &str) {
        if let Err(refusal) = Target::parse(text, &self.reach.allowed) {
            self.faults.add(name, refusal.to_string());
        }
    }

    /// An address that browsers are sent to.
    fn web_address(&mut self, name: &str, text: &str, plain: Plain) {
        let is_loopback = |url: &Url| self.reach.plain_loopback && is_loopback(url);
        let fine = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
            && !text.split(['/', '?', '#']).nth(2).unwrap_or_default().contains('@')
            && Url::parse(text).is_ok_and(|url| match url.scheme() {
                "https" => url.has_host(),
                "http" => url.has_host() && (plain == Plain::Anywhere || is_loopback(&url)),
                _ => false,
            });
        if !fine {
            let schemes = match plain {
                Plain::Anywhere => "must be an http or https URL",
                Plain::Never => "must be an https URL",
            };
            self.faults.add(name, schemes);
        }
    }

    /// The members of [`ClientProtocol`], whose types it alone says.
    fn protocol(&mut self, redirect_uris: &[RedirectUri]) -> ClientProtocol {
        let mut sound = Map::new();
        for name in members::<ClientProtocol>() {
            let Some(value) = self.get(name).filter(|_| is_protocol_member(name)) else {
                continue;
            };
            let alone = Map::from_iter([((*name).to_owned(), value.clone())]);
            match serde_json::from_value::<ClientProtocol>(Value::Object(alone)) {
                Ok(_) => drop(sound.insert((*name).to_owned(), value.clone())),
                // What serde says of a key set could repeat the key.
                Err(_) if *name == "jwks" => self.faults.add(*name, "must be a JSON Web Key Set"),
                Err(error) => self.faults.add(*name, error.to_string()),
            }
        }
        let says_type = sound.contains_key("application_type");
        // Every member of it was read before.
        let mut protocol: ClientProtocol = serde_json::from_value(Value::Object(sound)).unwrap_or_default();
        if !says_type && redirect_uris.iter().any(|uri| !uri.as_str().starts_with("https:")) {
            // Only an application on the person's own device has such an address (RFC 8252 §7). Many say nothing of it.
            protocol.application_type = ApplicationType::Native;
        }
        protocol.localized = localized::read(self.metadata, self.faults);
        self.addresses(&protocol);
        protocol
    }

    fn addresses(&mut self, protocol: &ClientProtocol) {
        for (name, text) in [
            ("jwks_uri", &protocol.jwks_uri),
            ("sector_identifier_uri", &protocol.sector_identifier_uri),
            ("backchannel_logout_uri", &protocol.backchannel_logout_uri),
            (
                "backchannel_client_notification_endpoint",
                &protocol.backchannel_client_notification_endpoint,
            ),
        ] {
            if let Some(text) = text {
                self.check_fetched(name, text);
            }
        }
        for (at, text) in protocol.request_uris.iter().enumerate() {
            // OpenID Connect Core §6.2: the fragment may be the document's hash.
            let address = text.split('#').next().unwrap_or_default();
            self.check_fetched(&format!("request_uris[{at}]"), address);
        }
        for (name, text) in [
            ("initiate_login_uri", &protocol.initiate_login_uri),
            ("frontchannel_logout_uri", &protocol.frontchannel_logout_uri),
        ] {
            if let Some(text) = text {
                self.web_address(name, text, Plain::Never);
            }
        }
        for (name, text) in &protocol.localized {
            if localized::is_address(name) {
                self.web_address(name, text, Plain::Never);
            }
        }
    }
}

/// Where plain http will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plain {
    Anywhere,
    /// But on loopback in a laboratory.
    Never,
}

fn is_short(item: &Value) -> bool {
    match item {
        Value::String(text) => text.len() <= MAX_TEXT && !text.chars().any(char::is_control),
        _ => true,
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;
