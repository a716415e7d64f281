//! Fixtures, and how they are played: what an SDK was told becomes what a caller of the gateway would send, and from there on
//! everything is the gateway's own.

mod fixture;
mod neutral;
mod request;
mod vendors;

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use resource_gateway::{
    application::registry::{BoundVendor, Registry},
    bootstrap::{Ambient, registry},
    domain::{
        call::{Call, Voice},
        fault::Fault,
        interface::{Capability, WhenUnsupported},
        multipart::Boundary,
        vendor::Vendor,
    },
    ports::{
        chat::ChatDialect,
        codec::{Ask, Bought, Codec, Encoded, Opening, Outcome, Outgoing, Received, StreamEnd, Target},
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use service_kit::Timestamp;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

pub(crate) use self::fixture::{Fixture, Response, says};

/// What became of one fixture.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// `vendor/case`.
    pub(crate) name: String,
    pub(crate) fault: Option<String>,
}

/// What a fixture plays on.
#[derive(Debug)]
pub(crate) struct Suite {
    registry: Registry,
}

/// The body of a caller's request.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Json(Value),
    /// Fields of a form, and its file; one without a name is none.
    Form(Vec<(String, String)>, File),
}

/// A file in a form.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) content_type: String,
    pub(crate) bytes: Vec<u8>,
}

/// What a caller of the gateway would do to have the vendor called as the SDK called it.
#[derive(Debug, Clone)]
pub(crate) struct Errand {
    pub(crate) vendor: Vendor,
    pub(crate) capability: Capability,
    /// The route's.
    pub(crate) model: String,
    /// Without the member `model`, which callers use for the interface.
    pub(crate) body: Body,
    /// The same as said in another format than OpenAI's.
    pub(crate) verbatim: Option<(Voice, Value)>,
    /// The vendor's answer to a call before, where the fixture is about the step behind it: whether a job is done.
    pub(crate) submitted: Option<Value>,
    /// Headers of the recording that are told apart in another way.
    pub(crate) except: Vec<&'static str>,
    /// Members of the recorded body that may be missing or different.
    pub(crate) tolerances: fn(&mut Value),
}

impl Errand {
    /// A call in JSON.
    pub(crate) fn json(vendor: Vendor, capability: Capability, model: &str, body: Value) -> Self {
        Self::new(vendor, capability, model, Body::Json(body))
    }

    /// A call.
    pub(crate) fn new(vendor: Vendor, capability: Capability, model: &str, body: Body) -> Self {
        Self {
            vendor,
            capability,
            model: model.to_owned(),
            body,
            verbatim: None,
            submitted: None,
            except: Vec::new(),
            tolerances: |_| {},
        }
    }
}

/// Stands between two parts of the forms that are sent.
const BOUNDARY: &str = "conformance-boundary";

impl Suite {
    pub(crate) fn new() -> Result<Self, String> {
        let registry = registry(&Ambient::default(), None).map_err(|error| error.to_string())?;
        Ok(Self { registry })
    }

    /// Every fixture below a folder, by name.
    pub(crate) fn play_all(&self, folder: &Path) -> Result<Vec<Verdict>, String> {
        let mut files = Vec::new();
        fixture::find(folder, &mut files)?;
        Ok(files.iter().map(|file| self.play(file)).collect())
    }

    /// One fixture.
    pub(crate) fn play(&self, file: &Path) -> Verdict {
        match Fixture::load(file) {
            Ok(fixture) => Verdict {
                name: format!("{}/{}-{}", fixture.vendor(), fixture.capability(), fixture.case()),
                fault: vendors::play(&fixture, self).err(),
            },
            Err(error) => Verdict {
                name: file.display().to_string(),
                fault: Some(error),
            },
        }
    }

    /// A vendor, ready to be called.
    pub(crate) fn bind(&self, vendor: Vendor) -> Result<BoundVendor, String> {
        self.registry.bind_one(&Arc::new(vendor))
    }

