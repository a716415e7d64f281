//! Tencent Cloud API 3.0: one path, the action in a header, signed by TC3, and status 200 whatever happened.

use serde_json::{Value, json};

use super::{
    Dialect,
    chat::{Answer, Asked, Choice, Finish, INPUT, OUTPUT, Telling, Tool, pieces},
    shape::{Checked, Failure, Object, Picture, Refused, invalid, refuse},
    signatures,
    wire::{Events, Part, Request, Stream, Style, Whole},
};

pub(super) struct Hunyuan;

pub(super) fn door(request: &Request, product: &str, version: &str) -> Checked<()> {
    if !request.is("POST", "/") {
        return refuse(Failure::NotFound, "The request is not POST /");
    }
    signatures::tc3(request, product)?;
    if request.header("x-tc-version") != Some(version) {
        return refuse(Failure::NotFound, "NoSuchVersion");
    }
    Ok(())
}

fn read(request: &Request) -> Checked<Asked> {
    door(request, "hunyuan", "2023-09-01")?;
    let body = request.json()?;
    let mut object = Object::of(&body, "")?;
    let mut asked = Asked {
        model: object.text("Model")?.to_owned(),
        stream: object.flag("Stream", false)?,
        temperature: object.within("Temperature", 0.0, 2.0)?,
        top_p: object.within("TopP", 0.0, 1.0)?,
        seed: object.maybe_integer("Seed")?,
        stop: object.texts("Stop")?,
        thinking: object.flag("EnableThinking", false)?,
        usage: true,
        ..Asked::default()
    };
    for (at, tool) in object.maybe_list("Tools")?.iter().enumerate() {
        let mut tool = Object::of(tool, format!("Tools.{at}"))?;
        tool.one_of("Type", &["function"])?;
        let mut function = tool.object("Function")?;
        let name = function.text("Name")?.to_owned();
        function.maybe_text("Description")?;
        // A JSON text, not an object.
        let Ok(schema) = serde_json::from_str(function.text("Parameters")?) else {
            return invalid(function.path("Parameters"), "must be a JSON text");
        };
        function.close()?;
        tool.skip(&["Index"]);
        tool.close()?;
        asked.tools.push(Tool { name, schema });
    }
    asked.choice = match object.one_of("ToolChoice", &["none", "auto", "custom"])? {
        None | Some("auto") => Choice::Auto,
        Some("none") => Choice::None,
        Some(_) => Choice::Named(
            object
                .object("CustomTool")?
                .object("Function")?
                .text("Name")?
                .to_owned(),
        ),
    };
    object.skip(&[
        "CustomTool",
        "StreamModeration",
        "EnableEnhancement",
        "SearchInfo",
        "Citation",
        "EnableSpeedSearch",
        "EnableMultimedia",
        "ForceSearchEnhancement",
        "EnableDeepSearch",
        "EnableRecommendedQuestions",
    ]);
    messages(object.list("Messages")?, &mut asked)?;
    object.close()?;
    Ok(asked)
}

fn messages(list: &[Value], asked: &mut Asked) -> Checked<()> {
    asked.messages = list.len();
    let mut open_calls: Vec<String> = Vec::new();
    for (at, message) in list.iter().enumerate() {
        let mut message = Object::of(message, format!("Messages.{at}"))?;
        let role = message.text("Role")?;
        let plain = message.maybe_text("Content")?;
        let mut texts: Vec<&str> = plain.into_iter().collect();
        let mut pictures = Vec::new();
        for part in message.maybe_list("Contents")? {
            let mut part = Object::of(part, "Contents")?;
            match part.text("Type")? {
                "text" => texts.push(part.text("Text")?),
                "image_url" => {
                    let mut image = part.object("ImageUrl")?;
                    pictures.push(Picture::of_url(image.text("Url")?, "Contents.ImageUrl.Url")?);
                    image.close()?;
                }
                _ => return invalid("Contents.Type", "is no type"),
            }
            part.close()?;
        }
        let text = texts.join("\n");
        match role {
            "system" if at == 0 => asked.says(&text),
            "system" => return invalid(message.path("Role"), "system must be the first message"),
            "user" => {
                asked.pictures = pictures;
                asked.hears(&text);
            }
            "assistant" => {
                open_calls.clear();
                for call in message.maybe_list("ToolCalls")? {
                    let mut call = Object::of(call, "ToolCalls")?;
                    open_calls.push(call.text("Id")?.to_owned());
                    call.one_of("Type", &["function"])?;
                    let mut function = call.object("Function")?;
                    function.text("Name")?;
                    function.text("Arguments")?;
                    function.close()?;
                    call.skip(&["Index"]);
                    call.close()?;
                }
            }
            "tool" => {
                let id = message.text("ToolCallId")?;
                if !open_calls.iter().any(|open| open == id) {
                    return invalid(message.path("ToolCallId"), "answers no call");
                }
                asked.results.push(text);
            }
            _ => return invalid(message.path("Role"), "is no role"),
        }
        message.skip(&["ReasoningContent", "ToolCallId", "ToolCalls", "FileIDs"]);
        message.close()?;
    }
    Ok(())
}

