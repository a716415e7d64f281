//! One row per rule: what breaks it, and the member that is blamed.

use std::collections::BTreeSet;

use oauth_wire::{ClientAuthMethod, RedirectUri};
use serde_json::json;

use super::*;
use crate::{
    application::policy::tests::policy,
    domain::{
        client::{ClientLinks, ClientStatus},
        ids::{ClientId, TenantId},
    },
};

fn client() -> Client {
    Client {
        client_id: ClientId::new("c"),
        tenant: TenantId::new("default"),
        client_name: "c".into(),
        secrets: Vec::new(),
        token_endpoint_auth_method: ClientAuthMethod::ClientSecretBasic,
        redirect_uris: uris(&["https://rp.example/cb"]),
        post_logout_redirect_uris: Vec::new(),
        grant_types: [GrantType::AuthorizationCode].into(),
        response_types: [ResponseType::Code].into(),
        scope: "openid profile".parse().unwrap(),
        links: ClientLinks::default(),
        first_party: false,
        auto_approve: false,
        require_pkce: true,
        access_token_ttl: None,
        refresh_token_ttl: None,
        id_token_signed_response_alg: SigningAlg::Rs256,
        access_token_signing_alg: SigningAlg::Es256,
        ai_interfaces: None,
        permissions: BTreeSet::new(),
        status: ClientStatus::Active,
        protocol: ClientProtocol::default(),
    }
}

fn uris(texts: &[&str]) -> Vec<RedirectUri> {
    texts.iter().map(|text| RedirectUri::parse(text).unwrap()).collect()
}

fn jwks(keys: Value) -> Option<Map<String, Value>> {
    json!({ "keys": keys }).as_object().cloned()
}

fn blamed(change: impl FnOnce(&mut Client)) -> Vec<&'static str> {
    let mut client = client();
    change(&mut client);
    faults(&client, &policy())
        .into_iter()
        .map(|fault| fault.member)
        .collect()
}

fn with(change: impl FnOnce(&mut ClientProtocol)) -> Vec<&'static str> {
    blamed(|client| change(&mut client.protocol))
}

const NONE: [&str; 0] = [];

#[test]
fn a_sound_client_breaks_no_rule() {
    assert_eq!(blamed(|_| ()), NONE);
}

#[test]
fn grants_need_what_they_work_with() {
    assert_eq!(blamed(|c| c.redirect_uris.clear()), ["redirect_uris"]);
    assert_eq!(blamed(|c| c.response_types.clear()), ["response_types"]);
    assert_eq!(blamed(|c| c.grant_types.extend([GrantType::Password])), ["grant_types"]);
    assert_eq!(
        blamed(|c| {
            c.grant_types.insert(GrantType::ClientCredentials);
            c.token_endpoint_auth_method = ClientAuthMethod::None;
            c.require_pkce = false;
        }),
        ["grant_types", "require_pkce"]
    );
}

#[test]
fn signatures_are_by_algorithms_that_are_offered() {
    assert_eq!(
        blamed(|c| {
            c.id_token_signed_response_alg = SigningAlg::Rs512;
            c.access_token_signing_alg = SigningAlg::Es384;
        }),
        ["id_token_signed_response_alg", "access_token_signing_alg"]
    );
    assert_eq!(
        with(|p| p.userinfo_signed_response_alg = Some(SigningAlg::Ps384)),
        ["userinfo_signed_response_alg"]
    );
    assert_eq!(
        with(|p| p.introspection_signed_response_alg = Some(SigningAlg::Ps384)),
        ["introspection_signed_response_alg"]
    );
    assert_eq!(
        with(|p| p.authorization_signed_response_alg = Some(SigningAlg::Ps384)),
        ["authorization_signed_response_alg"]
    );
    let only_rs256 = Policy {
        signing_algs: vec![SigningAlg::Rs256],
        ..policy()
    };
    let found = faults(&client(), &only_rs256);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].member, "access_token_signing_alg");
    assert_eq!(found[0].reason, "must be RS256");
}

#[test]
fn encryption_needs_an_algorithm_and_a_key_that_fits_it() {
    let (rsa, signs) = (json!({"kty": "RSA"}), json!({"kty": "RSA", "use": "sig"}));
    let pinned = json!({"kty": "RSA", "alg": "RSA-OAEP"});
    let ec = json!({"kty": "EC", "crv": "P-256", "use": "enc"});
    let asked = |alg: JweAlg, keys: Value| {
        with(|p| {
            p.id_token_encrypted_response_alg = Some(alg);
            p.jwks = jwks(keys);
        })
    };
    assert_eq!(asked(JweAlg::RsaOaep256, json!([ec, rsa])), NONE);
    assert_eq!(asked(JweAlg::EcdhEs, json!([rsa, ec])), NONE);
    assert_eq!(asked(JweAlg::RsaOaep, json!([pinned])), NONE);
    for keys in [json!([]), json!([ec]), json!([signs]), json!([pinned]), json!(["x"])] {
        assert_eq!(
            asked(JweAlg::RsaOaep256, keys.clone()),
            ["id_token_encrypted_response_alg"],
            "{keys}"
        );
    }
    assert_eq!(
        with(|p| {
            p.userinfo_encrypted_response_alg = Some(JweAlg::EcdhEs);
            p.jwks_uri = Some("https://rp.example/jwks".into());
        }),
        NONE
    );
    assert_eq!(
        with(|p| {
            p.userinfo_encrypted_response_enc = Some(JweEnc::A128Gcm);
            p.introspection_encrypted_response_enc = Some(JweEnc::A128Gcm);
            p.authorization_encrypted_response_enc = Some(JweEnc::A128Gcm);
        }),
        [
            "userinfo_encrypted_response_enc",
            "introspection_encrypted_response_enc",
            "authorization_encrypted_response_enc"
        ]
    );
}