    /// Plays a call: request, signature and answer.
    pub(crate) fn call(&self, fixture: &Fixture, errand: Errand) -> Result<(), String> {
        let bound = self.bind(errand.vendor.clone())?;
        let codec = Arc::clone(
            bound
                .codec(errand.capability)
                .ok_or_else(|| format!("the strategy does not do {}", errand.capability.as_str()))?,
        );
        let call = read_call(&errand)?;
        let token = exchange(fixture, &bound)?;
        let target = Target {
            model: &errand.model,
            vendor: &bound.row,
            when_unsupported: WhenUnsupported::Refuse,
            fetched: &[],
            entropy: &service_kit::SystemEntropy,
        };
        let (encoded, state) = match &errand.submitted {
            None => (
                codec
                    .encode(&call, target)
                    .map_err(|error| format!("encode: {error:?}"))?,
                Value::Null,
            ),
            Some(answer) => submitted(codec.as_ref(), &call, &errand.model, answer, fixture.at())?,
        };
        let mut built = bound
            .outgoing(bound.place(errand.capability), encoded)
            .map_err(|fault| format!("no place: {fault:?}"))?;
        bound.signer.sign(&mut built, fixture.at(), token.as_ref());
        request::compare(fixture, &built, &errand).map_err(|why| format!("request: {why}"))?;
        request::check_signature(fixture, &bound).map_err(|why| format!("signature: {why}"))?;
        let found = answer(codec.as_ref(), &call, &errand.model, fixture, &state)?;
        neutral::compare(fixture.expect(), &found).map_err(|why| format!("answer: {why}"))
    }

    /// Plays the question how long a request is.
    pub(crate) fn count_tokens(&self, fixture: &Fixture, errand: &Errand) -> Result<(), String> {
        let bound = self.bind(errand.vendor.clone())?;
        let codec = bound.codec(Capability::Chat).ok_or("the strategy does no chat")?;
        let call = read_call(errand)?;
        let target = Target {
            model: &errand.model,
            vendor: &bound.row,
            when_unsupported: WhenUnsupported::Refuse,
            fetched: &[],
            entropy: &service_kit::SystemEntropy,
        };
        let encoded = codec
            .encode_count(&call, target)
            .ok_or("the strategy counts no tokens")?;
        let encoded = encoded.map_err(|error| format!("encode: {error:?}"))?;
        let mut built = bound
            .outgoing(bound.place(Capability::Chat), encoded)
            .map_err(|fault| format!("no place: {fault:?}"))?;
        bound.signer.sign(&mut built, fixture.at(), None);
        request::compare(fixture, &built, errand).map_err(|why| format!("request: {why}"))?;
        let Response {
            status,
            headers,
            pieces,
            ..
        } = fixture.response()?;
        let found = match (200..300).contains(&status) {
            false => refusal(codec.as_ref(), fixture, &headers, status, &pieces.concat()),
            true => match codec.decode_count(&pieces.concat()) {
                Ok(tokens) => Map::from_iter([("input_tokens".to_owned(), json!(tokens))]),
                Err(fault) => neutral::of_fault(&fault, fixture),
            },
        };
        neutral::compare(fixture.expect(), &found).map_err(|why| format!("answer: {why}"))
    }

    /// Plays the question for a vendor's models.
    pub(crate) fn models(&self, fixture: &Fixture, vendor: Vendor, limit: Option<u32>) -> Result<(), String> {
        let bound = self.bind(vendor)?;
        let (mut built, list) = bound.model_list(limit).ok_or("the strategy has no list of models")?;
        bound.signer.sign(&mut built, fixture.at(), None);
        request::compare_bare(fixture.request(), &built, &[]).map_err(|why| format!("request: {why}"))?;
        let Response {
            status,
            headers,
            pieces,
            ..
        } = fixture.response()?;
        if !(200..300).contains(&status) {
            let codec = bound.codec(Capability::Chat).ok_or("the strategy does no chat")?;
            let found = refusal(codec.as_ref(), fixture, &headers, status, &pieces.concat());
            return neutral::compare(fixture.expect(), &found).map_err(|why| format!("answer: {why}"));
        }
        let models = list.decode(&pieces.concat());
        let models = models.map_err(|fault| format!("answer: {fault:?}"))?;
        let found = Map::from_iter([("models".to_owned(), json!(models.names))]);
        neutral::compare(fixture.expect(), &found).map_err(|why| format!("answer: {why}"))
    }

