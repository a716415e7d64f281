use super::*;

/// Answers with what no resolver of the guarded client would let through.
#[derive(Debug)]
struct Loopback;

impl HostLookup for Loopback {
    fn lookup(&self, _host: &str) -> std::io::Result<Vec<std::net::IpAddr>> {
        Ok(vec![std::net::Ipv4Addr::LOCALHOST.into()])
    }
}

#[tokio::test]
async fn whatever_connected_it_is_not_a_private_address_that_answers() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = [0; 1024];
        let _ = stream.read(&mut seen).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]")
            .await
            .unwrap();
    };
    let second = Duration::from_secs(1);
    let settings = LaneSettings {
        tls: ExtraRoots::default().connector().unwrap(),
        lookup: Arc::new(Loopback),
        places: 1,
        fetch_deadline: second,
        delivery_deadline: second,
    };
    let lane = Lane::build(&settings, second).unwrap();
    let url = url::Url::parse(&format!("http://client.example:{port}/")).unwrap();
    let request = OutboundRequest::get(Purpose::JwksUri, url.as_str());
    let trust = Trust::Stranger;
    // The client without a rule stands in for a resolver that has failed us.
    let (found, ()) = tokio::join!(
        exchange(lane.client(Trust::Allowed), Target { url, trust }, request),
        serve
    );
    assert_eq!(found, Err(Refusal::NotPublic.into()));
}

#[test]
fn nothing_secret_is_shown() {
    let body = OutboundBody::Form(vec![("logout_token", "ey-secret".into())]);
    let request =
        OutboundRequest::post(Purpose::BackchannelLogout, "https://x", body).with_bearer("bearer-secret".into());
    let shown = format!("{request:?}");
    assert!(!shown.contains("secret"), "{shown}");
}
