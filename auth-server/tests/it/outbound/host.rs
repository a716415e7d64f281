//! Somebody else's host: says what it is told to say, byte for byte, and remembers what it was asked.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    ssl::{Ssl, SslAcceptor, SslMethod},
    x509::{
        X509, X509NameBuilder,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// What a host does with each request.
#[derive(Debug, Clone)]
pub(crate) enum Says {
    /// These bytes, and then it closes the connection.
    Bytes(Vec<u8>),
    /// These bytes, and then nothing for as long as the other side stays.
    BytesThenNothing(Vec<u8>),
    /// The first bytes, and then one byte after the other, each after a pause, without end.
    BytesThenDrips(Vec<u8>, Duration),
    /// It does not even read.
    Nothing,
}

pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<String>>>,
    _accepting: JoinSet<()>,
}

impl Host {
    /// In plain text, on the loopback interface.
    pub(crate) async fn plain(says: Says) -> Self {
        Self::start(None, says).await
    }

    pub(crate) async fn tls(identity: SslAcceptor, says: Says) -> Self {
        Self::start(Some(identity), says).await
    }

    async fn start(identity: Option<SslAcceptor>, says: Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, asked) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let (counted, noted) = (connections.clone(), Arc::clone(&asked));
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut serving = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                serving.spawn(serve(stream, identity.clone(), says.clone(), Arc::clone(&noted)));
            }
        });
        Self {
            address,
            connections,
            asked,
            _accepting: accepting,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Every request, head and body.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(stream: TcpStream, identity: Option<SslAcceptor>, says: Says, noted: Arc<Mutex<Vec<String>>>) {
    match (identity, says) {
        (_, Says::Nothing) => hold(stream).await,
        (None, says) => answer(stream, says, &noted).await,
        (Some(identity), says) => {
            let ssl = Ssl::new(identity.context()).unwrap();
            let mut stream = tokio_openssl::SslStream::new(ssl, stream).unwrap();
            if Pin::new(&mut stream).accept().await.is_ok() {
                answer(stream, says, &noted).await;
            }
        }
    }
}

async fn hold<S>(_stream: S) {
    std::future::pending::<()>().await;
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, says: Says, noted: &Mutex<Vec<String>>) {
    let Some(request) = read_request(&mut stream).await else {
        return;
    };
    noted.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    // The other side may have left: that is its right.
    match says {
        Says::Nothing => {}
        Says::Bytes(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Says::BytesThenNothing(bytes) => {
            let _ = stream.write_all(&bytes).await;
            hold(stream).await;
        }
        Says::BytesThenDrips(bytes, pause) => {
            let _ = stream.write_all(&bytes).await;
            while stream.write_all(b"x").await.is_ok() && stream.flush().await.is_ok() {
                tokio::time::sleep(pause).await;
            }
        }
    }
}

async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let (mut request, mut piece) = (String::new(), [0; 4096]);
    loop {
        if let Some((head, body)) = request.split_once("\r\n\r\n") {
            let announced = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            if body.len() >= announced {
                return Some(request);
            }
        }
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        request.push_str(str::from_utf8(piece.get(..read)?).ok()?);
    }
}

/// A reply with a length.
pub(crate) fn reply(status: &str, fields: &str, body: &str) -> Says {
    let length = body.len();
    Says::Bytes(format!("HTTP/1.1 {status}\r\n{fields}content-length: {length}\r\n\r\n{body}").into_bytes())
}

/// A certificate authority of a test.
pub(crate) struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::named("Test authority")
    }

    pub(crate) fn named(name: &str) -> Self {
        let key = key();
        let certificate = certificate(name, 1, &key, None, &[], 0);
        Self { certificate, key }
    }

    pub(crate) fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    /// What a host of that name needs.
    pub(crate) fn identity(&self, name: &str) -> SslAcceptor {
        self.identity_until(name, 1)
    }

    /// The same, with an end so many days from now.
    pub(crate) fn identity_until(&self, name: &str, days: i64) -> SslAcceptor {
        let key = key();
        let certificate = certificate("Test host", 2, &key, Some(self), &[name], days);
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_certificate(&certificate).unwrap();
        acceptor.set_private_key(&key).unwrap();
        acceptor.build()
    }
}

fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// For two days around now, or until `days` from now. Without an issuer it is an authority.
fn certificate(
    subject: &str,
    serial: u32,
    key: &PKey<Private>,
    issuer: Option<&Authority>,
    names: &[&str],
    days: i64,
) -> X509 {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs().cast_signed();
    let day = 24 * 60 * 60;
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", subject).unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(serial).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name).unwrap();
    let issuer_name = issuer.map_or(&*name, |issuer| issuer.certificate.subject_name());
    builder.set_issuer_name(issuer_name).unwrap();
    builder
        .set_not_before(&Asn1Time::from_unix(now - 2 * day).unwrap())
        .unwrap();
    let end = if issuer.is_some() { days } else { 1 };
    builder
        .set_not_after(&Asn1Time::from_unix(now + end * day).unwrap())
        .unwrap();
    builder.set_pubkey(key).unwrap();
    let extension = if issuer.is_none() {
        BasicConstraints::new().critical().ca().build()
    } else {
        let mut alternative = SubjectAlternativeName::new();
        for name in names {
            alternative.dns(name);
        }
        alternative.build(&builder.x509v3_context(None, None))
    };
    builder.append_extension(extension.unwrap()).unwrap();
    let signer = issuer.map_or(key, |issuer| &issuer.key);
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    builder.build()
}
