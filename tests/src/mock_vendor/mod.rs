//! One server that speaks the wire formats of all vendors, as strictly as they do, and fails on demand.
//!
//! Written from the vendors' documents and from recordings of their SDKs, not from the gateway: what both understand
//! alike is understood right. Each vendor has a port of its own, so that paths and signed hosts are as they are out
//! there. Answers are made of what was understood ([`chat::answer`]); a model's name asks for faults ([`faults`]).
//! Every request is kept; tests read them by [`MockVendor::calls`], drivers in other languages by `GET /calls?marker=`
//! on the control port.

mod anthropic;
mod baidu;
mod bedrock;
pub mod chat;
mod cohere;
mod dashscope;
mod dashscope_tasks;
pub mod faults;
mod gemini;
mod jobs;
mod media;
mod ollama;
mod openai;
mod openai_request;
mod openai_responses;
mod openai_vendors;
mod serve;
pub mod shape;
mod signatures;
mod sockets;
mod spark_socket;
mod tencent;
mod tencent_jobs;
#[cfg(test)]
mod tests;
pub mod wire;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use chat::{Answer, Asked, Telling};
use faults::{Fault, HungUp, Kind, Outgoing};
use serde_json::json;
use shape::{Checked, Failure, Refused};
use wire::{Request, Stream, Whole};

/// The vendors, by the names of the gateway's strategies.
pub const VENDORS: [&str; 18] = [
    "openai",
    "azure-openai",
    "anthropic",
    "gemini",
    "bedrock",
    "dashscope",
    "qianfan",
    "tencent",
    "ollama",
    "cohere",
    "zhipu",
    "volcengine-ark",
    "deepseek",
    "moonshot",
    "mistral",
    "spark",
    "spark-websocket",
    "baidu",
];

/// What opens a vendor's door. Made up, and easy to find where it must not be.
#[derive(Debug, Clone, Copy)]
pub struct Credentials {
    pub id: &'static str,
    pub key: &'static str,
}

/// The account at a vendor.
pub fn credentials(vendor: &str) -> Credentials {
    let (id, key) = match vendor {
        "openai" => ("", "sk-mock+openai/7d41f0c2a9b8=="),
        "azure-openai" => ("", "azure+mock/3c9e51d07fab=="),
        "anthropic" => ("", "sk-ant-mock+anthropic/60b2e7f4"),
        "gemini" => ("", "AIza-mock+gemini/91c7d2e5f0"),
        "bedrock" => ("AKIDMOCKBEDROCK00001", "bedrock+mock/secret+4f8a1c6e2b"),
        "dashscope" => ("", "sk-mock+dashscope/a27be914"),
        "qianfan" => ("", "bce-v3/ALTAK-mock/5e0d6c2b9f13"),
        "tencent" => ("AKIDmockTencent00001", "tencent+mock/secret+8d3b7e51c0"),
        "ollama" => ("", "ollama+mock/proxy+key+2ec8"),
        "cohere" => ("", "co-mock+cohere/c4d80a6f21"),
        "zhipu" => ("", "mockzhipuid0001.mockzhipusecret7b3e"),
        "volcengine-ark" => ("", "ark-mock+volc/b95d02ce7a"),
        "deepseek" => ("", "sk-mock+deepseek/0fa16c3d88"),
        "moonshot" => ("", "sk-mock+moonshot/47cb9e2d60"),
        "mistral" => ("", "mock+mistral/e8d5b1f3c7"),
        "spark" => ("", "mock+spark+password/d06a4b9e"),
        "spark-websocket" => ("mock-spark-api-key-5b1f", "mock+spark+secret/93d7ae50"),
        "baidu" => ("mock-aip-api-key-77c2", "mock+aip+secret/0be41d9a"),
        other => panic!("no vendor {other}"),
    };
    Credentials { id, key }
}

