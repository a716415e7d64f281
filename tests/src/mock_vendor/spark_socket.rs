//! iFlytek's Spark over its WebSocket: a signed address, one frame that asks, and the answer in frames.

use serde_json::{Value, json};

use super::{
    Dialect,
    chat::{Answer, Asked, INPUT, OUTPUT, Telling, Tool, pieces},
    shape::{Checked, Failure, Object, Refused, invalid, refuse},
    signatures,
    wire::{Frame, Part, Request, Stream, Style, Whole},
};

pub(super) struct Frames;

/// The application that the key belongs to.
pub(super) const APP_ID: &str = "mockapp1";

/// Where the vendor's models are.
const PATHS: [&str; 6] = [
    "/v1.1/chat",
    "/v3.1/chat",
    "/v3.5/chat",
    "/v4.0/chat",
    "/chat/pro-128k",
    "/chat/max-32k",
];
const SID: &str = "cht-mock-1";

/// What is refused before anything was asked, in words without a code.
pub(super) fn door(request: &Request) -> Result<(), Whole> {
    let refused = |status, said: &str| Err(Whole::json(status, &json!({ "message": said })));
    if !PATHS.contains(&request.path.as_str()) {
        return refused(404, "no Route matched with those values");
    }
    match signatures::spark(request) {
        Ok(()) => Ok(()),
        Err(wrong) if wrong.failure == Failure::Forbidden => refused(403, &wrong.said),
        Err(wrong) => refused(401, &wrong.said),
    }
}

pub(super) fn no_handshake() -> Whole {
    Whole::json(400, &json!({"message": "Bad Request: no WebSocket is asked for"}))
}

fn read(request: &Request) -> Checked<Asked> {
    let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
        return refuse(Failure::Invalid, "the frame is no JSON");
    };
    let mut frame = Object::of(&body, "")?;
    let mut header = frame.object("header")?;
    if header.text("app_id")? != APP_ID {
        return refuse(Failure::Credentials, "the app_id and the key do not match");
    }
    if header.maybe_text("uid")?.is_some_and(|uid| uid.chars().count() > 32) {
        return invalid("header.uid", "must be at most 32 characters");
    }
    header.skip(&["patch_id"]);
    header.close()?;
    let mut parameter = frame.object("parameter")?;
    let mut chat = parameter.object("chat")?;
    let mut asked = Asked {
        model: chat.text("domain")?.to_owned(),
        // It knows no other way.
        stream: true,
        temperature: chat.within("temperature", 0.0, 2.0)?,
        top_p: chat.within("top_p", 0.0, 1.0)?,
        max_tokens: chat.maybe_count("max_tokens")?,
        serial: true,
        usage: true,
        ..Asked::default()
    };
    if chat.maybe_count("top_k")?.is_some_and(|most| most > 6) {
        return invalid("parameter.chat.top_k", "must be between 1 and 6");
    }
    chat.skip(&["auditing", "chat_id", "tools"]);
    chat.close()?;
    parameter.close()?;
    let mut payload = frame.object("payload")?;
    if let Some(mut functions) = payload.maybe_object("functions")? {
        for function in functions.list("text")? {
            let mut function = Object::of(function, "payload.functions.text")?;
            asked.tools.push(Tool {
                name: function.text("name")?.to_owned(),
                schema: function.any("parameters").cloned().unwrap_or_default(),
            });
            function.maybe_text("description")?;
            function.close()?;
        }
        functions.close()?;
    }
    let mut message = payload.object("message")?;
    messages(message.list("text")?, &mut asked)?;
    message.close()?;
    payload.close()?;
    frame.close()?;
    Ok(asked)
}

fn messages(list: &[Value], asked: &mut Asked) -> Checked<()> {
    asked.messages = list.len();
    let mut called = false;
    for (at, message) in list.iter().enumerate() {
        let mut message = Object::of(message, format!("payload.message.text.{at}"))?;
        let role = message.text("role")?;
        let text = message.text("content")?;
        let call = message.maybe_object("function_call")?;
        if call.is_some() && role != "assistant" {
            return invalid(message.path("function_call"), "is the assistant's");
        }
        match role {
            "system" if at == 0 => asked.says(text),
            "system" => return invalid(message.path("role"), "system must come first"),
            "user" => asked.hears(text),
            "assistant" => {}
            "tool" if called => asked.results.push(text.to_owned()),
            "tool" => return invalid(message.path("role"), "nothing was called"),
            _ => return invalid(message.path("role"), "is no role"),
        }
        called = call.is_some();
        if let Some(mut call) = call {
            call.text("name")?;
            // A JSON text.
            if serde_json::from_str::<Value>(call.text("arguments")?).is_err() {
                return invalid(call.path("arguments"), "must be a JSON text");
            }
            call.close()?;
        }
        message.skip(&["index", "content_type"]);
        message.close()?;
    }
    Ok(())
}

