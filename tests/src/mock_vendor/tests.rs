//! The mock vendor takes what the vendors' own SDKs were recorded to send, and nothing that is a little off.

use std::{fs, path::Path};

use axum::{body::Bytes, http::HeaderMap};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    Credentials, State, VENDORS, credentials,
    faults::Piece,
    signatures, spark_socket,
    wire::{Request, Style, gzip, odd_pieces},
};

const FIXTURES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../resource-gateway/tests/fixtures/vendors"
);

/// The recorded cases of a folder.
fn fixtures(folder: &str) -> Vec<(String, Value)> {
    let mut all: Vec<_> = fs::read_dir(Path::new(FIXTURES).join(folder))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = format!("{folder}/{}", path.file_name().unwrap().to_string_lossy());
            (name, serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
        })
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

/// The recorded request, as it would arrive.
fn request(vendor: &'static str, recorded: &Value) -> Request {
    let recorded = &recorded["request"];
    let mut headers = HeaderMap::new();
    headers.insert("host", recorded["host"].as_str().unwrap().parse().unwrap());
    for (name, value) in recorded["headers"].as_object().unwrap() {
        headers.insert(http_name(name), value.as_str().unwrap().parse().unwrap());
    }
    let body = match (recorded["body_text"].as_str(), &recorded["body"]) {
        (Some(text), _) => text.to_owned(),
        (None, Value::Null) => String::new(),
        // A form.
        (None, Value::String(text)) => text.clone(),
        (None, body) => body.to_string(),
    };
    Request {
        vendor,
        method: recorded["method"].as_str().unwrap().to_owned(),
        path: recorded["path"].as_str().unwrap().to_owned(),
        query: recorded["raw_query"].as_str().unwrap_or_default().to_owned(),
        headers,
        body: Bytes::from(body),
    }
}

fn http_name(name: &str) -> axum::http::HeaderName {
    name.parse().unwrap()
}

/// The same under this server's key.
fn with_our_key(mut request: Request) -> Request {
    let key = credentials(request.vendor).key;
    for (name, value) in [
        ("authorization", format!("Bearer {key}")),
        ("x-api-key", key.to_owned()),
        ("x-goog-api-key", key.to_owned()),
        ("api-key", key.to_owned()),
    ] {
        if request.headers.contains_key(name) {
            request.headers.insert(name, value.parse().unwrap());
        }
    }
    request
}

/// What it answers, joined.
fn answer(request: &Request) -> (u16, Vec<u8>) {
    let outgoing = State::default().answer(request).unwrap();
    let bytes = outgoing
        .pieces
        .iter()
        .flat_map(|piece| match piece {
            Piece::Bytes(bytes) => bytes.to_vec(),
            other => panic!("{other:?}"),
        })
        .collect();
    (outgoing.status, bytes)
}

#[test]
fn what_the_vendors_sdks_send_is_taken() {
    let folders = [
        ("openai", "openai"),
        ("deepseek", "deepseek"),
        ("moonshot", "moonshot"),
        ("zhipu", "zhipu"),
        ("volcengine-ark", "volcengine-ark"),
        ("mistral", "mistral"),
        ("baidu-qianfan", "qianfan"),
        ("azure-openai", "azure-openai"),
        ("anthropic", "anthropic"),
        ("gemini", "gemini"),
        ("dashscope", "dashscope"),
        ("ollama", "ollama"),
        ("cohere", "cohere"),
        ("iflytek", "spark"),
    ];
    let mut taken = 0;
    for (folder, vendor) in folders {
        for (name, recorded) in fixtures(folder) {
            let chat = ["chat-", "messages-", "generate-", "compat-chat-"];
            let file = name.rsplit_once('/').unwrap().1;
            // Ollama's older call; Azure's other kind of credential; a socket; another service of DashScope's.
            let other = [
                "ollama/generate",
                "chat-entra",
                "chat-ws",
                "zhipu/chat-jwt",
                "dashscope/compat",
            ];
            if !chat.iter().any(|start| file.starts_with(start)) || other.iter().any(|other| name.contains(other)) {
                continue;
            }
            let request = with_our_key(request(vendor, &recorded));
            let (status, body) = answer(&request);
            assert_eq!(status, 200, "{name}: {}", String::from_utf8_lossy(&body));
            taken += 1;
        }
    }
    assert!(taken >= 40, "{taken} recordings were taken");
}