/// Actions other than chat.
pub(super) fn other(request: &Request) -> Whole {
    let answer = (|| match request.header("x-tc-action") {
        Some("GetEmbedding") => {
            door(request, "hunyuan", "2023-09-01")?;
            let body = request.json()?;
            let mut object = Object::of(&body, "")?;
            let count = match object.maybe_text("Input")? {
                Some(_) => 1,
                None => object.texts("InputList")?.len(),
            };
            object.skip(&["InputList"]);
            object.close()?;
            let data: Vec<_> = (0..count)
                .map(|at| json!({"Embedding": [0.5, -0.25], "Index": at, "Object": "embedding"}))
                .collect();
            Ok(json!({"Data": data, "Usage": {"PromptTokens": INPUT, "TotalTokens": INPUT}}))
        }
        Some("GeneralBasicOCR" | "GeneralAccurateOCR") => {
            door(request, "ocr", "2018-11-19")?;
            let body = request.json()?;
            let mut object = Object::of(&body, "")?;
            match object.maybe_text("ImageBase64")? {
                Some(data) => {
                    Picture::of_base64(data, "ImageBase64")?;
                }
                None => {
                    object.text("ImageUrl")?;
                }
            }
            object.skip(&["ImageUrl", "LanguageType", "Scene", "IsPdf", "PdfPageNumber", "IsWords"]);
            object.close()?;
            let lines = json!([
                {"DetectedText": "INVOICE 42", "Confidence": 97, "Polygon": [{"X": 1, "Y": 2}, {"X": 31, "Y": 2}, {"X": 31, "Y": 12}, {"X": 1, "Y": 12}], "ItemPolygon": {"X": 1, "Y": 2, "Width": 30, "Height": 10}, "AdvancedInfo": ""},
                {"DetectedText": "smudge", "Confidence": 21, "Polygon": [{"X": 1, "Y": 22}, {"X": 31, "Y": 22}, {"X": 31, "Y": 32}, {"X": 1, "Y": 32}], "ItemPolygon": {"X": 1, "Y": 22, "Width": 30, "Height": 10}, "AdvancedInfo": ""},
            ]);
            Ok(json!({"TextDetections": lines, "Angel": 0.0, "Angle": 0.0, "Language": "zh"}))
        }
        Some(action) => refuse(Failure::NotFound, format!("The action {action} does not exist")),
        None => refuse(Failure::NotFound, "X-TC-Action is missing"),
    })();
    told(answer)
}

/// What an action came to, in the envelope of all of them.
pub(super) fn told(answer: Checked<Value>) -> Whole {
    match answer {
        Ok(mut body) => {
            body["RequestId"] = "req-mock-1".into();
            Whole::json(200, &json!({ "Response": body }))
        }
        Err(refused) => Hunyuan.failure(&refused, None),
    }
}

fn finish_word(answer: &Answer) -> &'static str {
    match answer.finish {
        // This format has no word for a limit.
        Finish::Stop | Finish::Length => "stop",
        Finish::ToolCalls => "tool_calls",
    }
}

fn usage(output: u64) -> Value {
    json!({"PromptTokens": INPUT, "CompletionTokens": output, "TotalTokens": INPUT + output})
}

impl Dialect for Hunyuan {
    fn parse(&self, request: &Request) -> Checked<Asked> {
        read(request)
    }

