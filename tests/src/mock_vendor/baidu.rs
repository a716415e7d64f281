//! Baidu AIP: an access key buys a token, which stands in the address or, for speech, in the content. What fails says so by a
//! number under status 200. A request whose content holds `fault-NUMBER` (a picture's or a recording's bytes, a text) is
//! answered with that number.

use std::{sync::Mutex, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    Credentials, credentials,
    faults::{self, Outgoing, Piece},
    shape::Object,
    wire::{Request, Whole},
};

const SALE: &str = "/oauth/2.0/token";
/// Seconds that a token is good for.
const LIFETIME: i64 = 2_592_000;
/// More than a number of JavaScript's holds.
const LOG_ID: u64 = 1_890_000_000_000_000_123;

/// Tokens that were sold, and how many of them were taken back.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    sold: Mutex<Sold>,
}

#[derive(Debug, Default)]
struct Sold {
    /// When each of them ends.
    ends: Vec<i64>,
    expired: usize,
}

impl Tokens {
    /// All that were sold so far are dead, whatever was said when they were.
    pub(super) fn expire(&self) {
        let mut sold = self.sold.lock().unwrap();
        sold.expired = sold.ends.len();
    }

    fn sell(&self) -> String {
        let mut sold = self.sold.lock().unwrap();
        sold.ends.push(now() + LIFETIME);
        format!("24.mock-aip-token-{:06}.{LIFETIME}+/282335", sold.ends.len())
    }

