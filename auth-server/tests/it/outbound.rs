//! The guarded client over real sockets.

use auth_server::ports::outbound::{OutboundError, OutboundRequest, Purpose, Refusal};

use crate::app::TestApp;

#[tokio::test]
async fn the_provider_does_not_reach_into_its_own_network() {
    let app = TestApp::builder().real_outbound().start().await;
    let outbound = &app.foundation().outbound;
    for url in ["https://127.0.0.1/", "https://localhost/", "https://[::1]/"] {
        let found = outbound.fetch(OutboundRequest::get(Purpose::JwksUri, url)).await;
        assert_eq!(found, Err(OutboundError::Refused(Refusal::NotPublic)), "{url}");
    }
}
