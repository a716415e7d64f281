//! Every socket that the provider listens on, and what each asks of its clients.

use std::{sync::Arc, time::Duration};

use axum::Router;
use service_kit::{BoundListener, ClientCertificates, Tasks, TlsConfig};

use crate::config::Config;

/// Every socket that the provider listens on.
pub(super) struct Listeners {
    public: BoundListener,
    /// For clients with certificates, when they have one of their own.
    mtls: Option<BoundListener>,
    management: BoundListener,
}

impl Listeners {
    pub(super) async fn bind(config: &Config) -> anyhow::Result<Self> {
        let rules = Arc::new(config.peer_rules()?);
        let limits = config.connections.limits();
        let public = |listener: BoundListener| listener.with_limits(limits).with_peer_rules(rules.clone());
        let mtls = match config.mtls.listen {
            None => None,
            Some(address) => {
                let tls = config.tls.asking(ClientCertificates::Optional);
                Some(public(BoundListener::bind(address, &tls).await?))
            }
        };
        Ok(Self {
            public: public(BoundListener::bind(config.listen, &config.main_tls()).await?),
            mtls,
            management: BoundListener::bind(config.management_listen, &TlsConfig::default()).await?,
        })
    }

    /// By the names that the ready file gives them.
    pub(super) fn addresses(&self) -> serde_json::Value {
        let named = [
            ("listen", Some(&self.public)),
            ("management", Some(&self.management)),
            ("mtls", self.mtls.as_ref()),
        ];
        let present = named
            .into_iter()
            .filter_map(|(name, listener)| Some((name, listener?.address())));
        present.map(|(name, address)| (name, address.to_string())).collect()
    }

    pub(super) fn serve(self, router: &Router, management: Router, tasks: &Tasks, grace: Duration) {
        for listener in std::iter::once(self.public).chain(self.mtls) {
            tasks.spawn(listener.serve(router.clone(), tasks.clone(), grace));
        }
        tasks.spawn(self.management.serve(management, tasks.clone(), grace));
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, path::Path, pin::Pin};

    use axum::{Extension, routing::get};
    use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
    use service_kit::PeerCertificate;
    use test_kit::certificates::self_signed;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    fn config(directory: &Path) -> Config {
        Config {
            listen: ([127, 0, 0, 1], 0).into(),
            management_listen: ([127, 0, 0, 1], 0).into(),
            tls: self_signed("localhost").files(directory),
            ..Config::default()
        }
    }

    async fn tell(certificate: Option<Extension<PeerCertificate>>) -> String {
        certificate.map_or_else(
            || "nobody".to_owned(),
            |Extension(certificate)| certificate.subject_dn.clone(),
        )
    }

    /// Whom a listener takes a client with a certificate for.
    async fn seen(address: &serde_json::Value) -> String {
        let address: SocketAddr = address.as_str().unwrap().parse().unwrap();
        let client = self_signed("Alice");
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        connector.set_certificate(&client.certificate).unwrap();
        connector.set_private_key(&client.key).unwrap();
        let ssl = connector.build().configure().unwrap().into_ssl("localhost").unwrap();
        let mut stream = tokio_openssl::SslStream::new(ssl, TcpStream::connect(address).await.unwrap()).unwrap();
        Pin::new(&mut stream).connect().await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.rsplit("\r\n\r\n").next().unwrap().to_owned()
    }

    async fn serve(config: &Config) -> (serde_json::Value, Tasks) {
        let listeners = Listeners::bind(config).await.unwrap();
        let (addresses, tasks) = (listeners.addresses(), Tasks::default());
        let router = Router::new().route("/", get(tell));
        listeners.serve(&router, Router::new(), &tasks, Duration::from_secs(1));
        (addresses, tasks)
    }

    #[tokio::test]
    async fn the_main_listener_asks_for_certificates_when_nobody_else_does() {
        let directory = tempfile::tempdir().unwrap();
        let (addresses, tasks) = serve(&config(directory.path())).await;
        assert!(addresses.get("mtls").is_none());
        assert_eq!(seen(&addresses["listen"]).await, "CN=Alice,O=Bank\\, Söhne");
        tasks.drain(Duration::from_secs(1)).await;
    }

    #[tokio::test]
    async fn a_listener_for_certificates_takes_the_question_from_the_main_one() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(directory.path());
        config.mtls.listen = Some(([127, 0, 0, 1], 0).into());
        // The main listener's setting is not this one's.
        for asked in [ClientCertificates::Optional, ClientCertificates::Off] {
            config.tls.client_certificates = asked;
            let (addresses, tasks) = serve(&config).await;
            assert_eq!(seen(&addresses["listen"]).await, "nobody");
            assert_eq!(seen(&addresses["mtls"]).await, "CN=Alice,O=Bank\\, Söhne");
            tasks.drain(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test]
    async fn authorities_that_cannot_be_read_are_named_before_anything_listens() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(directory.path());
        let missing = directory.path().join("missing.pem");
        for (file, reason) in [
            (missing, "missing.pem"),
            (config.tls.key.clone().unwrap(), "holds no certificate"),
        ] {
            config.mtls.ca = Some(file);
            let error = Listeners::bind(&config).await.err().unwrap();
            assert!(format!("{error:#}").contains(reason), "{error:#}");
        }
    }
}