#[test]
fn recorded_signatures_hold_and_changed_requests_do_not() {
    let account = Credentials {
        id: "test-access-key",
        key: "test-secret-key",
    };
    let mut held = 0;
    for (folder, vendor, product) in [("aws-bedrock", "bedrock", "bedrock"), ("tencent", "tencent", "")] {
        for (name, recorded) in fixtures(folder) {
            if recorded["signing"].is_null() || recorded["request"]["body_text"].is_null() {
                continue;
            }
            let now = recorded["inputs"]["frozen_unix"].as_i64().unwrap_or(1_741_964_966);
            let mut request = request(vendor, &recorded);
            let verify = |request: &Request, now: i64| {
                if vendor == "bedrock" {
                    signatures::sigv4_at(request, product, account, now)
                } else {
                    let host = request.header("host").unwrap();
                    signatures::tc3_at(request, host.split('.').next().unwrap(), account, now)
                }
            };
            verify(&request, now).unwrap_or_else(|refused| panic!("{name}: {}", refused.said));
            assert!(verify(&request, now + 301).is_err(), "{name}: an old request was taken");
            request.body = Bytes::from([request.body.as_ref(), b" "].concat());
            assert!(verify(&request, now).is_err(), "{name}: another body was taken");
            held += 1;
        }
    }
    assert!(held >= 25, "{held} signatures held");
}

#[test]
fn what_baidus_library_sends_is_taken_with_a_token_that_was_sold_here() {
    let state = State::default();
    let told = |request: &Request| -> Value {
        let pieces = state.answer(request).unwrap().pieces.into_iter();
        let bytes = pieces.filter_map(|piece| match piece {
            Piece::Bytes(bytes) => Some(bytes.to_vec()),
            _ => None,
        });
        serde_json::from_slice(&bytes.collect::<Vec<_>>().concat()).unwrap_or_default()
    };
    let recorded = fixtures("baidu");
    let (_, sale) = recorded
        .iter()
        .find(|(name, _)| name.ends_with("auth-aip-token.json"))
        .unwrap();
    let mut sale = request("baidu", sale);
    assert_eq!(told(&sale)["error"], "invalid_client");
    let Credentials { id, key } = credentials("baidu");
    let ours = [("test-access-key", id), ("test-secret-key", key)];
    for (theirs, ours) in ours {
        let ours: String = url::form_urlencoded::byte_serialize(ours.as_bytes()).collect();
        sale.query = sale.query.replace(theirs, &ours);
    }
    let token = told(&sale)["access_token"].as_str().unwrap().to_owned();
    let percent: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
    let mut taken = 0;
    for (name, recorded) in recorded {
        let mut request = request("baidu", &recorded);
        if request.path == sale.path {
            continue;
        }
        let refused = told(&request);
        let number = refused["error_code"].as_u64().or(refused["err_no"].as_u64());
        assert!(
            [Some(110), Some(3302), Some(502)].contains(&number),
            "{name}: {refused}"
        );
        for theirs in ["24.test-access-token", "24.test-second-token"] {
            request.query = request.query.replace(theirs, &percent);
            let body = String::from_utf8(request.body.to_vec()).unwrap();
            let ours = if request.path == "/text2audio" {
                &percent
            } else {
                &token
            };
            request.body = Bytes::from(body.replace(theirs, ours));
        }
        let answered = told(&request);
        let sound = ["error_code", "err_no"]
            .iter()
            .all(|name| answered[name].as_u64().unwrap_or(0) == 0);
        assert!(sound, "{name}: {answered}");
        taken += 1;
    }
    assert!(taken >= 12, "{taken} recordings were taken");
}

