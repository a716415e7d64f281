use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn allowed(entries: &[&str]) -> Vec<AllowedHost> {
    entries.iter().map(|entry| entry.parse().unwrap()).collect()
}

fn refusal(url: &str) -> Refusal {
    Target::parse(url, &[]).expect_err(url)
}

#[test]
fn a_plain_https_url_may_be_asked() {
    for url in [
        "https://client.example/jwks.json",
        "https://client.example",
        "https://client.example:8443/a/b?c=d",
        "https://client.example:443/",
        "https://Client.Example/MixedCase",
        "https://xn--bcher-kva.example/",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]/",
        "https://[2606:4700:4700::1111]:8443/",
        "HTTPS://client.example/",
        "https://client.example/path@with?at=@",
    ] {
        assert_eq!(Target::parse(url, &[]).expect(url).trust, Trust::Stranger, "{url}");
    }
}

#[test]
fn addresses_in_odd_clothes_are_refused() {
    for (url, wanted) in [
        ("https://127.0.0.1/", Refusal::NotPublic),
        ("https://10.0.0.1:8443/", Refusal::NotPublic),
        ("https://169.254.169.254/latest/meta-data/", Refusal::NotPublic),
        ("https://[::1]/", Refusal::NotPublic),
        ("https://[::ffff:127.0.0.1]/", Refusal::OddHost),
        ("https://[::ffff:7f00:1]/", Refusal::NotPublic),
        ("https://[::ffff:808:808]/", Refusal::NotPublic),
        ("https://[::7f00:1]/", Refusal::NotPublic),
        ("https://[64:ff9b::a9fe:a9fe]/", Refusal::NotPublic),
        ("https://[2002:7f00:1::]/", Refusal::NotPublic),
        ("https://[fd00:ec2::254]/", Refusal::NotPublic),
        ("https://[fe80::1]/", Refusal::NotPublic),
        ("https://[fe80::1%25eth0]/", Refusal::NotAUrl),
        ("https://[0:0:0:0:0:0:0:1]/", Refusal::OddHost),
        // Numbers that C libraries and browsers take for 127.0.0.1.
        ("https://2130706433/", Refusal::OddHost),
        ("https://0x7f000001/", Refusal::OddHost),
        ("https://0x7f.1/", Refusal::OddHost),
        ("https://017700000001/", Refusal::OddHost),
        ("https://0177.0.0.1/", Refusal::OddHost),
        ("https://127.1/", Refusal::OddHost),
        ("https://127.0.0.1./", Refusal::OddHost),
        ("https://127.000.000.001/", Refusal::OddHost),
        ("https://%31%32%37.0.0.1/", Refusal::OddHost),
        ("https://client%2eexample/", Refusal::OddHost),
        ("https://4294967296/", Refusal::NotAUrl),
        // Full-width and ideographic dots and digits, which IDNA maps to ASCII.
        ("https://127\u{3002}0\u{3002}0\u{3002}1/", Refusal::NotAUrl),
        ("https://\u{ff11}27.0.0.1/", Refusal::NotAUrl),
        ("https://loc\u{ad}alhost/", Refusal::NotAUrl),
        // Two readings of where the host ends.
        ("https://client.example@127.0.0.1/", Refusal::UserInfo),
        ("https://127.0.0.1@client.example/", Refusal::UserInfo),
        ("https://@client.example/", Refusal::UserInfo),
        ("https://user:secret@client.example/", Refusal::UserInfo),
        ("https://client.example:443@127.0.0.1/", Refusal::UserInfo),
        ("https://client.example\\@127.0.0.1/", Refusal::NotAUrl),
        ("https:\\\\127.0.0.1/", Refusal::NotAUrl),
        ("https:///client.example/", Refusal::OddHost),
        ("https:client.example/", Refusal::NotAUrl),
        ("https://client.example#@127.0.0.1/", Refusal::Fragment),
        ("https://client.example/#part", Refusal::Fragment),
        ("https://client.example/#", Refusal::Fragment),
        ("https://client.example:/", Refusal::OddHost),
        // What somebody may expect to be filled in.
        ("https://{host}/", Refusal::OddHost),
        ("https://$host.example/", Refusal::OddHost),
        ("https://*.client.example/", Refusal::OddHost),
        ("https://client.example:0443/", Refusal::OddHost),
        ("https://client.example:0/", Refusal::OddHost),
        ("https://client.example:99999/", Refusal::NotAUrl),
        (" https://client.example/", Refusal::NotAUrl),
        ("https://client.example/\r\nHost: x", Refusal::NotAUrl),
        ("https://client.\texample/", Refusal::NotAUrl),
        ("https://client.example/\0", Refusal::NotAUrl),
        // Other schemes.
        ("http://client.example/", Refusal::NotHttps),
        ("ftp://client.example/", Refusal::NotHttps),
        ("file:///etc/passwd", Refusal::NotHttps),
        ("gopher://127.0.0.1:25/", Refusal::NotHttps),
        ("data:application/json,[]", Refusal::NotAUrl),
        ("jar:https://client.example!/", Refusal::NotHttps),
        ("", Refusal::NotAUrl),
        ("client.example", Refusal::NotAUrl),
        ("//client.example/", Refusal::NotAUrl),
    ] {
        assert_eq!(refusal(url), wanted, "{url}");
    }
}

