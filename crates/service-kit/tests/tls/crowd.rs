//! Connections from one address have an end.

use std::net::Ipv4Addr;

use service_kit::{Limits, PeerRules, ProxyConfig};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::world::{Server, Setup};

const CROWDED: Limits = Limits {
    connections: 10,
    connections_per_address: 3,
    ..DEFAULT
};
const DEFAULT: Limits = Limits {
    head: std::time::Duration::from_secs(20),
    idle: std::time::Duration::from_secs(20),
    write: std::time::Duration::from_secs(20),
    body: std::time::Duration::from_secs(20),
    body_rate: 1,
    connections: 10,
    connections_per_address: 10,
};
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A connection that was answered, or none if it was closed.
async fn served(server: &Server, source: Ipv4Addr) -> Option<TcpStream> {
    let mut stream = server.connect_from(source).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.ok()?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.ok()?;
    assert_eq!(&answer, b"HTTP/1.1 200");
    Some(stream)
}

async fn start(limits: Limits, rules: PeerRules) -> Server {
    let setup = Setup {
        plain: true,
        limits,
        rules,
        ..Setup::default()
    };
    setup.start().await
}

#[tokio::test]
async fn one_address_has_as_many_connections_as_it_may_and_not_one_more() {
    let server = start(CROWDED, PeerRules::default()).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(served(&server, Ipv4Addr::LOCALHOST).await.unwrap());
    }
    assert!(served(&server, Ipv4Addr::LOCALHOST).await.is_none());
    // Others are not kept out, nor is the address itself once it has left a place.
    let _neighbour = served(&server, NEIGHBOUR).await.unwrap();
    drop(open.pop());
    let mut again = None;
    for _ in 0..200 {
        again = served(&server, Ipv4Addr::LOCALHOST).await;
        if again.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(again.is_some());
}

#[tokio::test]
async fn a_trusted_proxy_may_take_every_place() {
    let proxy = ProxyConfig {
        trusted: vec!["127.0.0.1".parse().unwrap()],
        ..ProxyConfig::default()
    };
    let rules = PeerRules {
        proxy,
        ..PeerRules::default()
    };
    let server = start(CROWDED, rules).await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(served(&server, Ipv4Addr::LOCALHOST).await.unwrap());
    }
    let _neighbour = served(&server, NEIGHBOUR).await.unwrap();
}

#[tokio::test]
async fn addresses_are_not_told_apart_when_one_may_take_every_place() {
    let server = start(DEFAULT, PeerRules::default()).await;
    let mut open = Vec::new();
    for _ in 0..9 {
        open.push(served(&server, Ipv4Addr::LOCALHOST).await.unwrap());
    }
}
