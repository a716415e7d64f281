//! Clients that prove who they are by the certificate of their connection (RFC 8705 §2), over real handshakes.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, MsbOption},
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    x509::{
        X509, X509Name,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};

use crate::{
    oauth::{Auth, Http},
    world::{Engine, Settings, World, free_port},
};

struct Certified {
    key: PKey<Private>,
    certificate: X509,
}

impl Certified {
    /// Signed by `issuer`, or by itself.
    fn new(name: &str, issuer: Option<&Self>) -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut subject = X509Name::builder().unwrap();
        subject.append_entry_by_text("O", "Example").unwrap();
        subject.append_entry_by_text("CN", name).unwrap();
        let subject = subject.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let mut serial = BigNum::new().unwrap();
        serial.rand(64, MsbOption::ONE, false).unwrap();
        builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
        builder.set_subject_name(&subject).unwrap();
        let issuer_name = issuer.map_or(&*subject, |issuer| issuer.certificate.subject_name());
        builder.set_issuer_name(issuer_name).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
        if issuer.is_none() {
            let authority = BasicConstraints::new().critical().ca().build().unwrap();
            builder.append_extension(authority).unwrap();
        }
        let names = SubjectAlternativeName::new()
            .dns(&format!("{name}.example"))
            .build(&builder.x509v3_context(None, None));
        builder.append_extension(names.unwrap()).unwrap();
        builder
            .sign(issuer.map_or(&key, |issuer| &issuer.key), MessageDigest::sha256())
            .unwrap();
        Self {
            key,
            certificate: builder.build(),
        }
    }

    fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    /// Connections to the world's provider on which this certificate is shown.
    fn http(&self, world: &World, base: &str) -> Http {
        let key = self.key.private_key_to_pem_pkcs8().unwrap();
        Http::showing(base.to_owned(), world.ca.as_deref(), Some((&self.pem(), &key)))
    }

    /// As a JWK Set in a document.
    fn jwks(&self) -> String {
        let jwk = josekit::jwk::Jwk::from_bytes(jwk_of(&self.key)).unwrap();
        let member = |name: &str| jwk.parameter(name).and_then(|value| value.as_str()).unwrap().to_owned();
        let der = STANDARD.encode(self.certificate.to_der().unwrap());
        format!(
            "{{ keys = [{{ kty = \"EC\", crv = \"P-256\", x = \"{}\", y = \"{}\", x5c = [\"{der}\"] }}] }}",
            member("x"),
            member("y")
        )
    }
}

fn jwk_of(key: &PKey<Private>) -> Vec<u8> {
    let pem = key.private_key_to_pem_pkcs8().unwrap();
    let pair = josekit::jwk::alg::ec::EcKeyPair::from_pem(pem, Some(josekit::jwk::alg::ec::EcCurve::P256)).unwrap();
    serde_json::to_vec(&pair.to_jwk_public_key()).unwrap()
}

const MACHINE: [(&str, &str); 2] = [("grant_type", "client_credentials"), ("scope", "ai:chat")];

#[tokio::test]
async fn the_handshake_proves_who_the_client_is_on_either_listener() {
    let (authority, stranger) = (Certified::new("authority", None), Certified::new("authority", None));
    let (vouched, other) = (
        Certified::new("vouched", Some(&authority)),
        Certified::new("other", Some(&authority)),
    );
    let forged = Certified::new("vouched", Some(&stranger));
    let (own, unknown) = (Certified::new("own", None), Certified::new("own", None));
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("clients.pem");
    fs::write(&ca, authority.pem()).unwrap();
    for separate in [false, true] {
        let port = free_port();
        let base = format!("https://127.0.0.1:{port}");
        let listener = format!("mtls.listen = \"127.0.0.1:{port}\"\nmtls.base_url = \"{base}\"\n");
        let auth = format!(
            "mtls.ca = \"{}\"\n{}",
            ca.display(),
            if separate { &listener } else { "" }
        );
        let settings = Settings {
            tls: true,
            auth,
            ..Settings::default()
        };
        let world = World::start_with(Engine::Sqlite, settings).await;
        let machine = "grant_types = [\"client_credentials\"]\nresponse_types = []\nscope = \"ai:chat\"\n";
        let document = format!(
            "[[client]]\nclient_id = \"vouched\"\n{machine}token_endpoint_auth_method = \"tls_client_auth\"\n\
             tls_client_auth_subject_dn = \"CN=vouched,O=Example\"\n\
             [[client]]\nclient_id = \"own\"\n{machine}token_endpoint_auth_method = \"self_signed_tls_client_auth\"\n\
             jwks = {}\n",
            own.jwks()
        );
        world.write("certified.toml", &document);
        world.auth_cli(&["apply", "certified.toml"]);
        let base = if separate { base } else { world.issuer.clone() };
        for (client, certified, good) in [
            ("vouched", &vouched, true),
            ("vouched", &other, false),
            ("vouched", &forged, false),
            ("vouched", &own, false),
            ("own", &own, true),
            ("own", &unknown, false),
            ("own", &vouched, false),
        ] {
            let reply = certified
                .http(&world, &base)
                .token(Auth::Public(client), &MACHINE)
                .await;
            match good {
                true => drop(reply.tokens()),
                false => reply.oauth_error(401, "invalid_client"),
            }
        }
        let bare = Http::trusting(base, world.ca.as_deref());
        let reply = bare.token(Auth::Public("vouched"), &MACHINE).await;
        reply.oauth_error(401, "invalid_client");
        if separate {
            // Nobody asks for certificates there.
            let main = vouched.http(&world, &world.issuer);
            let reply = main.token(Auth::Public("vouched"), &MACHINE).await;
            reply.oauth_error(401, "invalid_client");
        }
    }
}
