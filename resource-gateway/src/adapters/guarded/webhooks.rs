//! Messages to servers that callers and administrators name and operators allow. Nothing of an answer is read but its status.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use reqwest::{Client, header::CONTENT_TYPE};
use secrecy::ExposeSecret as _;
use service_kit::{Network, Reach};
use tokio::sync::OnceCell;
use url::Url;

use crate::ports::jobs::{WebhookFault, WebhookMessage, WebhookSender};

const MAX_URL_BYTES: usize = 2048;
/// For one message, from the name's resolution to the status.
const DEADLINE: Duration = Duration::from_secs(10);

/// Which servers may be told.
#[derive(Debug, Clone)]
pub struct WebhookRules {
    hosts: Vec<AllowedHost>,
    networks: Arc<[Network]>,
}

#[derive(Debug, Clone)]
enum AllowedHost {
    This(String),
    /// Any name that ends so, with the dot.
    Below(String),
}

impl WebhookRules {
    /// Hosts as they are configured, and the networks that are not public and yet allowed.
    pub fn new(hosts: &[String], networks: Vec<Network>) -> Self {
        let host = |host: &String| match host.strip_prefix('*') {
            Some(end) => AllowedHost::Below(end.to_owned()),
            None => AllowedHost::This(host.clone()),
        };
        Self {
            hosts: hosts.iter().map(host).collect(),
            networks: networks.into(),
        }
    }

    fn reach(&self, url: &Url) -> Reach {
        // What goes in the clear does not leave the operator's own networks.
        Reach::new(Arc::clone(&self.networks), url.scheme() == "https")
    }

    fn read(&self, text: &str) -> Result<Url, &'static str> {
        if self.hosts.is_empty() {
            return Err("cannot be used: the operator of this gateway allows no webhooks");
        }
        let url = super::parse(text).filter(|_| text.len() <= MAX_URL_BYTES);
        let url = url.ok_or("is not a URL")?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err("must be a URL without user name and fragment");
        }
        let scheme = url.scheme();
        if scheme != "https" && (scheme != "http" || self.networks.is_empty()) {
            return Err("must be an https URL");
        }
        let name = url.host_str().ok_or("is not a URL")?;
        let allowed = self.hosts.iter().any(|host| match host {
            AllowedHost::This(host) => name == host,
            AllowedHost::Below(end) => name.len() > end.len() && name.ends_with(end),
        });
        if !allowed {
            return Err("names a host that the operator of this gateway does not allow");
        }
        if super::literal(&url).is_some_and(|address| !self.reach(&url).covers(address)) {
            return Err("names an address that the operator of this gateway does not allow");
        }
        Ok(url)
    }
}

#[derive(Debug)]
struct Clients {
    secure: Client,
    plain: Client,
}

/// The guarded client.
#[derive(Debug)]
pub struct HttpWebhooks {
    rules: WebhookRules,
    /// PEM.
    extra_ca: Option<Vec<u8>>,
    /// Made at the first message: reading the system's certificates takes tens of milliseconds, and many an installation never tells
    /// anybody.
    clients: OnceCell<Clients>,
}

impl HttpWebhooks {
    pub fn new(rules: WebhookRules, extra_ca: Option<Vec<u8>>) -> Self {
        Self {
            rules,
            extra_ca,
            clients: OnceCell::new(),
        }
    }

    async fn clients(&self) -> Result<&Clients, WebhookFault> {
        let build = || async {
            let (networks, extra_ca) = (Arc::clone(&self.rules.networks), self.extra_ca.clone());
            let built = tokio::task::spawn_blocking(move || {
                let reach = |public| Reach::new(Arc::clone(&networks), public);
                Ok::<_, reqwest::Error>(Clients {
                    secure: client(reach(true), extra_ca.as_deref())?,
                    plain: client(reach(false), extra_ca.as_deref())?,
                })
            });
            built.await.map_err(|_| WebhookFault::Transport)?.map_err(|error| {
                tracing::error!(%error, "the client of webhooks cannot be built");
                WebhookFault::Transport
            })
        };
        self.clients.get_or_try_init(build).await
    }
}

fn client(reach: Reach, extra_ca: Option<&[u8]>) -> Result<Client, reqwest::Error> {
    let client = super::client(reach, extra_ca)?;
    client.connect_timeout(DEADLINE / 2).timeout(DEADLINE).build()
}

#[async_trait]
impl WebhookSender for HttpWebhooks {
    fn check(&self, url: &str) -> Result<(), &'static str> {
        self.rules.read(url).map(drop)
    }

    async fn post(&self, message: WebhookMessage<'_>) -> Result<(), WebhookFault> {
        // Once more: operators may have changed their mind since.
        let url = self.rules.read(message.url.expose_secret());
        let url = url.map_err(|_| WebhookFault::Refused)?;
        let reach = self.rules.reach(&url);
        let clients = self.clients().await?;
        let client = if reach.is_public() {
            &clients.secure
        } else {
            &clients.plain
        };
        let mut request = client.post(url).header(CONTENT_TYPE, "application/json");
        for (name, value) in message.headers {
            request = request.header(name, value);
        }
        let answer = request
            .body(message.body)
            .send()
            .await
            .map_err(|error| match error.is_timeout() {
                true => WebhookFault::Timeout,
                false => WebhookFault::Transport,
            })?;
        // The third line, after URL and resolver: whatever connected, it is not a forbidden address that has taken it.
        if !answer.remote_addr().is_some_and(|peer| reach.covers(peer.ip())) {
            return Err(WebhookFault::Refused);
        }
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(WebhookFault::Status(status.as_u16())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(hosts: &[&str], networks: &[&str]) -> WebhookRules {
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        WebhookRules::new(&hosts, networks)
    }

    #[test]
    fn only_allowed_hosts_are_told() {
        let rules = rules(
            &["hooks.example", "*.below.example", "10.0.0.7", "8.8.8.8", "[::1]"],
            &[],
        );
        for (url, good) in [
            ("https://hooks.example/x?y=z", true),
            ("https://HOOKS.example:8443", true),
            ("https://a.below.example/", true),
            ("https://a.b.below.example/", true),
            ("https://8.8.8.8/", true),
            ("https://below.example/", false),
            ("https://evilbelow.example/", false),
            ("https://hooks.example.evil/", false),
            ("http://hooks.example/", false),
            ("ftp://hooks.example/", false),
            ("https://user@hooks.example/", false),
            ("https://hooks.example@evil.example/", false),
            ("https://hooks.example/#x", false),
            ("https://hooks.example\\@evil.example/", false),
            // Listed as a host, but no network of the operator's.
            ("https://10.0.0.7/", false),
            ("https://[::1]/", false),
            ("hooks.example", false),
        ] {
            assert_eq!(rules.read(url).is_ok(), good, "{url}");
        }
        let long = format!("https://hooks.example/{}", "a".repeat(MAX_URL_BYTES));
        assert!(rules.read(&long).is_err());
    }

    #[test]
    fn private_addresses_and_plain_http_take_a_listed_network() {
        let rules = rules(&["10.0.0.7", "8.8.8.8", "hooks.example"], &["10.0.0.0/8"]);
        for (url, good) in [
            ("http://10.0.0.7:8080/", true),
            ("https://10.0.0.7/", true),
            ("http://8.8.8.8/", false),
            ("https://8.8.8.8/", true),
            // What it resolves to is looked at when it is connected to.
            ("http://hooks.example/", true),
        ] {
            assert_eq!(rules.read(url).is_ok(), good, "{url}");
        }
        assert!(self::rules(&[], &["10.0.0.0/8"]).read("http://10.0.0.7/").is_err());
    }
}