#[test]
fn a_recorded_task_is_begun_asked_for_and_taken_from_where_it_lies() {
    let state = State::default();
    let told = |request: &Request| {
        let mut pieces = state.answer(request).unwrap().pieces.into_iter();
        match pieces.next() {
            Some(Piece::Bytes(bytes)) => serde_json::from_slice::<Value>(&bytes).unwrap_or_default(),
            other => panic!("{other:?}"),
        }
    };
    let recorded = |name: &str| {
        let file = Path::new(FIXTURES).join(format!("dashscope/images-generation-{name}.json"));
        let recorded = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        with_our_key(request("dashscope", &recorded))
    };
    let mut submit = recorded("submit");
    let task = told(&submit)["output"]["task_id"].as_str().unwrap().to_owned();
    let mut poll = recorded("poll-done");
    assert_eq!(told(&poll)["output"]["task_status"], "UNKNOWN");
    poll.path = poll.path.replace("task-img-1", &task);
    let done = told(&poll)["output"].clone();
    assert_eq!(done["task_status"], "SUCCEEDED");
    let place = url::Url::parse(done["results"][0]["url"].as_str().unwrap()).unwrap();
    let mut result = poll.clone();
    place.path().clone_into(&mut result.path);
    assert_eq!(told(&result)["code"], "InvalidParameter", "a key goes to nobody else");
    result.headers.remove("authorization");
    assert_eq!(answer(&result).0, 404, "another server knows nothing of it");
    submit.headers.remove("x-dashscope-async");
    assert_eq!(told(&submit)["code"], "AccessDenied");
}

#[test]
fn a_recorded_address_holds_for_five_minutes_and_for_nothing_else() {
    let account = Credentials {
        id: "test-access-key",
        key: "test-secret-key",
    };
    let file = Path::new(FIXTURES).join("iflytek/chat-ws-plain.json");
    let recorded: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let now = recorded["inputs"]["frozen_unix"].as_i64().unwrap();
    let mut asked = request("spark-websocket", &recorded);
    signatures::spark_at(&asked, account, now).unwrap_or_else(|refused| panic!("{}", refused.said));
    let another = Credentials {
        key: "another",
        ..account
    };
    for (account, now) in [(account, now + 301), (account, now - 301), (another, now)] {
        assert!(signatures::spark_at(&asked, account, now).is_err());
    }
    asked.path.push('x');
    assert!(signatures::spark_at(&asked, account, now).is_err());

    // What the recorded library says there is taken, if it says it as our application.
    let mut frame: Value = serde_json::from_str(recorded["request"]["ws_frames"][0]["text"].as_str().unwrap()).unwrap();
    let mut say = |name: &str, value: Value| {
        *frame.pointer_mut(name).unwrap() = value;
        asked.body = Bytes::from(frame.to_string());
        String::from_utf8(answer(&asked).1).unwrap()
    };
    assert!(say("/header/uid", "u1".into()).contains("11200"));
    assert!(say("/header/app_id", spark_socket::APP_ID.into()).contains("question_tokens"));
    assert!(say("/parameter/chat/temperature", 7.into()).contains("10004"));
}

#[test]
fn every_vendor_refuses_a_wrong_key_an_unknown_field_and_another_path() {
    let folders = [
        ("openai/chat-plain.json", "openai"),
        ("mistral/chat-plain.json", "mistral"),
        ("azure-openai/chat-plain.json", "azure-openai"),
        ("anthropic/messages-plain.json", "anthropic"),
        ("gemini/generate-plain.json", "gemini"),
        ("dashscope/chat-plain.json", "dashscope"),
        ("ollama/chat-plain.json", "ollama"),
        ("cohere/chat-plain.json", "cohere"),
    ];
    for (file, vendor) in folders {
        let recorded = serde_json::from_slice(&fs::read(Path::new(FIXTURES).join(file)).unwrap()).unwrap();
        let recorded = request(vendor, &recorded);
        if vendor != "ollama" {
            let (status, body) = answer(&recorded);
            let text = String::from_utf8_lossy(&body).into_owned();
            assert!(
                status == 401 || text.contains("API_KEY_INVALID"),
                "{vendor}: {status} {text}"
            );
        }
        let mut unknown = with_our_key(recorded.clone());
        let mut body: Value = serde_json::from_slice(&unknown.body).unwrap();
        body["x_unheard_of"] = 1.into();
        unknown.body = Bytes::from(body.to_string());
        let (status, body) = answer(&unknown);
        let text = String::from_utf8_lossy(&body).into_owned();
        assert!(
            [400, 422].contains(&status) && text.contains("x_unheard_of"),
            "{vendor}: {text}"
        );
        let mut elsewhere = with_our_key(recorded);
        elsewhere.path.push('x');
        assert_eq!(answer(&elsewhere).0, 404, "{vendor}");
    }
    assert_eq!(VENDORS.len(), 18);
}