fn header(code: i64, said: &str, status: u8) -> Value {
    json!({"code": code, "message": said, "sid": SID, "status": status})
}

/// Frames of one answer, which are counted.
struct Written {
    style: Style,
    frames: Vec<Frame>,
}

impl Written {
    /// `usage` comes with the last.
    fn push(&mut self, part: Part, status: u8, text: Value, usage: Option<Value>) {
        let seq = self.frames.len();
        let mut frame = json!({"header": header(0, "Success", status),
            "payload": {"choices": {"status": status, "seq": seq, "text": [text]}}});
        if let Some(usage) = usage {
            frame["payload"]["usage"] = json!({ "text": usage });
        }
        let text = match self.style {
            // Between two tokens of JSON line ends are white space.
            Style::Multiline => format!("{frame:#}\n"),
            Style::Crlf => format!("{frame:#}").replace('\n', "\r\n"),
            Style::Plain | Style::Commented => frame.to_string(),
        };
        self.frames.push(Frame {
            part,
            bytes: text.into_bytes(),
        });
    }
}

fn failed(code: i64, said: &str) -> Value {
    json!({ "header": header(code, said, 2) })
}

impl Dialect for Frames {
    fn parse(&self, request: &Request) -> Checked<Asked> {
        read(request)
    }

    /// Never asked for: an answer comes in frames whatever its reader makes of it.
    fn whole(&self, asked: &Asked, answer: &Answer, telling: Telling) -> Whole {
        let stream = self.stream(asked, answer, telling);
        Whole {
            status: 200,
            headers: Vec::new(),
            body: stream.frames.into_iter().flat_map(|frame| frame.bytes).collect(),
        }
    }

    fn stream(&self, asked: &Asked, answer: &Answer, telling: Telling) -> Stream {
        let mut written = Written {
            style: Style::of(&asked.user),
            frames: Vec::new(),
        };
        let said = |text: &str| json!({"content": text, "role": "assistant", "index": 0});
        written.push(Part::Start, 0, said(""), None);
        for piece in pieces(&answer.text) {
            written.push(Part::Content, 1, said(&piece), None);
        }
        // A function is called once, and all at once.
        let mut last = said("");
        if let Some(call) = answer.calls.first() {
            last["content_type"] = "text".into();
            last["function_call"] = json!({"name": call.name, "arguments": call.arguments.to_string()});
        }
        let usage = json!({"question_tokens": INPUT / 2, "prompt_tokens": INPUT, "completion_tokens": OUTPUT,
            "total_tokens": INPUT + OUTPUT});
        written.push(Part::Finish, 2, last, (telling != Telling::Missing).then_some(usage));
        Stream {
            content_type: "",
            headers: Vec::new(),
            frames: written.frames,
            messages: true,
        }
    }

    /// A frame, since the handshake is over.
    fn failure(&self, refused: &Refused, _: Option<u64>) -> Whole {
        let code = match refused.failure {
            Failure::Invalid => 10004,
            Failure::NotFound => 10404,
            Failure::TooLarge => 10163,
            Failure::ContextLength => 10907,
            Failure::Credentials | Failure::Forbidden => 11200,
            Failure::RateLimit => 11202,
            Failure::Quota => 11201,
            Failure::Filtered => 10013,
            Failure::Overloaded => 10008,
            Failure::Internal | Failure::Timeout => 10012,
        };
        Whole::json(200, &failed(code, &refused.said))
    }

    fn late_failure(&self, said: &str) -> Vec<u8> {
        failed(10012, said).to_string().into_bytes()
    }

    fn garbage(&self) -> Vec<u8> {
        b"{\"header\": [oops".to_vec()
    }
}
