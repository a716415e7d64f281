//! The reference signers, and what the gateway reads of what they sign: the same vectors for all of them.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use resource_gateway::domain::signature::{Authorization, SignedRequest, hex};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    running::Running,
    signed_calls::{CHAT, settings},
    signer::{self, Key, Request, Stamp, sign, unhex, vectors},
};

fn texts(value: &Value) -> Vec<(String, String)> {
    let pairs = value.as_object().unwrap().iter();
    pairs
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}

fn signed_vector(vectors: &Value, case: &Value) -> signer::Signed {
    let text = |value: &Value, name: &str| value[name].as_str().unwrap().to_owned();
    let headers = texts(&case["headers"]);
    let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let key = &vectors["key"];
    sign(
        &Key {
            id: &text(key, "id"),
            secret: &text(key, "secret"),
        },
        &Request {
            method: &text(case, "method"),
            url: &text(case, "url"),
            body: &unhex(&text(case, "body_hex")),
            headers: &headers,
        },
        &Stamp {
            date: &text(case, "date"),
            nonce: &text(case, "nonce"),
            expires: u32::try_from(case["expires"].as_u64().unwrap()).unwrap(),
        },
    )
    .unwrap()
}

#[test]
fn the_signer_in_rust_meets_the_vectors() {
    let vectors = vectors();
    for case in vectors["signed"].as_array().unwrap() {
        let signed = signed_vector(&vectors, case);
        assert_eq!(signed.canonical_request, case["canonical_request"], "{}", case["name"]);
        assert_eq!(signed.string_to_sign, case["string_to_sign"], "{}", case["name"]);
        assert_eq!(
            signed.headers["authorization"], case["authorization"],
            "{}",
            case["name"]
        );
    }
    for case in vectors["refused"].as_array().unwrap() {
        let request = Request {
            method: "GET",
            url: case["url"].as_str().unwrap(),
            body: b"",
            headers: &[],
        };
        let key = Key { id: "", secret: "" };
        let stamp = Stamp {
            date: "",
            nonce: "",
            expires: 1,
        };
        assert!(sign(&key, &request, &stamp).is_err(), "{}", case["name"]);
    }
    // Its hash function is its own: bodies that end anywhere in a block.
    for length in 0..200 {
        let body = vec![b'x'; length];
        let request = Request {
            method: "GET",
            url: "http://a",
            body: &body,
            headers: &[],
        };
        let key = Key { id: "", secret: "" };
        let stamp = Stamp {
            date: "",
            nonce: "",
            expires: 1,
        };
        let digest = hex(&Sha256::digest(&body));
        let signed = sign(&key, &request, &stamp).unwrap();
        assert_eq!(signed.headers["x-hexgate-content-sha256"], digest, "{length}");
    }
}

#[test]
fn the_gateway_reads_what_the_vectors_say() {
    let vectors = vectors();
    let claims = |url: &str, case: &Value, signed: &signer::Signed| {
        let authorization = signed.headers["authorization"].clone();
        let (_, rest) = url.split_once("://").unwrap();
        let rest = rest.find(['/', '?']).map_or("/", |at| &rest[at..]);
        let (path, query) = rest
            .split_once('?')
            .map_or((rest, None), |(path, query)| (path, Some(query)));
        let headers: Vec<(&str, Option<&str>)> = signed
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), Some(value.as_str())))
            .collect();
        let request = SignedRequest {
            method: case["method"].as_str().unwrap(),
            path,
            query,
            headers: &headers,
        };
        let read = Authorization::read(&authorization).unwrap().unwrap();
        let claimed = read.claims(&request).map_err(|error| error.to_string())?;
        let text = read.string_to_sign(&claimed, &Sha256::digest(claimed.canonical()));
        Ok::<_, String>((claimed.canonical().to_owned(), text))
    };
    let mut any = None;
    for case in vectors["signed"].as_array().unwrap() {
        let signed = signed_vector(&vectors, case);
        let (canonical, text) = claims(case["url"].as_str().unwrap(), case, &signed).unwrap();
        assert_eq!(canonical, case["canonical_request"], "{}", case["name"]);
        assert_eq!(text, case["string_to_sign"], "{}", case["name"]);
        any = Some((case.clone(), signed));
    }
    let (case, signed) = any.unwrap();
    for refused in vectors["refused"].as_array().unwrap() {
        let url = refused["url"].as_str().unwrap();
        assert!(claims(url, &case, &signed).is_err(), "{}", refused["name"]);
    }
}

