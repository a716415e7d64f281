//! OpenAI's chat format and the ways in which vendors differ from it.

use serde_json::{Value, json};

use super::{
    Dialect,
    chat::{Answer, Asked, CACHED, Finish, INPUT, OUTPUT, Telling, pieces},
    openai_request::{self, Fields},
    shape::{Checked, Failure, Refused, refuse},
    unlucky,
    wire::{Events, Part, Request, Stream, Style, Whole},
};

/// Where usage stands in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UsageAt {
    /// In a chunk without choices, if it was asked for.
    OwnChunk,
    /// On the chunk with the finish reason, if it was asked for.
    FinishIfAsked,
    /// There, always.
    Finish,
    /// Within the choice, always.
    Choice,
}

/// A vendor that speaks OpenAI's format.
pub(super) struct Flavour {
    pub(super) name: &'static str,
    pub(super) fields: Fields,
    pub(super) usage_at: UsageAt,
    /// Refuses a request that is not for it: path and credentials.
    pub(super) door: fn(&Request) -> Checked<()>,
    pub(super) failure: fn(&Refused, Option<u64>) -> Whole,
    /// A failure under status 200; `None` where that is an error object.
    pub(super) late: fn(&Whole) -> Value,
}

impl Flavour {
    fn is(&self, name: &str) -> bool {
        self.name == name
    }

    fn usage(&self) -> Value {
        let mut usage = json!({"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT});
        match self.name {
            "openai" | "azure-openai" | "volcengine-ark" | "zhipu" => {
                usage["prompt_tokens_details"] = json!({"cached_tokens": CACHED});
            }
            "deepseek" => {
                usage["prompt_tokens_details"] = json!({"cached_tokens": CACHED});
                usage["prompt_cache_hit_tokens"] = CACHED.into();
                usage["prompt_cache_miss_tokens"] = (INPUT - CACHED).into();
            }
            _ => {}
        }
        usage
    }

    /// Whether answers may hold thoughts.
    fn thinks(&self) -> bool {
        matches!(self.name, "deepseek" | "zhipu" | "volcengine-ark" | "qianfan")
    }

    fn chunk(&self, asked: &Asked, choices: Value) -> Value {
        let mut chunk = json!({"id": "mock-chunk-1", "object": "chat.completion.chunk", "created": 1_760_000_000,
            "model": asked.model, "choices": choices});
        if self.is("spark") {
            chunk["code"] = 0.into();
            chunk["message"] = "Success".into();
            chunk["sid"] = "cha-mock-1".into();
        }
        chunk
    }

    fn delta(&self, asked: &Asked, delta: Value, finish: Option<&str>) -> Value {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
        self.chunk(asked, json!([choice]))
    }

    fn call_id(&self, at: usize) -> String {
        // Mistral's are nine letters and digits.
        if self.is("mistral") {
            format!("mockCall{at}")
        } else {
            format!("call_mock_{at}")
        }
    }

    fn stream_content(&self, events: &mut Events, asked: &Asked, answer: &Answer) {
        let content = |events: &mut Events, delta| events.data(Part::Content, &self.delta(asked, delta, None));
        if let Some(reasoning) = answer.reasoning.as_deref().filter(|_| self.thinks()) {
            for piece in pieces(reasoning) {
                content(events, json!({"reasoning_content": piece}));
            }
        }
        for piece in pieces(&answer.text) {
            content(events, json!({"content": piece}));
        }
        if self.is("mistral") {
            // Calls come whole.
            for (at, call) in answer.calls.iter().enumerate() {
                let call = json!({"index": at, "id": self.call_id(at), "function": {"name": call.name, "arguments": call.arguments.to_string()}});
                content(events, json!({"tool_calls": [call]}));
            }
            return;
        }
        let mut fragments = Vec::new();
        for (at, call) in answer.calls.iter().enumerate() {
            let head = json!({"index": at, "id": self.call_id(at), "type": "function", "function": {"name": call.name, "arguments": ""}});
            content(events, json!({"tool_calls": [head]}));
            fragments.push(pieces(&call.arguments.to_string()).into_iter());
        }
        // Fragments of several calls interleave.
        loop {
            let mut said = false;
            for (at, fragments) in fragments.iter_mut().enumerate() {
                if let Some(fragment) = fragments.next() {
                    said = true;
                    content(
                        events,
                        json!({"tool_calls": [{"index": at, "function": {"arguments": fragment}}]}),
                    );
                }
            }
            if !said {
                break;
            }
        }
    }
}

fn finish_word(answer: &Answer) -> &'static str {
    match answer.finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
    }
}