    fn check(&self, token: &str) -> Result<(), Wrong> {
        let sold = self.sold.lock().unwrap();
        let number = token.strip_prefix("24.mock-aip-token-").and_then(|rest| rest.get(..6));
        let place = number.and_then(|number| number.parse::<usize>().ok()?.checked_sub(1));
        match place.and_then(|place| Some((place, sold.ends.get(place)?))) {
            None => wrong(110, "Access token invalid or no longer valid"),
            Some((place, ends)) if place < sold.expired || *ends < now() => wrong(111, "Access token expired"),
            Some(_) => Ok(()),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a vendor lives in real time")]
fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

/// A number and a sentence.
struct Wrong {
    code: u32,
    said: String,
}

fn wrong<T>(code: u32, said: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong {
        code,
        said: said.into(),
    })
}

impl From<super::shape::Refused> for Wrong {
    fn from(refused: super::shape::Refused) -> Self {
        Self {
            code: 216_100,
            said: format!("invalid param: {}", refused.said),
        }
    }
}

type Heard<T> = Result<T, Wrong>;

pub(super) fn answer(tokens: &Tokens, request: &Request) -> Outgoing {
    let mut outgoing = faults::send_whole(told(tokens, request), None);
    if request.path == SALE {
        // Long enough for others to want one as well.
        outgoing.pieces.insert(0, Piece::Pause(Duration::from_millis(200)));
    }
    outgoing
}

fn told(tokens: &Tokens, request: &Request) -> Whole {
    match request.path.as_str() {
        SALE => sale(tokens, request),
        "/server_api" => speech_told(
            transcription(tokens, request).map(|body| Whole::json(200, &body)),
            transcription_code,
        ),
        "/text2audio" => speech_told(synthesis(tokens, request), synthesis_code),
        path => {
            let answered = path.strip_prefix("/rest/2.0").map(|path| rest(tokens, request, path));
            match answered.unwrap_or_else(|| wrong(3, "Unsupported openapi method")) {
                Ok(mut body) => {
                    body["log_id"] = LOG_ID.into();
                    Whole::json(200, &body)
                }
                Err(wrong) => {
                    let body = json!({"error_code": wrong.code, "error_msg": wrong.said, "log_id": LOG_ID});
                    Whole::json(200, &body)
                }
            }
        }
    }
}

/// Speech has other numbers, and other names for them.
fn speech_told(answered: Heard<Whole>, code: fn(u32) -> u32) -> Whole {
    answered.unwrap_or_else(|wrong| {
        let body = json!({"err_no": code(wrong.code), "err_msg": wrong.said, "sn": "mock-sn-1"});
        Whole::json(200, &body)
    })
}

fn transcription_code(code: u32) -> u32 {
    match code {
        110 | 111 => 3302,
        216_100 => 3300,
        other => other,
    }
}

fn synthesis_code(code: u32) -> u32 {
    match code {
        110 | 111 => 502,
        216_100 => 501,
        other => other,
    }
}

fn sale(tokens: &Tokens, request: &Request) -> Whole {
    let Credentials { id, key } = credentials("baidu");
    let refused =
        |status, error: &str, said: &str| Whole::json(status, &json!({"error": error, "error_description": said}));
    if !["GET", "POST"].contains(&request.method.as_str())
        || request.query("grant_type").as_deref() != Some("client_credentials")
    {
        return refused(
            400,
            "unsupported_grant_type",
            "The authorization grant type is not supported",
        );
    }
    if request.query("client_id").as_deref() != Some(id) {
        return refused(401, "invalid_client", "unknown client id");
    }
    if request.query("client_secret").as_deref() != Some(key) {
        return refused(401, "invalid_client", "Client authentication failed");
    }
    let scope = "public brain_all_scope vis-ocr_ocr audio_voice_assistant_get audio_tts_post";
    Whole::json(
        200,
        &json!({"access_token": tokens.sell(), "expires_in": LIFETIME, "scope": scope, "refresh_token": "25.mock",
            "session_key": "mock", "session_secret": "mock"}),
    )
}

/// The number that a content asks for.
fn fault(content: &[u8]) -> Heard<()> {
    let text = String::from_utf8_lossy(content);
    let Some((_, rest)) = text.split_once("fault-") else {
        return Ok(());
    };
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    wrong(digits.parse().unwrap(), "This failure was asked for")
}

/// Fields of a form, taken one by one like members of an [`Object`].
struct Form(Vec<(String, String)>);

impl Form {
    fn of(request: &Request) -> Heard<Self> {
        Ok(Self(request.form()?))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    fn need(&mut self, name: &str) -> Heard<String> {
        self.take(name)
            .map_or_else(|| wrong(216_101, format!("not enough param: {name}")), Ok)
    }

    /// `true` or `false` in letters.
    fn flag(&mut self, name: &str) -> Heard<bool> {
        match self.take(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => wrong(216_100, format!("invalid param: {name}={other}")),
        }
    }

    fn skip(&mut self, names: &[&str]) {
        self.0.retain(|(name, _)| !names.contains(&name.as_str()));
    }

    fn close(self) -> Heard<()> {
        match self.0.first() {
            Some((name, _)) => wrong(216_100, format!("invalid param: {name}")),
            None => Ok(()),
        }
    }

    /// A picture in base64, or behind a link.
    fn picture(&mut self, link: &str) -> Heard<()> {
        match (self.take("image"), self.take(link)) {
            (Some(data), _) => picture(&data),
            (None, Some(url)) if url.starts_with("http") => fault(url.as_bytes()),
            (None, Some(_)) => wrong(282_112, "url format illegal"),
            (None, None) => wrong(216_101, "not enough param: image"),
        }
    }
}

fn picture(data: &str) -> Heard<()> {
    if data.len() > 4 * 1024 * 1024 {
        return wrong(216_202, "image size error");
    }
    let Ok(bytes) = STANDARD.decode(data) else {
        return wrong(216_200, "empty image or no base64");
    };
    if !super::shape::is_picture(&bytes) {
        return wrong(216_201, "image format error");
    }
    fault(&bytes)
}

/// A body of JSON, whatever its type is called: the vendor's library does not say.
fn json_of(request: &Request) -> Heard<Value> {
    serde_json::from_slice(&request.body).map_or_else(|_| wrong(216_100, "invalid param: no JSON"), Ok)
}

/// What takes its token from the address.
fn rest(tokens: &Tokens, request: &Request, path: &str) -> Heard<Value> {
    tokens.check(&request.query("access_token").unwrap_or_default())?;
    if request.method != "POST" {
        return wrong(3, "Unsupported openapi method");
    }
    match path {
        "/ocr/v1/general_basic" | "/ocr/v1/accurate_basic" => texts(request, false),
        "/ocr/v1/general" | "/ocr/v1/accurate" => texts(request, true),
        "/face/v3/detect" => faces(request),
        "/face/v3/match" => match_of(request),
        "/image-classify/v2/advanced_general" => things(request),
        "/solution/v1/text_censor/v2/user_defined" => {
            let mut form = Form::of(request)?;
            let text = form.need("text")?;
            form.skip(&["strategyId", "userId"]);
            form.close()?;
            fault(text.as_bytes())?;
            Ok(censored(text.contains("kill")))
        }
        "/solution/v1/img_censor/v2/user_defined" => {
            let mut form = Form::of(request)?;
            form.picture("imgUrl")?;
            form.skip(&["imgType", "strategyId"]);
            form.close()?;
            Ok(censored(false))
        }
        _ => wrong(3, "Unsupported openapi method"),
    }
}

fn texts(request: &Request, placed: bool) -> Heard<Value> {
    let mut form = Form::of(request)?;
    form.picture("url")?;
    let scored = form.flag("probability")?;
    let turned = form.flag("detect_direction")?;
    form.skip(&[
        "language_type",
        "detect_language",
        "paragraph",
        "recognize_granularity",
        "vertexes_location",
    ]);
    form.close()?;
    let line = |top: u32, words: &str, average: f64| {
        let mut line = json!({ "words": words });
        if scored {
            line["probability"] = json!({"average": average, "min": average / 2.0, "variance": 0.01});
        }
        if placed {
            line["location"] = json!({"left": 1, "top": top, "width": 30, "height": 10});
        }
        line
    };
    let lines = json!([line(2, "INVOICE 42", 0.97), line(22, "smudge", 0.21)]);
    let mut body = json!({"words_result": lines, "words_result_num": 2});
    if turned {
        body["direction"] = 0.into();
    }
    Ok(body)
}

/// A picture of a face, as a member of JSON.
fn look(one: &Value) -> Heard<Object<'_>> {
    let mut object = Object::of(one, "")?;
    let data = object.text("image")?;
    match object.one_of("image_type", &["BASE64", "URL", "FACE_TOKEN"])? {
        Some("BASE64") => picture(data)?,
        Some(_) => fault(data.as_bytes())?,
        None => return wrong(222_001, "param[image_type] is null"),
    }
    Ok(object)
}

fn faces(request: &Request) -> Heard<Value> {
    let body = json_of(request)?;
    let mut object = look(&body)?;
    let fields = object.maybe_text("face_field")?.unwrap_or_default();
    object.skip(&["max_face_num", "face_type", "liveness_control", "display_corp_image"]);
    object.close()?;
    let mut face = json!({"face_token": "mock-face-1", "face_probability": 0.98,
        "location": {"left": 11.5, "top": 12.25, "width": 40, "height": 42, "rotation": -3},
        "angle": {"yaw": 1.5, "pitch": 2.5, "roll": -3.5}});
    if fields.split(',').any(|field| field == "gender") {
        face["gender"] = json!({"type": "female", "probability": 0.9});
    }
    if fields.split(',').any(|field| field == "age") {
        face["age"] = 33.into();
    }
    Ok(seen(&json!({"face_num": 1, "face_list": [face]})))
}

fn seen(result: &Value) -> Value {
    json!({"error_code": 0, "error_msg": "SUCCESS", "timestamp": 1_760_000_000, "cached": 0, "result": result})
}

fn match_of(request: &Request) -> Heard<Value> {
    let body = json_of(request)?;
    let [one, other] = body.as_array().map(Vec::as_slice).unwrap_or_default() else {
        return wrong(222_001, "two pictures are compared");
    };
    for one in [one, other] {
        let mut one = look(one)?;
        one.skip(&["face_type", "quality_control", "liveness_control"]);
        one.close()?;
    }
    let faces = json!([{"face_token": "mock-face-1"}, {"face_token": "mock-face-2"}]);
    Ok(seen(&json!({"score": 87.5, "face_list": faces})))
}

fn things(request: &Request) -> Heard<Value> {
    let mut form = Form::of(request)?;
    form.picture("url")?;
    form.skip(&["baike_num"]);
    form.close()?;
    let things = json!([{"keyword": "bicycle", "root": "traffic", "score": 0.91}, {"keyword": "wall", "root": "", "score": 0.12}]);
    Ok(json!({"result": things, "result_num": 2}))
}

fn censored(blocked: bool) -> Value {
    if !blocked {
        return json!({"conclusion": "合规", "conclusionType": 1});
    }
    let hits = json!([{"datasetName": "default", "words": ["kill"], "probability": 0.83}]);
    let data = json!([{"type": 12, "subType": 2, "conclusionType": 2, "conclusion": "不合规", "msg": "violence", "hits": hits}]);
    json!({"conclusion": "不合规", "conclusionType": 2, "data": data})
}

fn transcription(tokens: &Tokens, request: &Request) -> Heard<Value> {
    if request.method != "POST" {
        return wrong(3300, "the method must be POST");
    }
    let body = json_of(request)?;
    let mut object = Object::of(&body, "")?;
    tokens.check(object.text("token")?)?;
    if object.one_of("format", &["pcm", "wav", "amr", "m4a"])?.is_none() {
        return wrong(3311, "param format invalid");
    }
    if !matches!(object.maybe_count("rate")?, Some(16_000 | 8000)) {
        return wrong(3311, "param rate invalid");
    }
    if object.maybe_count("channel")? != Some(1) || object.text("cuid")?.is_empty() {
        return wrong(3300, "param channel or cuid invalid");
    }
    object.skip(&["dev_pid", "lm_id"]);
    let length = object.maybe_count("len")?;
    let Ok(sound) = STANDARD.decode(object.text("speech")?) else {
        return wrong(3300, "speech is no base64");
    };
    if length != Some(sound.len() as u64) {
        return wrong(3314, "param len is not the length of speech");
    }
    object.close()?;
    fault(&sound)?;
    let heard = format!("{} bytes were heard", sound.len());
    Ok(
        json!({"err_no": 0, "err_msg": "success.", "corpus_no": "6433214037620997779", "sn": "mock-sn-1", "result": [heard]}),
    )
}

fn synthesis(tokens: &Tokens, request: &Request) -> Heard<Whole> {
    if request.method != "POST" {
        return wrong(501, "the method must be POST");
    }
    let mut form = Form::of(request)?;
    tokens.check(&form.need("tok")?)?;
    let text = form.need("tex")?;
    if form.need("lan")? != "zh" || form.need("ctp")? != "1" || form.need("cuid")?.is_empty() {
        return wrong(501, "parameter error");
    }
    for (name, most) in [("spd", 15), ("pit", 15), ("vol", 15)] {
        let number = form.take(name).map(|number| number.parse::<u8>());
        if number.is_some_and(|number| !number.is_ok_and(|number| number <= most)) {
            return wrong(501, format!("parameter error: {name}"));
        }
    }
    let voice = form.take("per").unwrap_or_else(|| "0".to_owned());
    let (kind, start) = match form.take("aue").as_deref() {
        None | Some("3") => ("audio/mp3", "ID3"),
        Some("4") => ("audio/basic;codec=pcm;rate=16000;channel=1", ""),
        Some("6") => ("audio/wav", "RIFF"),
        Some(_) => return wrong(501, "parameter error: aue"),
    };
    form.close()?;
    fault(text.as_bytes())?;
    Ok(Whole {
        status: 200,
        headers: vec![("content-type", kind.to_owned())],
        body: format!("{start}{voice}: {text}").into_bytes(),
    })
}