#[test]
fn keys_stand_in_one_place_and_are_a_set() {
    assert_eq!(
        with(|p| {
            p.jwks = jwks(json!([]));
            p.jwks_uri = Some("https://rp.example/jwks".into());
        }),
        ["jwks"]
    );
    assert_eq!(with(|p| p.jwks = Some(Map::new())), ["jwks"]);
}

#[test]
fn a_private_key_was_given_away() {
    let private = json!([{"kty": "EC", "crv": "P-256", "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]);
    assert_eq!(with(|p| p.jwks = jwks(private)), ["jwks"]);
}

#[test]
fn a_web_application_has_no_addresses_on_devices() {
    for uri in ["http://127.0.0.1/cb", "com.example.app:/cb"] {
        let redirects = uris(&["https://rp.example/cb", uri]);
        assert_eq!(blamed(|c| c.redirect_uris.clone_from(&redirects)), ["redirect_uris"]);
        let native = blamed(|c| {
            c.redirect_uris.clone_from(&redirects);
            c.protocol.application_type = ApplicationType::Native;
        });
        assert_eq!(native, NONE);
    }
}

#[test]
fn logout_frames_come_from_where_redirects_lead() {
    let logout = |uri: &str| with(|p| p.frontchannel_logout_uri = Some(uri.into()));
    assert_eq!(logout("https://rp.example/out?x=1"), NONE);
    for other in [
        "http://rp.example/out",
        "https://rp.example:8443/out",
        "https://other.example/out",
        "https://rp.example/out#part",
        "com.example.app:/out",
    ] {
        assert_eq!(logout(other), ["frontchannel_logout_uri"], "{other}");
    }
}

#[test]
fn the_gateway_reads_no_opaque_token() {
    assert_eq!(
        with(|p| p.access_token_format = AccessTokenFormat::Opaque),
        NONE,
        "without ai: scopes"
    );
    assert_eq!(
        blamed(|c| {
            c.protocol.access_token_format = AccessTokenFormat::Opaque;
            c.scope = "openid ai:chat:support".parse().unwrap();
        }),
        ["access_token_format"]
    );
}

#[test]
fn a_pairwise_client_belongs_to_one_sector() {
    let sector = |uri: Option<&str>, redirects: &[&str]| {
        let mut client = client();
        client.protocol.subject_type = SubjectType::Pairwise;
        client.protocol.application_type = ApplicationType::Native;
        client.protocol.sector_identifier_uri = uri.map(str::to_owned);
        client.redirect_uris = uris(redirects);
        let found = faults(&client, &policy());
        assert!(found.iter().all(|fault| fault.member == "sector_identifier_uri"));
        client.sector().ok().filter(|_| found.is_empty())
    };
    let own = ["https://rp.example/cb", "https://rp.example:8443/other"];
    assert_eq!(sector(None, &own).unwrap(), "rp.example");
    assert_eq!(
        sector(Some("https://Sector.example:8443/x.json"), &own).unwrap(),
        "sector.example"
    );
    assert_eq!(sector(None, &["https://a.example/cb", "https://b.example/cb"]), None);
    for nobodys in [
        "com.example.app:/cb",
        "http://127.0.0.1/cb",
        "http://localhost/cb",
        "http://[::1]/cb",
    ] {
        assert_eq!(sector(None, &[nobodys]), None, "{nobodys}");
        assert_eq!(sector(None, &["https://rp.example/cb", nobodys]), None, "{nobodys}");
        assert!(sector(Some("https://sector.example/x"), &[nobodys]).is_some());
    }
    for bad in ["http://sector.example/x", "sector.example", "urn:x:y"] {
        assert_eq!(sector(Some(bad), &own), None, "{bad}");
    }
}

#[test]
fn types_of_authorization_details_are_those_that_are_known() {
    let of = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        blamed(|client| client.protocol.authorization_details_types = names)
    };
    assert_eq!(of(&[]), [""; 0]);
    assert_eq!(of(&["ai_call"]), [""; 0]);
    assert_eq!(of(&["ai_call", "payment"]), ["authorization_details_types"]);
}