    /// Plays the purchase of a token, but for these headers.
    pub(crate) fn buy(&self, fixture: &Fixture, vendor: Vendor, except: &[&'static str]) -> Result<(), String> {
        let bound = self.bind(vendor)?;
        let exchange = bound.signer.exchange().ok_or("the scheme buys no token")?;
        let built = exchange.request(fixture.at());
        request::compare_bare(fixture.request(), &built, except).map_err(|why| format!("request: {why}"))?;
        let Response {
            status,
            headers,
            pieces,
            ..
        } = fixture.response()?;
        let sold = exchange.read(status, &headers, &pieces.concat(), fixture.at());
        match (sold, fixture.expect().get("error")) {
            (Ok(bought), None) => check_token(fixture, &bought),
            (Err(fault), Some(error)) => {
                let mut error = error.clone();
                // The vendor may repeat in it what it was asked with, so nobody is told.
                if let Some(members) = error.as_object_mut() {
                    members.remove("message");
                }
                neutral::compare(&json!({"error": error}), &neutral::of_fault(&fault, fixture))
            }
            (Ok(_), Some(_)) => Err("a token was sold".to_owned()),
            (Err(fault), None) => Err(format!("{fault:?}")),
        }
        .map_err(|why| format!("answer: {why}"))
    }
}

/// The token is the one that is wanted, and is used until shortly before its end, or for a month.
fn check_token(fixture: &Fixture, bought: &Bought) -> Result<(), String> {
    let wanted = fixture.expect();
    let text = |name: &str| wanted.get(name).and_then(Value::as_str);
    let number = |name: &str| wanted.get(name).and_then(Value::as_i64);
    let token = ["access_token", "api_key", "token"].into_iter().find_map(text);
    if token != Some(bought.token.expose_secret()) {
        return Err(format!("it is another token than {token:?}"));
    }
    let at = fixture.at();
    let ends = match (number("expires_in"), number("expires_at"), text("expire_time")) {
        (Some(seconds), _, _) => at.as_seconds() + seconds,
        (None, Some(ends), _) => ends,
        (None, None, Some(ends)) => {
            let ends = OffsetDateTime::parse(ends, &Rfc3339).map_err(|error| format!("{ends}: {error}"))?;
            ends.unix_timestamp()
        }
        (None, None, None) => return Ok(()),
    };
    let good_until = bought.good_until.as_seconds();
    let latest = ends.min(at.as_seconds() + 30 * 24 * 3600);
    match (latest - 60..latest).contains(&good_until) {
        true => Ok(()),
        false => Err(format!("it is used until {good_until}, wanted shortly before {latest}")),
    }
}

fn read_call(errand: &Errand) -> Result<Call, String> {
    let (bytes, boundary) = match &errand.body {
        Body::Json(body) => {
            let mut body = body.clone();
            let members = body.as_object_mut().ok_or("the caller's body is no object")?;
            members.insert("model".to_owned(), json!("interface"));
            (Bytes::from(body.to_string()), None)
        }
        Body::Form(fields, file) => (
            form(fields, file),
            Boundary::of_content_type(&format!("multipart/form-data; boundary={BOUNDARY}")),
        ),
    };
    let call = Call::read(errand.capability, bytes, boundary.as_ref()).map_err(|error| format!("call: {error:?}"))?;
    Ok(match &errand.verbatim {
        None => call,
        Some((voice, said)) => call.said_as(*voice, said.to_string().into()),
    })
}

fn form(fields: &[(String, String)], file: &File) -> Bytes {
    let mut body = Vec::new();
    for (name, value) in fields.iter().chain([&("model".to_owned(), "interface".to_owned())]) {
        body.extend_from_slice(
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").as_bytes(),
        );
    }
    if file.name.is_empty() {
        body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        return body.into();
    }
    body.extend_from_slice(
        format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\nContent-Type: {}\r\n\r\n",
            file.name, file.content_type
        )
        .as_bytes(),
    );
    body.extend_from_slice(&file.bytes);
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    body.into()
}