    fn whole(&self, _: &Asked, answer: &Answer, telling: Telling) -> Whole {
        let mut message = json!({"Role": "assistant", "Content": answer.text});
        if let Some(thought) = &answer.reasoning {
            message["ReasoningContent"] = thought.as_str().into();
        }
        if !answer.calls.is_empty() {
            let calls = answer.calls.iter().enumerate().map(|(at, call)| {
                json!({"Id": format!("call_mock_{at}"), "Type": "function", "Index": at, "Function": {"Name": call.name, "Arguments": call.arguments.to_string()}})
            });
            message["ToolCalls"] = calls.collect();
        }
        let mut body = json!({"Note": "AI generated", "Choices": [{"Index": 0, "Message": message, "FinishReason": finish_word(answer)}],
            "Created": 1_760_000_000, "Id": "hy-mock-1", "RequestId": "req-mock-1"});
        if telling != Telling::Missing {
            body["Usage"] = usage(OUTPUT);
        }
        Whole::json(200, &json!({ "Response": body }))
    }

    fn stream(&self, asked: &Asked, answer: &Answer, telling: Telling) -> Stream {
        let mut events = Events::new(Style::of(&asked.user));
        let mut event = |part: Part, delta: Value, finish: &str, output: u64| {
            let mut body = json!({"Note": "AI generated", "Choices": [{"Index": 0, "Delta": delta, "FinishReason": finish}],
                "Created": 1_760_000_000, "Id": "hy-mock-1"});
            if telling != Telling::Missing {
                body["Usage"] = usage(output);
            }
            events.data(part, &body);
        };
        if let Some(thought) = &answer.reasoning {
            for piece in pieces(thought) {
                event(
                    Part::Content,
                    json!({"Role": "assistant", "Content": "", "ReasoningContent": piece}),
                    "",
                    1,
                );
            }
        }
        for piece in pieces(&answer.text) {
            event(Part::Content, json!({"Role": "assistant", "Content": piece}), "", 2);
        }
        for (at, call) in answer.calls.iter().enumerate() {
            let head = json!({"Id": format!("call_mock_{at}"), "Type": "function", "Index": at, "Function": {"Name": call.name, "Arguments": ""}});
            event(
                Part::Content,
                json!({"Role": "assistant", "Content": "", "ToolCalls": [head]}),
                "",
                3,
            );
            for piece in pieces(&call.arguments.to_string()) {
                let call = json!({"Id": format!("call_mock_{at}"), "Type": "function", "Index": at, "Function": {"Name": "", "Arguments": piece}});
                event(
                    Part::Content,
                    json!({"Role": "assistant", "Content": "", "ToolCalls": [call]}),
                    "",
                    4,
                );
            }
        }
        event(
            Part::Finish,
            json!({"Role": "assistant", "Content": ""}),
            finish_word(answer),
            OUTPUT,
        );
        events.stream()
    }

    fn failure(&self, refused: &Refused, _: Option<u64>) -> Whole {
        let code = match refused.failure {
            Failure::Invalid | Failure::ContextLength => "InvalidParameterValue.Model",
            Failure::TooLarge => "InvalidParameter",
            Failure::Credentials => "AuthFailure.SignatureFailure",
            Failure::Forbidden => "UnauthorizedOperation",
            Failure::NotFound => "ResourceNotFound",
            Failure::RateLimit => "RequestLimitExceeded",
            Failure::Quota => "ResourceInsufficient.ChargeResourceExhaust",
            Failure::Filtered => "OperationDenied.TextIllegalDetected",
            Failure::Internal => "InternalError",
            Failure::Overloaded => "ResourceUnavailable",
            Failure::Timeout => "FailedOperation.EngineRequestTimeout",
        };
        let body =
            json!({"Response": {"Error": {"Code": code, "Message": refused.said}, "RequestId": "req-mock-error"}});
        Whole::json(200, &body)
    }

    fn late_failure(&self, said: &str) -> Vec<u8> {
        let body = json!({"ErrorMsg": {"Msg": said, "Code": 4001}, "Id": "hy-mock-1"});
        format!("data: {body}\n\n").into_bytes()
    }

    fn garbage(&self) -> Vec<u8> {
        b"data: {\"Choices\": [oops\n\n".to_vec()
    }
}
