//! A bounded run of the fuzzing targets: their parsers, on sound inputs and on what becomes of them by cutting, doubling and changing.

#[path = "../../../fuzz/src/parsers.rs"]
#[expect(unreachable_pub, reason = "the targets are crates of their own")]
mod parsers;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Inputs of each parser in one run: some seconds of work for all of them.
const INPUTS: u64 = 4_000;

/// Sound inputs of every kind, so that changes reach behind the first check.
fn seeds() -> Vec<Vec<u8>> {
    let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let token =
        |header: &str, claims: &str| format!("{}.{}.{}", encoded(header), encoded(claims), encoded("signature"));
    let jwk = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    [
        "a=1&resource=https%3A%2F%2Fa.example&resource=b&c=%E2%98%82+x".to_owned(),
        format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode("client:s%2Becret")
        ),
        "openid profile ai:chat:support".to_owned(),
        "https://app.example:8443/cb?x=1".to_owned(),
        "http://127.0.0.1/cb".to_owned(),
        "com.example.app:/cb".to_owned(),
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned(),
        "HTTPS://Op.Example:443/a/%7eb/../c?q#f".to_owned(),
        "DPoP token".to_owned(),
        token(r#"{"alg":"ES256","typ":"JWT","kid":"k"}"#, r#"{"iss":"a","exp":1}"#),
        token(
            &format!(r#"{{"alg":"ES256","typ":"dpop+jwt","jwk":{jwk}}}"#),
            r#"{"jti":"j","htm":"POST","htu":"https://op.example/token","iat":1000000}"#,
        ),
        format!(r#"{{"keys":[{jwk}]}}"#),
        r"CN=a\, b+OU=#0401ff,O=\C3\A9".to_owned(),
        r#"[{"type":"ai_call","interfaces":["a"],"max_cost":{"amount":"5.00","currency":"USD"},"expires_at":9}]"#.to_owned(),
        r#"{"userinfo":{"name":{"essential":true},"sub":{"value":"a"}},"id_token":{"acr":{"values":["1"]}}}"#.to_owned(),
        format!(
            r#"{{"redirect_uris":["https://a.example/cb"],"client_name#de":"a","jwks":{{"keys":[{jwk}]}},"scope":"openid",
            "grant_types":["authorization_code"],"default_max_age":1,"contacts":["a"],"subject_type":"pairwise"}}"#
        ),
        "https://client.example/id?v=1".to_owned(),
        "Pay 5 € to \u{5e9}\u{5dc}\u{5d5}\u{5dd}".to_owned(),
    ]
    .map(String::into_bytes)
    .into()
}

/// SplitMix64: the same inputs in every run, on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(sides.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    /// One of the usual accidents and tricks.
    fn change(&mut self, bytes: &mut Vec<u8>) {
        const TRICKS: [&[u8]; 12] = [
            b"\0",
            b"\xff\xfe",
            b"%00",
            b"%",
            b"..",
            b"\r\n",
            b"\"",
            b"{",
            b"\xe2\x80\xae",
            b"=",
            b".",
            b"\\",
        ];
        let at = self.roll(bytes.len() + 1);
        let end = (at + self.roll(12)).min(bytes.len());
        match self.roll(5) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at.min(end)..end)),
            2 => {
                let piece: Vec<u8> = bytes.iter().copied().take(end).skip(at).collect();
                bytes.splice(at..at, piece.into_iter().cycle().take(64));
            }
            3 => {
                let trick = TRICKS.into_iter().nth(self.roll(TRICKS.len())).unwrap_or_default();
                bytes.splice(at..at, trick.iter().copied());
            }
            _ => {
                let new = u8::try_from(self.roll(256)).unwrap_or(0);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = new;
                }
            }
        }
    }
}

#[test]
fn no_parser_of_strangers_bytes_panics_or_reads_its_own_words_differently() {
    let seeds = seeds();
    for (name, parse) in parsers::PARSERS {
        for seed in &seeds {
            parse(seed);
        }
        for input in 0..INPUTS {
            let mut dice = Dice(input);
            let mut bytes = seeds.get(dice.roll(seeds.len())).cloned().unwrap_or_default();
            for _ in 0..=dice.roll(4) {
                dice.change(&mut bytes);
            }
            let outcome = std::panic::catch_unwind(|| parse(&bytes));
            assert!(outcome.is_ok(), "{name}: {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}