/// A chat format: from bytes to what is asked, and from the answer to bytes.
trait Dialect: Sync {
    fn parse(&self, request: &Request) -> Checked<Asked>;
    fn whole(&self, asked: &Asked, answer: &Answer, telling: Telling) -> Whole;
    fn stream(&self, asked: &Asked, answer: &Answer, telling: Telling) -> Stream;
    /// A failure before the answer began; `wait` in seconds.
    fn failure(&self, refused: &Refused, wait: Option<u64>) -> Whole;
    /// A failure under status 200, in an answer that is not streamed.
    fn hidden_failure(&self, said: &str) -> Whole {
        let mut whole = self.failure(&unlucky(said), None);
        whole.status = 200;
        whole
    }
    /// A failure inside a stream.
    fn late_failure(&self, said: &str) -> Vec<u8>;
    /// What does not belong into a stream.
    fn garbage(&self) -> Vec<u8> {
        b"data: {\"choices\": [oops\n\n".to_vec()
    }
}

/// An engine that failed.
fn unlucky(said: &str) -> Refused {
    Refused {
        failure: Failure::Internal,
        said: said.to_owned(),
        field: None,
    }
}

/// What all listeners share.
#[derive(Debug, Default)]
struct State {
    calls: Mutex<Vec<Request>>,
    /// Users' texts for which a fault that strikes once has struck.
    struck: Mutex<Vec<String>>,
    aip: baidu::Tokens,
    jobs: jobs::Jobs,
}

impl State {
    /// Whether a fault strikes this request.
    fn strikes(&self, fault: Fault, asked: &Asked) -> bool {
        if !fault.once {
            return true;
        }
        let mut struck = self.struck.lock().unwrap();
        let key = format!("{} {}", asked.model, asked.user);
        let first = !struck.contains(&key);
        if first {
            struck.push(key);
        }
        first
    }

    fn calls(&self, marker: &str) -> Vec<Request> {
        let calls = self.calls.lock().unwrap();
        let holds = |call: &&Request| String::from_utf8_lossy(&call.body).contains(marker);
        calls.iter().filter(holds).cloned().collect()
    }

    fn answer(&self, request: &Request) -> Result<Outgoing, HungUp> {
        let whole = |whole| Ok(faults::send_whole(whole, None));
        match request.vendor {
            "control" => whole(self.control(request)),
            "baidu" => Ok(baidu::answer(&self.aip, request)),
            "openai" if request.path == openai_responses::PATH => self.chat(&openai_responses::Responses, request),
            "openai" if request.path != "/v1/chat/completions" => whole(media::answer(request)),
            "anthropic" if request.path == "/v1/messages/count_tokens" => whole(anthropic::count(request)),
            "gemini" if !gemini::is_chat(request) => whole(gemini::embeddings(request)),
            "ollama" if request.path == "/api/embed" => whole(ollama::embeddings(request)),
            "cohere" if request.path != "/v2/chat" => whole(cohere::other(request)),
            "dashscope" if dashscope_tasks::is_task(request) => whole(dashscope_tasks::answer(&self.jobs, request)),
            "tencent" if tencent_jobs::is_job(request) => whole(tencent_jobs::answer(&self.jobs, request)),
            "dashscope" if !dashscope::is_chat(request) => whole(dashscope::other(request)),
            "tencent" if request.header("x-tc-action") != Some("ChatCompletions") => whole(tencent::other(request)),
            vendor => self.chat(dialect(vendor), request),
        }
    }