fn signers() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/signers")
}

async fn run(mut command: Command) -> String {
    command
        .current_dir(signers())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.is_empty(), "{error}");
    text
}

const PYTHON_VECTORS: &str = "
import json, hexgate_signer as signer
vectors = json.load(open('vectors.json'))
key = vectors['key']
for case in vectors['signed']:
    headers = signer.sign(key['id'], key['secret'], case['method'], case['url'], bytes.fromhex(case['body_hex']),
                          case['headers'], case['expires'], case['date'], case['nonce'])
    assert headers['authorization'] == case['authorization'], case['name']
for case in vectors['refused']:
    try:
        signer.sign('a', 'b', 'GET', case['url'])
    except ValueError:
        continue
    raise AssertionError(case['name'])
print(len(vectors['signed']), len(vectors['refused']))
";

const NODE_VECTORS: &str = "
import { readFileSync } from 'node:fs';
import assert from 'node:assert';
const signer = await import(process.cwd() + '/hexgate_signer.mjs');
const vectors = JSON.parse(readFileSync('vectors.json'));
for (const { method, url, headers, expires, date, nonce, ...vector } of vectors.signed) {
  const { id: keyId, secret } = vectors.key;
  const body = Buffer.from(vector.body_hex, 'hex');
  const signed = signer.sign({ keyId, secret, method, url, body, headers, expires, date, nonce });
  assert.equal(signed.authorization, vector.authorization, vector.name);
}
for (const { name, url } of vectors.refused) {
  assert.throws(() => signer.sign({ keyId: 'a', secret: 'b', method: 'GET', url }), Error, name);
}
console.log(vectors.signed.length, vectors.refused.length);
";

/// Both are run as their users run them, against a gateway.
#[tokio::test]
async fn the_signers_in_python_and_javascript_meet_the_vectors_and_get_answers() {
    let vectors = vectors();
    let counts = format!(
        "{} {}\n",
        vectors["signed"].as_array().unwrap().len(),
        vectors["refused"].as_array().unwrap().len()
    );
    let mut python = Command::new("python3");
    python.args(["-c", PYTHON_VECTORS]);
    assert_eq!(run(python).await, counts);
    let mut node = Command::new("node");
    node.args(["--input-type=module", "--eval", NODE_VECTORS]);
    assert_eq!(run(node).await, counts);
    let world = Running::start().await;
    let holder = world.issue(settings()).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("request.json");
    let text = json!({"model": "echo", "messages": [{"role": "user", "content": "grüß dich, 日本"}]});
    std::fs::write(&file, text.to_string()).unwrap();
    for program in [("python3", "hexgate_signer.py"), ("node", "hexgate_signer.mjs")] {
        let call = async |method: &str, path: &str, file: Option<&Path>| {
            let mut command = Command::new(program.0);
            command
                .args([program.1, method, &format!("{}{path}", world.url)])
                .args(file)
                .env("HEXGATE_ACCESS_KEY", &holder.id)
                .env("HEXGATE_SECRET", &holder.secret);
            run(command).await
        };
        let answer = call("POST", CHAT, Some(&file)).await;
        assert!(
            answer.starts_with("200\n") && answer.contains("\"choices\""),
            "{answer}"
        );
        let models = call("GET", "/v1/models?b=%7e%20x&a=1&%C3%BC=d%2fe&a=0'(*)!", None).await;
        assert!(models.starts_with("200\n") && models.contains("\"echo\""), "{models}");
        let model = call("GET", "/v1/models/%65cho", None).await;
        assert!(model.starts_with("200\n") && model.contains("\"echo\""), "{model}");
    }
}
