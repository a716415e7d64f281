//! What can be wrong with a signed token, whatever it is for.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use oauth_wire::SigningAlg;
use serde_json::{Map, Value, json};
use test_kit::TestKey;

use super::{
    readers::{Reader, Signer},
    world::next_jti,
};
use crate::app::under_mac;

/// A token with something wrong, by a name for the tables.
pub(super) type Hurt = (String, String);

/// Where the forger would like keys to be fetched from.
pub(super) const FORGER: &str = "https://evil.example/jwks";

/// A good token's parts, to be changed.
struct Parts {
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl Parts {
    fn of(reader: &impl Reader) -> Self {
        let (Value::Object(header), Value::Object(claims)) = reader.good() else {
            unreachable!("a token is made of two objects")
        };
        Self { header, claims }
    }

    fn header(mut self, name: &str, value: Option<Value>) -> Self {
        set(&mut self.header, name, value);
        self
    }

    fn claim(mut self, name: &str, value: Option<Value>) -> Self {
        set(&mut self.claims, name, value);
        self
    }

    fn texts(&self) -> (String, String) {
        (text(&self.header), text(&self.claims))
    }

    fn signed(&self, signer: &Signer) -> String {
        let (header, claims) = self.texts();
        signer.sign(header, claims)
    }

    fn unsigned(&self, signature: &[u8]) -> String {
        let (header, claims) = self.texts();
        format!(
            "{}.{}.{}",
            B64.encode(header),
            B64.encode(claims),
            B64.encode(signature)
        )
    }
}

fn set(object: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    match value {
        Some(value) => drop(object.insert(name.to_owned(), value)),
        None => drop(object.remove(name)),
    }
}

fn text(object: &Map<String, Value>) -> String {
    Value::Object(object.clone()).to_string()
}

/// Every hurt.
pub(super) fn hurts(reader: &impl Reader) -> Vec<Hurt> {
    let mut all = algorithms(reader);
    all.extend(keys(reader));
    all.extend(headers(reader));
    all.extend(claims(reader));
    all.extend(forms(reader));
    all.extend(documents(reader));
    all
}

fn algorithms(reader: &impl Reader) -> Vec<Hurt> {
    let with = |alg: Option<Value>| Parts::of(reader).header("alg", alg);
    let own = Parts::of(reader).header["alg"].as_str().unwrap().to_owned();
    let mut all = Vec::new();
    for none in ["none", "None", "NONE", "nOnE"] {
        let parts = with(Some(none.into()));
        all.push((format!("alg {none}"), parts.unsigned(b"")));
        all.push((format!("alg {none}, signed"), parts.signed(reader.signer())));
    }
    for (name, alg) in [
        ("alg missing", None),
        ("alg empty", Some(json!(""))),
        ("alg a number", Some(json!(256))),
        ("alg null", Some(Value::Null)),
        ("alg a list", Some(json!([own]))),
        ("alg in another case", Some(json!(own.to_lowercase()))),
        ("alg dir", Some(json!("dir"))),
        ("alg RSA1_5", Some(json!("RSA1_5"))),
    ] {
        all.push((name.to_owned(), with(alg).signed(reader.signer())));
    }
    for alg in [
        "RS256", "PS256", "ES256", "EdDSA", "ES384", "ES512", "RS512", "HS256", "HS384", "HS512",
    ] {
        if alg != own {
            all.push((
                format!("alg {alg} by a lie"),
                with(Some(alg.into())).signed(reader.signer()),
            ));
        }
    }
    // Whatever about the key is public, as the secret of a MAC.
    let public = reader.signer().public();
    let mut secrets: Vec<(&str, Vec<u8>)> = vec![("a NUL", b"\0".to_vec()), ("nothing", Vec::new())];
    for name in ["x", "y", "n"] {
        if let Some(text) = public[name].as_str() {
            secrets.push(("a public number", B64.decode(text).unwrap()));
            secrets.push(("the text of a public number", text.as_bytes().to_vec()));
        }
    }
    if public.is_object() {
        secrets.push(("the public key as JSON", public.to_string().into_bytes()));
    }
    for (name, secret) in secrets {
        let (header, claims) = with(Some("HS256".into())).texts();
        all.push((format!("HS256 under {name}"), under_mac(&secret, &header, &claims)));
    }
    all
}

fn keys(reader: &impl Reader) -> Vec<Hurt> {
    let alg = Parts::of(reader).header["alg"].as_str().unwrap().to_owned();
    let alg = SigningAlg::from_wire(&alg).unwrap_or(SigningAlg::Es256);
    let other = TestKey::new(alg);
    let by_other = |change: &[(&str, Value)]| {
        let mut parts = Parts::of(reader);
        for (name, value) in change {
            let value = Some(value.clone()).filter(|value| !value.is_null());
            parts = parts.header(name, value);
        }
        let (header, claims) = parts.texts();
        match reader.signer() {
            Signer::Key(_) => other.sign_text(&header, &claims),
            Signer::Mac(_) => under_mac(
                b"another secret that is long enough for every MAC that there is",
                &header,
                &claims,
            ),
        }
    };
    let by_own = |name: &str, value: Option<Value>| Parts::of(reader).header(name, value).signed(reader.signer());
    let jwk = other.public_with(json!({"kid": "evil"}));
    vec![
        ("another key".into(), by_other(&[])),
        ("another key, no kid".into(), by_other(&[("kid", Value::Null)])),
        ("another key, its own kid".into(), by_other(&[("kid", "evil".into())])),
        (
            "another key in jwk".into(),
            by_other(&[("kid", "evil".into()), ("jwk", jwk)]),
        ),
        (
            "another key at jku".into(),
            by_other(&[("kid", "evil".into()), ("jku", FORGER.into())]),
        ),
        ("another key at x5u".into(), by_other(&[("x5u", FORGER.into())])),
        ("another key in x5c".into(), by_other(&[("x5c", json!(["MIIB"]))])),
        ("no kid".into(), by_own("kid", None)),
        ("unknown kid".into(), by_own("kid", Some("nobody's".into()))),
        ("kid a number".into(), by_own("kid", Some(1.into()))),
        ("kid null".into(), by_own("kid", Some(Value::Null))),
        ("kid a path".into(), by_own("kid", Some("../../../../dev/null".into()))),
        ("kid a statement".into(), by_own("kid", Some("' OR 1=1 --".into()))),
        ("kid with a NUL".into(), by_own("kid", Some("k1\0".into()))),
        ("jku beside the right key".into(), by_own("jku", Some(FORGER.into()))),
        ("x5u beside the right key".into(), by_own("x5u", Some(FORGER.into()))),
        (
            "x5t beside the right key".into(),
            by_own("x5t#S256", Some("AAAA".into())),
        ),
    ]
}

fn headers(reader: &impl Reader) -> Vec<Hurt> {
    let with = |name: &str, value: Option<Value>| Parts::of(reader).header(name, value).signed(reader.signer());
    let mut all = vec![
        ("crit exp".to_owned(), with("crit", Some(json!(["exp"])))),
        ("crit alg".to_owned(), with("crit", Some(json!(["alg"])))),
        (
            "crit unknown".to_owned(),
            with("crit", Some(json!(["http://example.com/x"]))),
        ),
        ("crit empty".to_owned(), with("crit", Some(json!([])))),
        ("crit null".to_owned(), with("crit", Some(Value::Null))),
        ("crit a text".to_owned(), with("crit", Some("exp".into()))),
        ("zip".to_owned(), with("zip", Some("DEF".into()))),
        ("typ missing".to_owned(), with("typ", None)),
        ("typ a number".to_owned(), with("typ", Some(1.into()))),
        ("typ null".to_owned(), with("typ", Some(Value::Null))),
        ("typ a list".to_owned(), with("typ", Some(json!(["JWT"])))),
    ];
    let mut unencoded = Parts::of(reader).header("b64", Some(false.into()));
    unencoded = unencoded.header("crit", Some(json!(["b64"])));
    all.push(("crit b64".into(), unencoded.signed(reader.signer())));
    for typ in [
        "",
        "JWT",
        "jwt",
        "at+jwt",
        "application/at+jwt",
        "AT+JWT",
        "dpop+jwt",
        "DPoP+JWT",
        "logout+jwt",
        "oauth-authz-req+jwt",
        "secevent+jwt",
        "token-introspection+jwt",
        "client-authentication+jwt",
        "application/jwt",
        "text/plain",
        "JWT\0",
    ] {
        let name = format!("typ {}", typ.escape_debug());
        if Parts::of(reader).header.get("typ").is_none_or(|good| good != typ) {
            all.push((name, with("typ", Some(typ.into()))));
        }
    }
    all
}

/// The claims that every reader's tokens are hurt in, whether it reads them or not.
fn values(claim: &str, good: Option<&Value>, now: i64) -> Vec<(&'static str, Option<Value>)> {
    let good = good.cloned().unwrap_or_default();
    let text = good.as_str().unwrap_or_default();
    let mut values = vec![
        ("missing", None),
        ("null", Some(Value::Null)),
        ("an object", Some(json!({"a": 1}))),
        ("true", Some(true.into())),
    ];
    match claim {
        "exp" | "nbf" | "iat" => values.extend([
            ("past", Some((now - 86_400).into())),
            ("future", Some((now + 3_000).into())),
            ("far future", Some((now + 400_000_000).into())),
            ("a text", Some(now.to_string().into())),
            ("a list", Some(json!([now]))),
            ("zero", Some(0.into())),
            ("negative", Some((-1).into())),
            ("the largest", Some(i64::MAX.into())),
            ("beyond the largest", Some(u64::MAX.into())),
            ("the smallest", Some(i64::MIN.into())),
            ("beyond every clock", Some(json!(1e300))),
            ("before every clock", Some(json!(-1e300))),
        ]),
        "aud" => values.extend([
            ("of another", Some("https://evil.example".into())),
            ("empty", Some("".into())),
            ("nobody", Some(json!([]))),
            ("in a list", Some(json!([good]))),
            ("beside another", Some(json!([good, "https://evil.example"]))),
            ("a list of another", Some(json!(["https://evil.example"]))),
            ("a list of numbers", Some(json!([1]))),
            ("a number", Some(1.into())),
            ("with a slash", Some(format!("{text}/").into())),
            ("in another case", Some(text.to_uppercase().into())),
        ]),
        _ => {
            // What works once is never sent twice by accident.
            let once = next_jti();
            values.extend([
                ("of another", Some(format!("urn:evil:{once}").into())),
                ("empty", Some("".into())),
                ("a number", Some(1.into())),
                ("a list", Some(json!([good]))),
                ("with a slash", Some(format!("{text}/").into())),
                ("in another case", Some(flipped(text).into())),
                ("with a NUL", Some(format!("a\0{once}").into())),
                ("with a space", Some(format!("{text} ").into())),
                ("of 257 characters", Some("x".repeat(257).into())),
                ("of 5000 characters", Some("x".repeat(5_000).into())),
                ("a bidi override", Some(format!("\u{202e}{once}").into())),
            ]);
            values.retain(|(how, _)| *how != "in another case" || flipped(text) != text);
        }
    }
    // What is the good value after all is no hurt.
    values.retain(|(_, value)| value.as_ref() != Some(&good));
    values
}

fn flipped(text: &str) -> String {
    let flip = |c: char| match c.is_ascii_lowercase() {
        true => c.to_ascii_uppercase(),
        false => c.to_ascii_lowercase(),
    };
    text.chars().map(flip).collect()
}

/// The names of RFC 7519 §4.1, and those that a reader reads besides.
fn claims(reader: &impl Reader) -> Vec<Hurt> {
    let mut names = vec!["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];
    names.extend(
        reader
            .reads()
            .iter()
            .filter(|name| !names.contains(name))
            .copied()
            .collect::<Vec<_>>(),
    );
    let mut all = Vec::new();
    for name in names {
        let good = Parts::of(reader).claims.get(name).cloned();
        for (how, value) in values(name, good.as_ref(), reader.now()) {
            let token = Parts::of(reader).claim(name, value).signed(reader.signer());
            all.push((format!("{name} {how}"), token));
        }
    }
    all
}

/// What is wrong with the form of a token whose signature would hold.
#[expect(clippy::too_many_lines, reason = "a corpus")]
fn forms(reader: &impl Reader) -> Vec<Hurt> {
    let fresh = || Parts::of(reader).signed(reader.signer());
    let cut = |by: usize| {
        let token = fresh();
        token[..token.len() - by].to_owned()
    };
    let parts = |make: fn(&str, &str, &str) -> String| {
        let token = fresh();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, payload) = signed.split_once('.').unwrap();
        make(header, payload, signature)
    };
    let mut all: Vec<Hurt> = [
        ("cut by one", cut(1)),
        ("cut by ten", cut(10)),
        (
            "without a signature",
            parts(|header, payload, _| format!("{header}.{payload}.")),
        ),
        (
            "without the last dot",
            parts(|header, payload, _| format!("{header}.{payload}")),
        ),
        ("the header alone", parts(|header, _, _| header.to_owned())),
        (
            "without a payload",
            parts(|header, _, signature| format!("{header}..{signature}")),
        ),
        (
            "without a header",
            parts(|_, payload, signature| format!(".{payload}.{signature}")),
        ),
        (
            "four segments",
            parts(|header, payload, signature| format!("{header}.{payload}.{signature}.x")),
        ),
        (
            "a segment before",
            parts(|header, payload, signature| format!("x.{header}.{payload}.{signature}")),
        ),
        (
            "an empty segment after",
            parts(|header, payload, signature| format!("{header}.{payload}.{signature}.")),
        ),
        (
            "five segments",
            parts(|header, payload, signature| format!("{header}.{payload}.{signature}.{payload}.{signature}")),
        ),
        ("dots", "..".to_owned()),
        ("more dots", "....".to_owned()),
        ("no token", "no token".to_owned()),
        (
            "padded",
            parts(|header, payload, signature| format!("{header}.{payload}.{signature}==")),
        ),
        (
            "padded payload",
            parts(|header, payload, signature| format!("{header}.{payload}=.{signature}")),
        ),
        (
            "a space in the payload",
            parts(|header, payload, signature| format!("{header}. {payload}.{signature}")),
        ),
        (
            "a new line in the payload",
            parts(|header, payload, signature| format!("{header}.\n{payload}.{signature}")),
        ),
        ("a control character at the end", format!("{}\u{1}", fresh())),
        ("dots percent-encoded", fresh().replace('.', "%2e")),
        ("dots of another script", fresh().replace('.', "\u{2024}")),
        ("another letter first", format!("X{}", &fresh()[1..])),
    ]
    .map(|(name, token)| (name.to_owned(), token))
    .into();
    all.push(("another payload".into(), {
        let (_, claims) = Parts::of(reader).claim("x", Some(1.into())).texts();
        let token = fresh();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = signed.split_once('.').unwrap();
        format!("{header}.{}.{signature}", B64.encode(claims))
    }));
    all.push(("a loose bit at the end".into(), loose(&fresh())));
    all.push(("long".into(), format!("{}{}", fresh(), "A".repeat(20_000))));
    all
}

/// The last letter of a signature carries bits that stand for nothing: a decoder that lets them vary lets a token have several texts.
fn loose(token: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (head, last) = token.split_at(token.len() - 1);
    let at = LETTERS.iter().position(|letter| *letter == last.as_bytes()[0]).unwrap();
    format!("{head}{}", char::from(LETTERS[at | 1]))
}

/// Signed documents that are no good JSON, or JSON with two meanings, or too much of it.
#[expect(clippy::too_many_lines, reason = "a corpus")]
fn documents(reader: &impl Reader) -> Vec<Hurt> {
    let (header, claims) = Parts::of(reader).texts();
    let sign = |header: &[u8], claims: &[u8]| reader.signer().sign(header, claims);
    let inner = |text: &str| text[1..text.len() - 1].to_owned();
    // Readers of single-use tokens must not stumble over a jti that they know.
    let fresh = || Parts::of(reader).texts().1;
    let more = |member: &str| format!("{{{},{member}}}", inner(&fresh()));
    let deep = |depth: usize| more(&format!(r#""deep":{}{}"#, "[".repeat(depth), "]".repeat(depth)));
    let first = inner(&claims).split(',').next().unwrap().to_owned();
    let many: Vec<String> = (0..300).map(|at| format!(r#""m{at}":{at}"#)).collect();
    let payloads: Vec<(&str, Vec<u8>)> = vec![
        ("claims a list", format!("[{claims}]").into()),
        ("claims a text", json!(claims).to_string().into()),
        ("claims null", b"null".to_vec()),
        ("claims nothing", Vec::new()),
        ("claims empty", b"{}".to_vec()),
        ("claims cut short", claims.as_bytes()[..claims.len() - 1].to_vec()),
        ("claims twice", format!("{claims}{claims}").into()),
        ("claims after a byte order mark", format!("\u{feff}{claims}").into()),
        ("claims before garbage", format!("{claims}x").into()),
        ("claims before a NUL", format!("{claims}\0").into()),
        (
            "claims not UTF-8",
            [more(r#""x":""#).trim_end_matches('}').as_bytes(), b"\xff\"}"].concat(),
        ),
        (
            "claims in UTF-16",
            claims.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ),
        ("claims with a comment", format!("{claims}/**/").into()),
        ("claims after a space", format!(" {}", fresh()).into()),
        ("a doubled claim", more(&first).into()),
        ("a doubled claim, nested", more(r#""x":{"a":1,"a":2}"#).into()),
        ("a lone surrogate", more(r#""x":"\ud800""#).into()),
        ("a NUL in another claim", more(r#""x":"\u0000","\u0000":1"#).into()),
        (
            "hostile names",
            more(r#""__proto__":{"a":1},"constructor":1,"":1,"\u202e":1"#).into(),
        ),
        ("100 lists deep", deep(100).into()),
        ("4000 lists deep", deep(4_000).into()),
        ("300 other claims", more(&many.join(",")).into()),
        ("20000 bytes", more(&format!(r#""x":"{}""#, "x".repeat(20_000))).into()),
        ("a number beyond a double", more(r#""x":1e999"#).into()),
    ];
    let mut all: Vec<Hurt> = Vec::new();
    for (name, payload) in payloads {
        all.push((name.to_owned(), sign(header.as_bytes(), &payload)));
    }
    let twice = |name: &str| {
        let parts = Parts::of(reader);
        let value = parts.header.get(name).cloned().unwrap_or_else(|| "k1".into());
        format!(
            r#"{{"{name}":"other",{},"{name}":{value}}}"#,
            inner(&text(&parts.header))
        )
    };
    let headers: Vec<(&str, Vec<u8>)> = vec![
        ("header a list", format!("[{header}]").into()),
        ("header nothing", Vec::new()),
        ("header empty", b"{}".to_vec()),
        ("header cut short", header.as_bytes()[..header.len() - 1].to_vec()),
        ("header after a byte order mark", format!("\u{feff}{header}").into()),
        (
            "header not UTF-8",
            [header.trim_end_matches('}').as_bytes(), b",\"x\":\"\xff\"}"].concat(),
        ),
        ("header before garbage", format!("{header}x").into()),
        ("a doubled alg", twice("alg").into()),
        ("a doubled kid", twice("kid").into()),
        ("a doubled typ", twice("typ").into()),
        ("a header 4000 lists deep", {
            let deep = format!("{}{}", "[".repeat(4_000), "]".repeat(4_000));
            format!(r#"{{{},"x":{deep}}}"#, inner(&header)).into()
        }),
        (
            "a header of 20000 bytes",
            format!(r#"{{{},"x":"{}"}}"#, inner(&header), "x".repeat(20_000)).into(),
        ),
    ];
    for (name, header) in headers {
        all.push((name.to_owned(), sign(&header, fresh().as_bytes())));
    }
    all
}