    fn chat(&self, dialect: &dyn Dialect, request: &Request) -> Result<Outgoing, HungUp> {
        let asked = match dialect.parse(request) {
            Ok(asked) => asked,
            Err(refused) => return Ok(faults::send_whole(dialect.failure(&refused, None), None)),
        };
        let fault = Fault::of(&asked.model).filter(|fault| self.strikes(*fault, &asked));
        let kind = fault.map(|fault| fault.kind);
        let telling = match kind {
            Some(Kind::HangUp) => return Err(HungUp),
            Some(Kind::Html(status)) => return Ok(faults::send_whole(faults::html(status), None)),
            Some(Kind::Failure(failure)) => {
                let (quote, wait) = fault.map_or((false, None), |fault| (fault.quote, fault.wait));
                let refused = asked_for(failure, quote, request);
                let mut whole = dialect.failure(&refused, wait);
                if quote {
                    whole = whole.with("x-debug-credential", credentials(request.vendor).key);
                }
                return Ok(faults::send_whole(whole, None));
            }
            Some(Kind::Usage(telling)) => telling,
            _ => Telling::Usual,
        };
        let answer = chat::answer(&asked);
        let quote = fault.is_some_and(|fault| fault.quote);
        let said = match quote {
            true => asked_for(Failure::Internal, quote, request).said,
            false => "The engine failed at host-7.internal".to_owned(),
        };
        if asked.stream {
            let stream = dialect.stream(&asked, &answer, telling);
            return Ok(faults::send_stream(
                stream,
                kind,
                &dialect.late_failure(&said),
                &dialect.garbage(),
            ));
        }
        let whole = match kind {
            Some(Kind::InBand) => dialect.hidden_failure(&said),
            _ => dialect.whole(&asked, &answer, telling),
        };
        Ok(faults::send_whole(whole, kind))
    }

    /// What drivers in other languages ask.
    fn control(&self, request: &Request) -> Whole {
        let marker = request.query("marker").unwrap_or_default();
        let calls: Vec<_> = self
            .calls(&marker)
            .iter()
            .map(|call| {
                let headers: BTreeMap<_, _> = call
                    .headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                    .collect();
                json!({"vendor": call.vendor, "method": call.method, "path": call.path, "query": call.query,
                    "headers": headers, "body": String::from_utf8_lossy(&call.body)})
            })
            .collect();
        Whole::json(200, &json!({ "calls": calls }))
    }
}

/// A failure that the model's name asked for.
fn asked_for(failure: Failure, quote: bool, request: &Request) -> Refused {
    let said = if quote {
        let Credentials { id, key } = credentials(request.vendor);
        // In an address where there are no headers.
        let in_address = request.query("authorization");
        let authorization = request.header("authorization").or(in_address.as_deref());
        let authorization = authorization.unwrap_or_default();
        format!("You sent key {key} of account {id} as '{authorization}', and that is not right")
    } else {
        "This failure was asked for".to_owned()
    };
    Refused {
        failure,
        said,
        field: None,
    }
}

fn dialect(vendor: &str) -> &'static dyn Dialect {
    match vendor {
        "anthropic" => &anthropic::Messages,
        "gemini" => &gemini::Generate,
        "bedrock" => &bedrock::Converse,
        "dashscope" => &dashscope::Generation,
        "tencent" => &tencent::Hunyuan,
        "ollama" => &ollama::Chat,
        "cohere" => &cohere::Chat,
        "spark-websocket" => &spark_socket::Frames,
        vendor => openai_vendors::flavour(vendor),
    }
}

/// The running server. It lives as long as its process.
#[derive(Debug)]
pub struct MockVendor {
    addresses: BTreeMap<&'static str, String>,
    state: Arc<State>,
}

impl MockVendor {
    /// Listens on a free loopback port for each vendor, on a thread of its own, so that it outlives the runtime of any
    /// single test.
    pub fn start() -> Self {
        let state = Arc::new(State::default());
        let addresses = serve::start(&state);
        Self { addresses, state }
    }

    /// `127.0.0.1:port` of a vendor, or of `control`.
    pub fn address(&self, vendor: &str) -> &str {
        &self.addresses[vendor]
    }

    /// Takes back all tokens that the vendor of that name has sold.
    pub fn expire_tokens(&self, vendor: &str) {
        assert_eq!(vendor, "baidu", "nobody else sells any");
        self.state.aip.expire();
    }

    /// The requests whose body holds `marker`, in the order of their arrival.
    pub fn calls(&self, marker: &str) -> Vec<Request> {
        self.state.calls(marker)
    }
}