#[test]
fn a_url_is_as_long_as_that_and_no_longer() {
    let longest = format!("https://client.example/{}", "a".repeat(MAX_URL_BYTES - 23));
    assert_eq!(longest.len(), MAX_URL_BYTES);
    assert!(Target::parse(&longest, &[]).is_ok());
    assert_eq!(refusal(&format!("{longest}a")), Refusal::TooLong);
}

#[test]
fn what_the_operator_allows_is_allowed_and_nothing_beside_it() {
    let hosts = allowed(&[
        "client.internal",
        "127.0.0.1:8443",
        "::1",
        "[fd00::1]:9000",
        "Upper.Internal",
    ]);
    let trust = |url: &str| Target::parse(url, &hosts).map(|target| target.trust);
    for url in [
        "https://client.internal/",
        "http://client.internal:8080/",
        "https://127.0.0.1:8443/x",
        "http://127.0.0.1:8443/x",
        "https://[::1]/",
        "https://[::1]:4711/",
        "http://[fd00::1]:9000/",
        "https://upper.internal/",
    ] {
        assert_eq!(trust(url), Ok(Trust::Allowed), "{url}");
    }
    for url in [
        "https://127.0.0.1/",
        "https://127.0.0.1:8444/",
        "http://127.0.0.1/",
        "https://127.0.0.2:8443/",
        "https://[fd00::1]/",
        "https://[fd00::2]:9000/",
        "http://sub.client.internal/",
        "http://client.internal.example/",
        "http://client.internal./",
    ] {
        assert!(trust(url).is_err(), "{url}");
    }
    // Other rules hold for them as well.
    assert_eq!(trust("https://user@client.internal/"), Err(Refusal::UserInfo));
    assert_eq!(trust("ftp://client.internal/"), Err(Refusal::NotHttps));
    // A name below an allowed one is a stranger's.
    assert_eq!(trust("https://sub.client.internal/"), Ok(Trust::Stranger));
    assert_eq!(trust("https://client.internal./"), Ok(Trust::Stranger));
}

#[test]
fn an_allowed_port_is_the_schemes_own_when_the_url_names_none() {
    let hosts = allowed(&["client.internal:443"]);
    assert_eq!(
        Target::parse("https://client.internal/", &hosts).unwrap().trust,
        Trust::Allowed
    );
    assert_eq!(Target::parse("http://client.internal/", &hosts), Err(Refusal::NotHttps));
}

#[test]
fn entries_that_would_not_mean_what_they_say_are_refused() {
    for entry in [
        "",
        "*",
        "*.internal",
        "https://client.internal",
        "client.internal/path",
        "user@client.internal",
        "client.internal:",
        "client.internal:0",
        "client.internal:+80",
        "client.internal:080",
        "client.internal:65536",
        "client.internal:https",
        "10.0.0.0/8",
        "0x7f.1",
        "127.1",
        "2130706433",
        "[::1",
        "::1]",
        "[::1]x",
        "[0:0:0:0:0:0:0:1]",
        "b\u{fc}cher.internal",
        "client internal",
        " client.internal",
        "127.0.0.1,10.0.0.1",
    ] {
        assert_eq!(entry.parse::<AllowedHost>(), Err(HostSyntax), "{entry:?}");
    }
    for (entry, told) in [
        ("localhost", "localhost"),
        ("Client.Internal:8443", "client.internal:8443"),
        ("under_score.internal", "under_score.internal"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "[::1]"),
        ("[::1]:80", "[::1]:80"),
    ] {
        assert_eq!(entry.parse::<AllowedHost>().unwrap().to_string(), told);
    }
}

