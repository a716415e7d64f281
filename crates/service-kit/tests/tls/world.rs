//! A server that tells what it sees of its peer, and OpenSSL clients.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use axum::{Extension, Json, Router, body::Bytes, routing::get};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod, SslVerifyMode, SslVersion};
use serde_json::{Value, json};
use service_kit::{
    BoundListener, Clock as _, Limits, PeerAddress, PeerCertificate, PeerRules, SystemClock, Tasks, TlsConfig,
};
use tempfile::TempDir;
use test_kit::certificates::{Identity, Recipe};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

pub(crate) const H1: &[u8] = b"\x08http/1.1";
pub(crate) const H2: &[u8] = b"\x02h2";

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    tasks: Tasks,
    _files: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

/// What is to be served; by default TLS with an EC key, nobody trusted.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) plain: bool,
    pub(crate) rsa: bool,
    pub(crate) rules: PeerRules,
    pub(crate) tls: TlsConfig,
    pub(crate) limits: Limits,
}

impl Setup {
    pub(crate) async fn start(self) -> Server {
        let files = tempfile::tempdir().unwrap();
        let own = Recipe {
            name: "localhost",
            rsa: self.rsa.then_some(2048),
            ..Recipe::default()
        };
        let tls = match self.plain {
            true => TlsConfig::default(),
            false => own.make().files(files.path()).asking(self.tls.client_certificates),
        };
        let listener = BoundListener::bind((Ipv4Addr::LOCALHOST, 0).into(), &tls)
            .await
            .unwrap();
        let (address, tasks) = (listener.address(), Tasks::default());
        let listener = listener.with_limits(self.limits).with_peer_rules(Arc::new(self.rules));
        let router = Router::new().route("/", get(tell));
        tasks.spawn(listener.serve(router, tasks.clone(), Duration::from_secs(5)));
        Server {
            address,
            tasks,
            _files: files,
        }
    }
}

async fn tell(address: Option<Extension<PeerAddress>>, certificate: Option<Extension<PeerCertificate>>) -> Json<Value> {
    let certificate = certificate.map(|Extension(certificate)| {
        json!({
            "subject_dn": certificate.subject_dn,
            "thumbprint": certificate.thumbprint,
            "dns": certificate.san_dns,
            "uri": certificate.san_uri,
            "ip": certificate.san_ip,
            "email": certificate.san_email,
            "chain": certificate.chain().count(),
            "verified": certificate.verify(SystemClock.now()).err().map(|reason| reason.to_string()),
        })
    });
    let address = address.map(|Extension(PeerAddress(address))| address.ip());
    Json(json!({"address": address, "certificate": certificate}))
}

pub(crate) fn connector() -> SslConnectorBuilder {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    connector
}

pub(crate) fn only(version: SslVersion) -> SslConnectorBuilder {
    let mut connector = connector();
    // Clients of TLS 1.1 have no signature that today's security level lets pass.
    connector.set_security_level(0);
    connector.set_min_proto_version(Some(version)).unwrap();
    connector.set_max_proto_version(Some(version)).unwrap();
    connector
}

pub(crate) fn showing(
    mut connector: SslConnectorBuilder,
    client: &Identity,
    chain: &[&Identity],
) -> SslConnectorBuilder {
    connector.set_certificate(&client.certificate).unwrap();
    connector.set_private_key(&client.key).unwrap();
    for link in chain {
        connector.add_extra_chain_cert(link.certificate.clone()).unwrap();
    }
    connector
}

pub(crate) type Tls = tokio_openssl::SslStream<TcpStream>;

impl Server {
    pub(crate) async fn connect_from(&self, source: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((IpAddr::V4(source), 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// Shakes hands and waits until the server has its part: in TLS 1.3 a client is done first.
    pub(crate) async fn shake(&self, connector: SslConnectorBuilder) -> Result<Tls, openssl::ssl::Error> {
        self.shake_from(Ipv4Addr::LOCALHOST, connector).await
    }

    pub(crate) async fn shake_from(
        &self,
        source: Ipv4Addr,
        connector: SslConnectorBuilder,
    ) -> Result<Tls, openssl::ssl::Error> {
        let ssl = connector.build().configure().unwrap().into_ssl("localhost").unwrap();
        let mut stream = Tls::new(ssl, self.connect_from(source).await).unwrap();
        Pin::new(&mut stream).connect().await?;
        Ok(stream)
    }

    /// What the server sees of somebody who shakes hands so and sends these headers.
    pub(crate) async fn seen(&self, connector: SslConnectorBuilder, headers: &[(&str, &str)]) -> Value {
        self.seen_from(Ipv4Addr::LOCALHOST, connector, headers).await
    }

    pub(crate) async fn seen_from(
        &self,
        source: Ipv4Addr,
        mut connector: SslConnectorBuilder,
        headers: &[(&str, &str)],
    ) -> Value {
        connector.set_alpn_protos(H1).unwrap();
        let stream = self.shake_from(source, connector).await.unwrap();
        ask(stream, headers).await
    }

    /// The same without TLS.
    pub(crate) async fn seen_in_the_open(&self, source: Ipv4Addr, headers: &[(&str, &str)]) -> Value {
        ask(self.connect_from(source).await, headers).await
    }
}

/// One request and its answer, and the connection stays open.
pub(crate) async fn chat(stream: &mut Tls) {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = [0; 1024];
    assert_ne!(stream.read(&mut answer).await.unwrap(), 0);
}

pub(crate) async fn ask<S>(stream: S, headers: &[(&str, &str)]) -> Value
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let mut request = http::Request::get("/").header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let asking = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap());
    let answer = tokio::select! {
        answer = asking => answer.unwrap(),
        _ = connection => panic!("hung up"),
    };
    read(answer).await
}

pub(crate) async fn ask_by_http2(stream: Tls) -> Value {
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let tasks = Tasks::default();
    tasks.spawn(async move { drop(connection.await) });
    let request = http::Request::get("https://localhost/")
        .body(Empty::<Bytes>::new())
        .unwrap();
    read(sender.send_request(request).await.unwrap()).await
}

async fn read(answer: http::Response<hyper::body::Incoming>) -> Value {
    assert_eq!(answer.status(), 200);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap()
}
