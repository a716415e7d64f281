//! Certificates that nobody honest made.

use openssl::error::ErrorStack;
use proptest::prelude::*;
use service_kit::{
    Authorities, PeerCertificate, Timestamp,
    peer::{BadCertificate, MAX_CERTIFICATE_BYTES, Unverified},
};
use test_kit::certificates::{Identity, Recipe, long, self_signed};

/// Everything that can be asked of a certificate.
fn ask_everything(certificate: &PeerCertificate) {
    let _ = format!(
        "{certificate:?} {} {:?}",
        certificate.subject(),
        certificate.public_key_der()
    );
    let _ = certificate.chain().count();
    let _ = certificate.verify(Timestamp::from_seconds(0));
}

fn rich() -> Identity {
    let recipe = Recipe {
        name: "Alice",
        alternative_names: true,
        ..Recipe::default()
    };
    recipe.make()
}

/// What an error left behind does to the next TLS connection of the thread is seen only there, so look at the cause.
#[track_caller]
fn assert_no_error_is_left_behind() {
    assert!(ErrorStack::get().errors().is_empty());
}

#[test]
fn a_certificate_says_what_stands_in_it_whoever_reads_it() {
    let identity = rich();
    let certificate = PeerCertificate::from_der(&identity.der(), &[identity.der()], None).unwrap();
    assert_eq!(certificate.der, identity.der());
    assert_eq!(certificate.chain().collect::<Vec<_>>(), [identity.der()]);
    assert_eq!(
        certificate.public_key_der(),
        Some(identity.key.public_key_to_der().unwrap())
    );
    assert_eq!(certificate.subject(), &"CN=Alice,O=Bank\\, Söhne".parse().unwrap());
    assert_eq!(
        certificate.verify(Timestamp::from_seconds(0)),
        Err(Unverified::NoAuthorities)
    );
}

#[test]
fn nothing_but_one_whole_certificate_is_taken_for_one() {
    let der = self_signed("Alice").der();
    let longer = [&der[..], b"\0"].concat();
    for bad in [
        &[][..],
        b"\x30",
        &der[1..],
        &der[..der.len() - 1],
        &longer,
        &[der.clone(), der.clone()].concat(),
    ] {
        assert!(matches!(
            PeerCertificate::from_der(bad, &[], None),
            Err(BadCertificate::Malformed)
        ));
        // Nor in the chain.
        assert!(PeerCertificate::from_der(&der, &[bad.to_vec()], None).is_err());
        assert_no_error_is_left_behind();
    }
}

#[test]
fn a_certificate_may_be_so_long_and_no_longer() {
    let (most, more) = (MAX_CERTIFICATE_BYTES, MAX_CERTIFICATE_BYTES + 1);
    let exactly = |bytes: usize| {
        let begun = bytes - 1000;
        let padding = begun + bytes - long(begun).der().len();
        // Signatures differ in length by a few bytes.
        let mut tries = (0..200).map(|_| long(padding).der());
        tries.find(|der| der.len() == bytes).unwrap()
    };
    assert!(PeerCertificate::from_der(&exactly(most), &[], None).is_ok());
    assert!(matches!(
        PeerCertificate::from_der(&exactly(more), &[], None),
        Err(BadCertificate::TooLong)
    ));
}

#[test]
fn broken_alternative_names_are_none_and_disturb_nobody() {
    let recipe = Recipe {
        name: "Alice",
        broken_names: Some("no such thing"),
        ..Recipe::default()
    };
    let certificate = PeerCertificate::from_der(&recipe.make().der(), &[], None).unwrap();
    assert!(certificate.san_dns.is_empty());
    ask_everything(&certificate);
    assert_no_error_is_left_behind();
}

#[test]
fn authorities_are_certificates_and_at_least_one() {
    assert!(Authorities::from_pem(b"").is_err());
    assert!(Authorities::from_pem(b"nothing").is_err());
    let (one, other) = (self_signed("One"), self_signed("Other"));
    assert_eq!(
        Authorities::from_pem((one.pem() + &other.pem()).as_bytes())
            .unwrap()
            .len(),
        2
    );
}

proptest! {
    #[test]
    fn garbage_is_no_certificate(der in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(PeerCertificate::from_der(&der, &[], None).is_err());
        assert_no_error_is_left_behind();
    }

    #[test]
    fn a_certificate_with_some_bytes_changed_is_read_or_refused(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        thread_local!(static DER: Vec<u8> = rich().der());
        let mut der = DER.with(Clone::clone);
        for (at, byte) in changes {
            let at = at.index(der.len());
            der[at] = byte;
        }
        if let Ok(certificate) = PeerCertificate::from_der(&der, &[], None) {
            prop_assert_eq!(&certificate.der, &der);
            ask_everything(&certificate);
        }
        assert_no_error_is_left_behind();
    }
}
