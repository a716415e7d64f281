//! Clients whose id is the URL of their description (draft-ietf-oauth-client-id-metadata-document). Nobody registers them: what they
//! are is read where their id points to, and kept no longer than its host says.

use std::sync::Arc;

use oauth_wire::{ClientAuthMethod, GrantType, RedirectUri, ResponseType};
use serde_json::{Map, Value};
use url::Url;

use super::{
    fault::{self, Fault, Faults},
    metadata::{self, Frame, Speaker},
};
use crate::{
    application::{
        client_documents::{ClientDocuments, DocumentError},
        client_rules,
        policy::Policy,
    },
    domain::{
        client::Client,
        directory::DEFAULT_TENANT,
        ids::{ClientId, TenantId},
        registration::HostRule,
    },
};

/// Ways to authenticate that need no secret: there is nobody to agree on one with.
const METHODS: [&str; 2] = ["none", "private_key_jwt"];

/// Reads clients from their documents.
#[derive(Debug, Clone)]
pub struct MetadataDocuments {
    pub policy: Arc<Policy>,
    pub documents: Arc<ClientDocuments>,
}

/// Why there is no client behind the URL.
#[derive(Debug, thiserror::Error)]
pub enum CimdError {
    #[error("its host is not allowed here")]
    Host,
    #[error("its document cannot be used: {0}")]
    Document(#[from] DocumentError),
    #[error("its document is not valid: {}", fault::told(.0))]
    Invalid(Vec<Fault>),
}

impl CimdError {
    /// Whether the client may be there later, without its document changing.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Document(error) if error.may_pass())
    }
}

impl MetadataDocuments {
    /// Whether documents are looked for behind this id.
    pub fn serves(&self, id: &ClientId) -> bool {
        self.policy.registration.metadata_documents && id.as_metadata_url().is_some()
    }

    /// The client that the document at its id describes.
    ///
    /// # Errors
    /// [`CimdError`].
    pub async fn resolve(&self, id: &ClientId) -> Result<Client, CimdError> {
        let policy = &self.policy.registration;
        if !HostRule::allow(&policy.metadata_hosts, id.as_str()) {
            return Err(CimdError::Host);
        }
        let document = self.documents.metadata.load(id.as_str()).await?;
        let mut faults = Faults::default();
        let client = self.read(id, &document, &mut faults);
        match faults.is_empty() {
            true => Ok(client),
            false => Err(CimdError::Invalid(faults.into_iter().collect())),
        }
    }

    fn read(&self, id: &ClientId, document: &Map<String, Value>, faults: &mut Faults) -> Client {
        // Byte by byte: a document that was copied to another place describes nobody there.
        if document.get("client_id").and_then(Value::as_str) != Some(id.as_str()) {
            faults.add("client_id", "must be the very URL of the document");
        }
        for name in ["client_secret", "client_secret_expires_at"] {
            if document.contains_key(name) {
                faults.add(name, "has no place in a public document");
            }
        }
        let method = document.get("token_endpoint_auth_method");
        if method.is_some_and(|method| method.as_str().is_none_or(|method| !METHODS.contains(&method))) {
            faults.add(
                "token_endpoint_auth_method",
                format!("must be {}", METHODS.join(" or ")),
            );
        }
        let fitting = fitting(id, document);
        let mut client = metadata::read(&fitting, frame(id, &self.policy), faults);
        if client.redirect_uris.is_empty() {
            faults.add("redirect_uris", "holds none at the origin of client_id or on loopback");
        }
        if metadata::says_nothing(document, "client_name") {
            client.client_name = host(id);
        }
        let policy = &self.policy.registration;
        client.grant_types.retain(|grant| policy.grant_types.contains(grant));
        if !client.may_use(GrantType::AuthorizationCode) {
            faults.add("grant_types", "does not hold authorization_code");
        }
        client.scope = match document.get("scope").and_then(Value::as_str).unwrap_or_default() {
            "" => policy.metadata_scopes.clone(),
            _ => client.scope.intersection(&policy.metadata_scopes),
        };
        for fault in client_rules::faults_of_stranger(&client, &self.policy) {
            faults.add(fault.member, fault.reason);
        }
        client
    }

    /// What can be told of the client without asking its host: for somebody who used it once and looks at a list.
    pub fn outline(&self, id: &ClientId) -> Client {
        outline(id, &self.policy)
    }
}

/// A client of that id and nothing else.
pub fn outline(id: &ClientId, policy: &Policy) -> Client {
    let mut client = metadata::read(&Map::new(), frame(id, policy), &mut Faults::default());
    client.client_name = host(id);
    client.grant_types.clear();
    client.response_types.clear();
    client
}

/// What a client without a name is called.
fn host(id: &ClientId) -> String {
    let host = id.as_metadata_url().and_then(|url| url.host_str().map(str::to_owned));
    host.unwrap_or_else(|| id.to_string())
}

fn frame<'a>(id: &ClientId, policy: &'a Policy) -> Frame<'a> {
    Frame {
        client_id: id.clone(),
        tenant: TenantId::new(DEFAULT_TENANT),
        speaker: Speaker::Stranger,
        default_method: ClientAuthMethod::None,
        reach: &policy.registration.reach,
    }
}

/// The document is for every provider there is: what it says beyond what this one knows is not meant for it.
fn fitting(id: &ClientId, document: &Map<String, Value>) -> Map<String, Value> {
    let mut fitting = document.clone();
    let mut keep = |name: &str, is_known: &dyn Fn(&str) -> bool| {
        if let Some(Value::Array(items)) = fitting.get_mut(name) {
            items.retain(|item| item.as_str().is_none_or(is_known));
        }
    };
    keep("grant_types", &|text| GrantType::from_wire(text).is_some());
    keep("response_types", &|text| ResponseType::from_wire(text).is_some());
    keep("redirect_uris", &|text| belongs(id, text));
    keep("post_logout_redirect_uris", &|text| belongs(id, text));
    fitting
}

/// Whether the URI is the client's own: at its origin, or on the device of whoever uses it. Who controls another host, or an
/// application that claims a scheme, has not said that the client is theirs.
fn belongs(id: &ClientId, uri: &str) -> bool {
    let (Some(own), Ok(_), Ok(url)) = (id.as_metadata_url(), RedirectUri::parse(uri), Url::parse(uri)) else {
        return false;
    };
    match url.scheme() {
        // Plain http is loopback's, or it would not have been read.
        "http" => true,
        "https" => url.origin() == own.origin(),
        _ => false,
    }
}