const EDGES: &[(&str, bool)] = &[
    ("0.0.0.0", false),
    ("0.255.255.255", false),
    ("1.0.0.0", true),
    ("9.255.255.255", true),
    ("10.0.0.0", false),
    ("10.255.255.255", false),
    ("11.0.0.0", true),
    ("100.63.255.255", true),
    ("100.64.0.0", false),
    ("100.100.100.200", false),
    ("100.127.255.255", false),
    ("100.128.0.0", true),
    ("126.255.255.255", true),
    ("127.0.0.0", false),
    ("127.255.255.255", false),
    ("128.0.0.0", true),
    ("168.63.129.15", true),
    ("168.63.129.16", false),
    ("168.63.129.17", true),
    ("169.253.255.255", true),
    ("169.254.0.0", false),
    ("169.254.255.255", false),
    ("169.255.0.0", true),
    ("172.15.255.255", true),
    ("172.16.0.0", false),
    ("172.31.255.255", false),
    ("172.32.0.0", true),
    ("191.255.255.255", true),
    ("192.0.0.0", false),
    ("192.0.0.192", false),
    ("192.0.1.0", true),
    ("192.0.2.0", false),
    ("192.0.3.0", true),
    ("192.88.99.1", false),
    ("192.167.255.255", true),
    ("192.168.0.0", false),
    ("192.168.255.255", false),
    ("192.169.0.0", true),
    ("198.17.255.255", true),
    ("198.18.0.0", false),
    ("198.19.255.255", false),
    ("198.20.0.0", true),
    ("198.51.99.255", true),
    ("198.51.100.0", false),
    ("198.51.101.0", true),
    ("203.0.112.255", true),
    ("203.0.113.0", false),
    ("203.0.114.0", true),
    ("223.255.255.255", true),
    ("224.0.0.0", false),
    ("239.255.255.255", false),
    ("240.0.0.0", false),
    ("255.255.255.255", false),
    ("::", false),
    ("::1", false),
    ("::7f00:1", false),
    ("::808:808", false),
    ("::ffff:127.0.0.1", false),
    ("::ffff:8.8.8.8", false),
    ("64:ff9b::8.8.8.8", true),
    ("64:ff9b::10.0.0.1", false),
    ("64:ff9b::169.254.169.254", false),
    ("64:ff9b::1:808:808", false),
    ("64:ff9b:1::8.8.8.8", false),
    ("100::1", false),
    ("1fff:ffff::1", false),
    ("2000::1", true),
    ("2001:0:808:808::f7f7:f7f7", true),
    ("2001:0:808:808::f5ff:fffe", false),
    ("2001:0:a00:1::f7f7:f7f7", false),
    ("2001:1::1", false),
    ("2001:2::1", false),
    ("2001:20::1", false),
    ("2001:1ff::1", false),
    ("2001:200::1", true),
    ("2001:db7::1", true),
    ("2001:db8::1", false),
    ("2001:db9::1", true),
    ("2002:808:808::1", true),
    ("2002:a9fe:a9fe::1", false),
    ("2606:4700::5efe:808:808", true),
    ("2606:4700::5efe:a00:1", false),
    ("2606:4700::200:5efe:7f00:1", false),
    ("2606:4700:4700::1111", true),
    ("3ffe::1", true),
    ("3fff:0:1::1", false),
    ("3fff:fff::1", false),
    ("3fff:1000::1", true),
    ("4000::1", false),
    ("5f00::1", false),
    ("fc00::1", false),
    ("fd00:ec2::254", false),
    ("fe80::1", false),
    ("febf::1", false),
    ("fec0::1", false),
    ("ff02::1", false),
];

#[test]
fn the_edges_of_each_special_range_are_known() {
    for (address, public) in EDGES {
        assert_eq!(is_public(address.parse().unwrap()), *public, "{address}");
    }
}

/// The same question asked of the standard library, as far as it knows.
fn is_plainly_special(address: Ipv4Addr) -> bool {
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_unspecified()
        || address.is_documentation()
        || address.is_multicast()
        || address.is_broadcast()
}

proptest! {
    #[test]
    fn nothing_that_the_standard_library_calls_special_is_public(bits in prop_oneof![
        any::<u32>(),
        any::<u16>().prop_map(|low| 0x7f00_0000 | u32::from(low)),
        any::<u16>().prop_map(|low| 0xc0a8_0000 | u32::from(low)),
        any::<u16>().prop_map(|low| 0xa9fe_0000 | u32::from(low)),
    ]) {
        let address = Ipv4Addr::from_bits(bits);
        prop_assert!(!(is_plainly_special(address) && is_public(address.into())), "{address}");
    }

    #[test]
    fn an_ipv4_address_inside_ipv6_is_never_more_public_than_alone(bits in any::<u32>()) {
        let plain = Ipv4Addr::from_bits(bits);
        let [a, b, c, d] = plain.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        for address in [
            plain.to_ipv6_mapped(),
            plain.to_ipv6_compatible(),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0xf7f7, 0xf7f7),
            Ipv6Addr::new(0x2001, 0, 0x808, 0x808, 0, 0, !high, !low),
            Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0x5efe, high, low),
        ] {
            prop_assert!(is_public(plain.into()) || !is_public(address.into()), "{address} with {plain} in it");
        }
    }

    #[test]
    fn every_literal_that_passes_is_public(text in "https://[0-9a-fx.:\\[\\]%]{1,24}/") {
        if let Ok(target) = Target::parse(&text, &[]) {
            let address: Option<IpAddr> = match target.url.host() {
                Some(Host::Ipv4(address)) => Some(address.into()),
                Some(Host::Ipv6(address)) => Some(address.into()),
                _ => None,
            };
            prop_assert!(address.is_none_or(is_public), "{text}");
        }
    }

    #[test]
    fn no_text_panics_and_none_that_passes_has_another_host_than_it_shows(text in "\\PC{0,60}|https?://\\PC{0,60}") {
        if let Ok(target) = Target::parse(&text, &[]) {
            let host = target.url.host_str().unwrap();
            prop_assert!(text.to_ascii_lowercase().starts_with(&format!("https://{host}")), "{text}");
        }
    }
}