impl Dialect for Flavour {
    fn parse(&self, request: &Request) -> Checked<Asked> {
        (self.door)(request)?;
        let asked = openai_request::read(request, self.fields, self.is("mistral"))?;
        if self.is("deepseek") && String::from_utf8_lossy(&request.body).contains("\"reasoning_content\"") {
            return refuse(Failure::Invalid, "reasoning_content must not be sent back");
        }
        Ok(asked)
    }

    fn whole(&self, asked: &Asked, answer: &Answer, telling: Telling) -> Whole {
        let calls: Vec<_> = answer
            .calls
            .iter()
            .enumerate()
            .map(|(at, call)| json!({"id": self.call_id(at), "type": "function", "function": {"name": call.name, "arguments": call.arguments.to_string()}}))
            .collect();
        let mut message = json!({"role": "assistant", "content": answer.text});
        if !calls.is_empty() {
            message["content"] = Value::Null;
            message["tool_calls"] = calls.into();
        }
        if let Some(reasoning) = answer.reasoning.as_deref().filter(|_| self.thinks()) {
            message["reasoning_content"] = reasoning.into();
        }
        let mut choice = json!({"index": 0, "message": message, "finish_reason": finish_word(answer)});
        // Spark leaves it out where an answer just ends.
        if self.is("spark") && answer.finish == Finish::Stop {
            choice.as_object_mut().unwrap().remove("finish_reason");
        }
        let mut body = self.chunk(asked, json!([choice]));
        body["object"] = "chat.completion".into();
        if telling != Telling::Missing {
            body["usage"] = self.usage();
        }
        let mut whole = Whole::json(200, &body).with("x-request-id", "req-mock-1");
        if self.is("deepseek") {
            // Queueing: blank lines keep the connection open.
            whole.body.splice(0..0, *b"\n\n\n");
        }
        whole
    }

    fn stream(&self, asked: &Asked, answer: &Answer, telling: Telling) -> Stream {
        let mut events = Events::new(Style::of(&asked.user));
        if self.is("deepseek") {
            events.comment("keep-alive");
        }
        if self.is("azure-openai") {
            let mut first = self.chunk(asked, json!([]));
            first["id"] = "".into();
            first["model"] = "".into();
            first["prompt_filter_results"] = json!([{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": false, "severity": "safe"}}}]);
            events.data(Part::Start, &first);
        }
        let mut first = self.delta(asked, json!({"role": "assistant", "content": ""}), None);
        if telling == Telling::Split {
            first["usage"] = json!({"prompt_tokens": INPUT, "completion_tokens": 0, "total_tokens": INPUT});
        }
        events.data(Part::Start, &first);
        self.stream_content(&mut events, asked, answer);
        let mut last = self.delta(asked, json!({}), Some(finish_word(answer)));
        let own = match (telling, self.usage_at) {
            (Telling::Missing, _) => false,
            (Telling::Late, _) | (_, UsageAt::OwnChunk) => asked.usage || self.usage_at != UsageAt::OwnChunk,
            (_, UsageAt::FinishIfAsked) => {
                if asked.usage {
                    last["usage"] = self.usage();
                }
                false
            }
            (_, UsageAt::Finish) => {
                last["usage"] = self.usage();
                false
            }
            (_, UsageAt::Choice) => {
                last["choices"][0]["usage"] = self.usage();
                false
            }
        };
        events.data(Part::Finish, &last);
        if own {
            let mut usage = self.chunk(asked, json!([]));
            usage["usage"] = self.usage();
            events.data(Part::Usage, &usage);
        }
        events.terminator();
        let mut stream = events.stream();
        stream.headers.push(("x-request-id", "req-mock-1".to_owned()));
        stream
    }

    fn failure(&self, refused: &Refused, wait: Option<u64>) -> Whole {
        (self.failure)(refused, wait)
    }

    fn late_failure(&self, said: &str) -> Vec<u8> {
        let whole = (self.failure)(&unlucky(said), None);
        format!("data: {}\n\n", (self.late)(&whole)).into_bytes()
    }
}