/// The token that signs, bought by the exchanges that the recording begins with.
fn exchange(fixture: &Fixture, bound: &BoundVendor) -> Result<Option<SecretString>, String> {
    let Some(exchange) = bound.signer.exchange() else {
        return Ok(None);
    };
    let mut token = None;
    for earlier in fixture.preceding() {
        let request = earlier.get("request").unwrap_or(&Value::Null);
        let Response {
            status,
            headers,
            pieces,
            ..
        } = fixture::response(earlier.get("response").unwrap_or(&Value::Null))?;
        let built = exchange.request(fixture.at());
        // What came before may be a call that failed because its token was dead.
        if request.get("path").and_then(Value::as_str) != Some(built.uri.path()) {
            continue;
        }
        request::compare_bare(request, &built, &[]).map_err(|why| format!("token request: {why}"))?;
        let bought = exchange
            .read(status, &headers, &pieces.concat(), fixture.at())
            .map_err(|fault| format!("token answer: {fault:?}"))?;
        token = Some(bought.token);
    }
    Ok(token)
}

/// The step that follows a job's submission.
fn submitted(
    codec: &dyn Codec,
    call: &Call,
    model: &str,
    answer: &Value,
    at: Timestamp,
) -> Result<(Encoded, Value), String> {
    let headers = HeaderMap::new();
    let received = Received {
        headers: &headers,
        body: answer.to_string().into(),
        model,
        at,
        state: &Value::Null,
        found: &[],
    };
    match codec.decode(call, received) {
        Ok(Outcome::Next(step)) => match step.ask {
            Ask::Vendor(encoded) => Ok((encoded, step.state)),
            ask @ (Ask::Url(_) | Ask::Urls(_)) => Err(format!("a submitted job led to {ask:?}")),
        },
        Ok(Outcome::Answer(_)) => Err("a submitted job was taken for an answer".to_owned()),
        Err(fault) => Err(format!("a submitted job was refused: {fault:?}")),
    }
}

/// What a status of failure is to a caller, in neutral words.
fn refusal(codec: &dyn Codec, fixture: &Fixture, headers: &HeaderMap, status: u16, body: &[u8]) -> Map<String, Value> {
    let mut fault = codec.decode_fault(status, headers, body);
    fault.words.find_request_id(headers);
    neutral::of_fault(&fault, fixture)
}

/// What the recorded answer is to a caller, in neutral words.
fn answer(
    codec: &dyn Codec,
    call: &Call,
    model: &str,
    fixture: &Fixture,
    state: &Value,
) -> Result<Map<String, Value>, String> {
    let Response {
        status,
        headers,
        pieces,
        cut,
    } = fixture.response()?;
    if !(200..300).contains(&status) {
        return Ok(refusal(codec, fixture, &headers, status, &pieces.concat()));
    }
    let is_stream = codec.is_stream(&headers) && call.stream;
    if let (true, Some(dialect)) = (is_stream, codec.chat()) {
        let streamed = stream(dialect, &headers, &pieces, cut)?;
        let ends_well = matches!(streamed.end, StreamEnd::Complete);
        if check_passage(codec, call, &headers, &pieces, (model, fixture.at()))? != ends_well && !cut {
            return Err("answer: the stream ends otherwise for the caller than for the gateway".to_owned());
        }
        let mut found = neutral::of_events(&streamed);
        // One that fails before it begins is an error like others.
        if let (StreamEnd::Failed(fault), true) = (&streamed.end, streamed.events.is_empty()) {
            found.extend(neutral::of_fault(fault, fixture));
        }
        return Ok(found);
    }
    let received = Received {
        headers: &headers,
        body: pieces.concat().into(),
        model,
        at: fixture.at(),
        state,
        found: &[],
    };
    if let Some(dialect) = codec.chat() {
        return Ok(match dialect.decode(&received) {
            Ok(reply) => neutral::of_reply(&reply),
            Err(fault) => neutral::of_fault(&fault, fixture),
        });
    }
    match codec.decode(call, received) {
        Ok(Outcome::Answer(decoded)) => neutral::of_answer(*decoded),
        Ok(Outcome::Next(step)) => Ok(neutral::of_step(&step)),
        Err(fault) => Ok(neutral::of_fault(&fault, fixture)),
    }
}

