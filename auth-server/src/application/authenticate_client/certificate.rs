//! Certificates that authorities vouch for, and whom they are of (RFC 8705 §2.1).

use std::net::IpAddr;

use service_kit::{PeerCertificate, peer::DistinguishedName};

use crate::domain::{client::Client, client_auth::certificate_subjects};

/// Whether the certificate names the subject that the client registered. Whether an authority vouches for it is another question.
pub(super) fn is_of(certificate: &PeerCertificate, client: &Client) -> bool {
    // Registration sees to it that there is one; should there be more, all of them count.
    let subjects = certificate_subjects(client);
    !subjects.is_empty() && subjects.iter().all(|(member, value)| names(certificate, member, value))
}

fn names(certificate: &PeerCertificate, member: &str, wanted: &str) -> bool {
    match member {
        // RFC 8705 §2.1.2: compared as names (RFC 4517 §4.2.15), not as text.
        "tls_client_auth_subject_dn" => wanted
            .parse::<DistinguishedName>()
            .is_ok_and(|wanted| wanted == *certificate.subject()),
        // RFC 4343: DNS names have no case.
        "tls_client_auth_san_dns" => certificate.san_dns.iter().any(|name| name.eq_ignore_ascii_case(wanted)),
        "tls_client_auth_san_uri" => certificate.san_uri.iter().any(|uri| uri == wanted),
        "tls_client_auth_san_ip" => wanted
            .parse::<IpAddr>()
            .is_ok_and(|wanted| certificate.san_ip.contains(&wanted)),
        "tls_client_auth_san_email" => certificate.san_email.iter().any(|email| email == wanted),
        _ => false,
    }
}