#[test]
fn responses_are_asked_as_the_sdk_asks_and_nothing_is_kept_of_them() {
    for case in ["plain", "stream"] {
        let file = format!("openai/responses-{case}.json");
        let recorded = serde_json::from_slice(&fs::read(Path::new(FIXTURES).join(file)).unwrap()).unwrap();
        let request = with_our_key(request("openai", &recorded));
        // As it was recorded it would be kept.
        let (status, body) = answer(&request);
        assert!(
            status == 400 && String::from_utf8_lossy(&body).contains("store"),
            "{case}"
        );
        let with = |name: &str, value: Value| {
            let mut changed = request.clone();
            let mut body: Value = serde_json::from_slice(&changed.body).unwrap();
            body["store"] = false.into();
            body[name] = value;
            changed.body = Bytes::from(body.to_string());
            answer(&changed)
        };
        let (status, body) = with("user", "u".into());
        let text = String::from_utf8_lossy(&body).into_owned();
        assert!(status == 200 && text.contains("\"user\\\":\\\"Say hi"), "{text}");
        assert_eq!(case == "stream", text.contains("event: response.completed"), "{text}");
        for (name, value) in [
            ("x_unheard_of", 1.into()),
            ("previous_response_id", "resp_1".into()),
            ("max_tokens", 5.into()),
            ("max_output_tokens", 15.into()),
        ] {
            assert_eq!(with(name, value).0, 400, "{name}");
        }
    }
}

#[test]
fn a_stream_is_the_same_however_it_is_written() {
    let text = |style: &str| {
        let body =
            format!("{{\"model\":\"m\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"{style}\"}}]}}");
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/json".parse().unwrap());
        let key = format!("Bearer {}", credentials("openai").key);
        headers.insert("authorization", key.parse().unwrap());
        let request = Request {
            vendor: "openai",
            method: "POST".to_owned(),
            path: "/v1/chat/completions".to_owned(),
            query: String::new(),
            headers,
            body: Bytes::from(body),
        };
        String::from_utf8(answer(&request).1).unwrap()
    };
    // A letter each, so that each style is met.
    let styles = ["a", "b", "c", "d"];
    let mut met: Vec<_> = styles.iter().map(|seed| format!("{:?}", Style::of(seed))).collect();
    met.sort();
    assert_eq!(met, ["Commented", "Crlf", "Multiline", "Plain"]);
    for seed in styles {
        let stream = text(seed).replace("\r\n", "\n");
        let mut said = String::new();
        for event in stream.split("\n\n") {
            let data: Vec<_> = event
                .lines()
                .filter_map(|line| line.strip_prefix("data:"))
                .map(|data| data.strip_prefix(' ').unwrap_or(data))
                .collect();
            if let Ok(chunk) = serde_json::from_str::<Value>(&data.join("\n")) {
                said.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
            }
        }
        assert!(
            said.starts_with("Understood {") && said.ends_with("wörld 🙂"),
            "{seed}: {said}"
        );
    }
}

#[test]
fn pieces_join_to_the_whole_and_gzip_is_gzip() {
    let bytes: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    assert_eq!(odd_pieces(&bytes).concat(), bytes);
    let zipped = STANDARD.encode(gzip(&bytes));
    let python = "import base64,gzip,sys;sys.stdout.buffer.write(gzip.decompress(base64.b64decode(sys.stdin.read())))";
    let mut child = std::process::Command::new("python3")
        .args(["-c", python])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), zipped.as_bytes()).unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, bytes);
}