/// Reads a stream as it came, byte by byte and in one piece; all have to come to the same.
fn stream(
    dialect: &dyn ChatDialect,
    headers: &HeaderMap,
    pieces: &[Vec<u8>],
    cut: bool,
) -> Result<neutral::Streamed, String> {
    let whole = pieces.concat();
    let bytes: Vec<Vec<u8>> = whole.iter().map(|byte| vec![*byte]).collect();
    let as_it_came = read_stream(dialect, headers, pieces, cut);
    for other in [bytes.as_slice(), &[whole]] {
        let other = read_stream(dialect, headers, other, cut);
        if neutral::of_events(&other) != neutral::of_events(&as_it_came) {
            return Err("answer: the stream depends on how it is cut".to_owned());
        }
    }
    Ok(as_it_came)
}

fn read_stream(dialect: &dyn ChatDialect, headers: &HeaderMap, pieces: &[Vec<u8>], cut: bool) -> neutral::Streamed {
    let mut decoder = dialect.stream(headers);
    let mut events = Vec::new();
    for piece in pieces {
        if let Some(end) = decoder.push(piece.clone().into(), &mut events) {
            return neutral::Streamed { events, end };
        }
    }
    let end = match cut {
        true => StreamEnd::Failed(Fault::of(resource_gateway::domain::fault::FaultClass::Transport)),
        false => decoder.finish(&mut events),
    };
    neutral::Streamed { events, end }
}

/// The whole way of a stream through the gateway, from the vendor's bytes to the caller's, is the same however it is cut. Whether it
/// ends well.
fn check_passage(
    codec: &dyn Codec,
    call: &Call,
    headers: &HeaderMap,
    pieces: &[Vec<u8>],
    (model, at): (&str, Timestamp),
) -> Result<bool, String> {
    let pass = |pieces: &[Vec<u8>]| {
        let mut decoder = codec.stream(call, Opening { headers, model, at });
        let mut out = Vec::new();
        for piece in pieces {
            let pushed = decoder.push(piece.clone().into());
            out.extend_from_slice(&pushed.out);
            if let Some(end) = pushed.end {
                return (out, matches!(end, StreamEnd::Complete));
            }
        }
        let pushed = decoder.finish();
        out.extend_from_slice(&pushed.out);
        (out, matches!(pushed.end, Some(StreamEnd::Complete)))
    };
    let bytes: Vec<Vec<u8>> = pieces.concat().iter().map(|byte| vec![*byte]).collect();
    let (out, ends_well) = pass(pieces);
    match (out, ends_well) == pass(&bytes) {
        true => Ok(ends_well),
        false => Err("answer: what the caller gets of the stream depends on how it is cut".to_owned()),
    }
}

/// A request as it was recorded, for signers.
fn recorded(request: &Value, body: &str) -> Result<Outgoing, String> {
    let text = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default();
    let query = match text("raw_query") {
        "" => String::new(),
        query => format!("?{query}"),
    };
    let uri = format!("{}://{}{}{query}", text("scheme"), text("host"), text("path"));
    let uri: Uri = uri.parse().map_err(|error| format!("{uri}: {error}"))?;
    Ok(Outgoing {
        method: text("method").parse::<Method>().map_err(|error| error.to_string())?,
        uri,
        headers: fixture::headers(request.get("headers"))?,
        body: vec![Bytes::from(body.to_owned())],
        dialogue: None,
    })
}
