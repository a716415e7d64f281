//! What vendors do not count is counted by the vocabulary: exactly what was asked and what came, whole or streamed, to its end or not,
//! and paid for like what they count.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt as _;
use resource_gateway::{adapters::vocabulary::Vocabulary, ports::tokenizer::Tokenizer as _};
use serde_json::{Value, json};
use service_kit::SystemClock;
use sql_kit::{Db, Options, Sql, args, sql};
use tokio::net::TcpListener;

use crate::{
    running::{Answer, Running, chat},
    scripted::{Act, End, Scripted},
    stub_vendor::{CHUNK, DONE, FINISH},
};

/// Ten tokens.
const PANGRAM: &str = "The quick brown fox jumps over the lazy dog.";
/// "Hello", ",", " world"; the message's role and three more, and three for the answer's beginning.
const HELLO_TOKENS: i64 = 10;

/// The row of a call.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    state: String,
    input: i64,
    output: i64,
    reasoning: Option<i64>,
    characters: i64,
    estimated: bool,
    cost: Option<i64>,
}

type Columns = (String, i64, i64, Option<i64>, i64, bool, Option<i64>);

/// A gateway with the interface `talk`, whose vendor does as it is told; a token of input costs 1000 billionths, of output 10,000.
async fn world() -> (Running, Scripted) {
    let vendor = Scripted::start().await;
    let document = format!(
        "[[vendor]]\nname = \"told\"\nstrategy = \"openai\"\nbase_url = \"{}\"\n\
         [[interface]]\nname = \"talk\"\ncapability = \"chat\"\nroutes = [{{ vendor = \"told\", model = \"m\" }}]\n\
         timeouts_ms = {{ connect = 1000, first_byte = 20000, idle = 20000, total = 60000 }}\n\
         [[price]]\nname = \"list\"\nvendor = \"told\"\ninput_per_million = 1\noutput_per_million = 10\ncurrency = \"EUR\"\n",
        vendor.url
    );
    let running = Running::start_at(Arc::new(SystemClock), &document, |_| {}).await;
    (running, vendor)
}

async fn rows(world: &Running) -> Vec<Row> {
    const ROWS: Sql = sql!(
        "SELECT state, input_tokens, output_tokens, reasoning_tokens, characters, estimated, cost FROM usage_record ORDER BY time, request_id"
    );
    world.gateway.journal.finish(Duration::from_secs(5)).await;
    let db = Db::connect(&world.database, &Options::default()).await.unwrap();
    let rows: Vec<Columns> = db.all(ROWS, args![]).await.unwrap();
    db.close().await;
    let read = |(state, input, output, reasoning, characters, estimated, cost)| Row {
        state,
        input,
        output,
        reasoning,
        characters,
        estimated,
        cost,
    };
    rows.into_iter().map(read).collect()
}

/// The newest row, which is there as soon as the reply has ended.
async fn newest(world: &Running) -> Row {
    rows(world).await.pop().unwrap()
}

/// The only row, once there is one: nobody waits for the rows of callers who have left.
async fn only(world: &Running) -> Row {
    for _ in 0..1000 {
        if let Some(row) = rows(world).await.pop() {
            return row;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("no row");
}

fn estimated(state: &str, input: i64, output: i64) -> Row {
    Row {
        state: state.to_owned(),
        input,
        output,
        reasoning: None,
        characters: 0,
        estimated: true,
        cost: Some(input * 1000 + output * 10_000),
    }
}

fn whole(message: &Value) -> Act {
    let body = json!({"id": "x", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]});
    Act::body(200, "application/json", body.to_string())
}

fn event(delta: &Value) -> String {
    choice(0, delta)
}

fn choice(index: u64, delta: &Value) -> String {
    let chunk = json!({"id": "c", "choices": [{"index": index, "delta": delta, "finish_reason": null}]});
    format!("data: {chunk}\n\n")
}

/// A text said in pieces of a few bytes, which are no tokens.
fn in_pieces(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let piece = |piece: &[char]| event(&json!({"content": piece.iter().collect::<String>()}));
    characters.chunks(3).map(piece).collect()
}

fn ended(mut events: Vec<String>) -> Vec<String> {
    events.extend([FINISH.to_owned(), DONE.to_owned()]);
    events
}

fn stream_of(events: &[String]) -> Act {
    Act::events(&events.iter().map(String::as_str).collect::<Vec<_>>())
}

async fn ask(world: &Running, body: &Value) -> Answer {
    let answer = world.post("/v1/chat/completions", &world.token(), body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer
}

fn streamed(mut body: Value) -> Value {
    body["stream"] = true.into();
    body
}

fn tokens(text: &str) -> i64 {
    i64::try_from(Vocabulary.count(text).unwrap()).unwrap()
}

#[tokio::test]
async fn a_stream_counts_and_costs_what_the_same_answer_does_in_one_piece() {
    let (world, vendor) = world().await;
    let wanted = estimated("completed", HELLO_TOKENS, 10);
    vendor.next([whole(&json!({"role": "assistant", "content": PANGRAM}))]);
    ask(&world, &chat("talk")).await;
    assert_eq!(newest(&world).await, wanted);
    vendor.next([stream_of(&ended(in_pieces(PANGRAM)))]);
    ask(&world, &streamed(chat("talk"))).await;
    assert_eq!(newest(&world).await, wanted);
    assert!(
        PANGRAM.chars().count().div_ceil(3) > 10,
        "counted piece by piece it would be more"
    );
}

#[tokio::test]
async fn what_the_vendor_counts_goes_before_the_vocabulary() {
    let (world, vendor) = world().await;
    for stream in [false, true] {
        let mut body = chat("talk");
        body["stream"] = stream.into();
        vendor.next([Act::well(stream)]);
        ask(&world, &body).await;
        let row = newest(&world).await;
        assert_eq!((row.input, row.output, row.estimated), (11, 22, false));
    }
}

#[tokio::test]
async fn reasoning_tool_calls_and_every_choice_are_output() {
    let (world, vendor) = world().await;
    let (thought, arguments) = (
        "The user wants the weather in Paris.",
        r#"{"city":"Paris","unit":"celsius"}"#,
    );
    let call = json!([{"index": 0, "id": "call_abcdefghijklmnop", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}]);
    let wanted = tokens(thought) + tokens(&format!("get_weather{arguments}")) + 10;
    vendor.next([whole(
        &json!({"role": "assistant", "content": PANGRAM, "reasoning_content": thought, "tool_calls": call}),
    )]);
    ask(&world, &chat("talk")).await;
    let plain = newest(&world).await;
    // Names and arguments of a whole call are texts of their own.
    assert!((plain.output - wanted).abs() <= 1, "{plain:?}, {wanted}");
    assert_eq!(plain.reasoning, Some(tokens(thought)));
    let (first, second) = arguments.split_at(9);
    let piece = |text: &str| event(&json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]}));
    let mut events = vec![
        event(&json!({"role": "assistant", "reasoning": thought, "reasoning_content": thought})),
        event(
            &json!({"tool_calls": [{"index": 0, "id": "call_abcdefghijklmnop", "type": "function", "function": {"name": "get_weather", "arguments": ""}}]}),
        ),
        piece(first),
        piece(second),
    ];
    events.extend(in_pieces(PANGRAM));
    vendor.next([stream_of(&ended(events))]);
    ask(&world, &streamed(chat("talk"))).await;
    let stream = newest(&world).await;
    assert_eq!((stream.output, stream.reasoning), (wanted, plain.reasoning));
    // The pieces of two choices come by turns and are not one text.
    let mut events = Vec::new();
    for piece in ["The quick", " brown fox", " jumps over the lazy dog."] {
        events.extend([0, 1].map(|index| choice(index, &json!({"content": piece}))));
    }
    events.push(FINISH.replace("\"index\":0", "\"index\":1"));
    vendor.next([stream_of(&ended(events))]);
    ask(&world, &streamed(chat("talk"))).await;
    assert_eq!(newest(&world).await, estimated("completed", HELLO_TOKENS, 20));
}

#[tokio::test]
async fn requests_are_counted_as_they_were_sent() {
    let (world, vendor) = world().await;
    let text = "\u{4eca}\u{5929}\u{5929}\u{6c14}\u{4e0d}\u{9519}\u{1f600}";
    let tool = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let mut body = json!({"model": "talk", "messages": [
        {"role": "system", "content": PANGRAM},
        {"role": "user", "content": [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]});
    vendor.always(whole(&json!({"content": "a"})));
    ask(&world, &body).await;
    // Three and four for each message; a picture of a size that nobody looked up.
    let without_tools = 3 + 2 * 4 + 10 + tokens(text) + 765;
    assert_eq!(newest(&world).await.input, without_tools);
    body["tools"] = tool.clone();
    ask(&world, &body).await;
    assert_eq!(newest(&world).await.input, without_tools + tokens(&tool.to_string()));
    // A large picture changes nothing, neither for a whole answer nor for a stream, which does not hold on to it.
    body["messages"][1]["content"][1]["image_url"]["url"] =
        format!("data:image/png;base64,{}", "A".repeat(300_000)).into();
    ask(&world, &body).await;
    assert_eq!(newest(&world).await.input, without_tools + tokens(&tool.to_string()));
    vendor.always(stream_of(&ended(in_pieces("a"))));
    ask(&world, &streamed(body)).await;
    assert_eq!(newest(&world).await.input, without_tools + tokens(&tool.to_string()));
}

#[tokio::test]
async fn characters_may_be_split_wherever_the_network_likes() {
    let (world, vendor) = world().await;
    let text = "\u{4eca}\u{5929}\u{5929}\u{6c14}\u{4e0d}\u{9519}\u{ff0c} Gr\u{fc}\u{df}e \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}!";
    let bytes = ended(in_pieces(text)).concat();
    let act = Act {
        parts: bytes.as_bytes().chunks(7).map(Bytes::copy_from_slice).collect(),
        pause: Duration::from_millis(1),
        ..Act::events(&[])
    };
    vendor.next([act]);
    ask(&world, &streamed(chat("talk"))).await;
    assert_eq!(newest(&world).await, estimated("completed", HELLO_TOKENS, tokens(text)));
}

#[tokio::test]
async fn a_finished_answer_whose_output_nobody_counted_is_not_free() {
    let (world, vendor) = world().await;
    let wanted = estimated("completed", 77, 10);
    for counted in [
        json!({"prompt_tokens": 77}),
        json!({"prompt_tokens": 77, "completion_tokens": -1}),
    ] {
        let body = json!({"id": "c", "object": "chat.completion", "usage": counted, "choices": [
            {"index": 0, "message": {"role": "assistant", "content": PANGRAM}, "finish_reason": "stop"}]});
        let last = format!("data: {}\n\n", json!({"id": "c", "choices": [], "usage": counted}));
        for path in ["/v1/chat/completions", "/v1/messages"] {
            let mut asked = chat("talk");
            asked["max_tokens"] = 50.into();
            vendor.next([Act::body(200, "application/json", body.to_string())]);
            let answer = world.post(path, &world.token(), &asked).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert_eq!(newest(&world).await, wanted, "{path} {counted}");
            let mut events = in_pieces(PANGRAM);
            events.extend([FINISH.to_owned(), last.clone(), DONE.to_owned()]);
            vendor.next([stream_of(&events)]);
            let answer = world.post(path, &world.token(), &streamed(asked)).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert_eq!(newest(&world).await, wanted, "{path} {counted}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_counts_what_came() {
    let (world, vendor) = world().await;
    vendor.next([stream_of(&in_pieces(PANGRAM)).ending(End::Cut)]);
    let answer = ask(&world, &streamed(chat("talk"))).await;
    assert!(answer.body.contains("upstream_unreachable"), "{}", answer.body);
    assert_eq!(newest(&world).await, estimated("incomplete", HELLO_TOKENS, 10));
    // A vendor that counts the input first had no time to count the rest.
    let began = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\
                 \"usage\":{\"prompt_tokens\":77,\"completion_tokens\":0}}\n\n";
    let mut events = vec![began.to_owned()];
    events.extend(in_pieces(PANGRAM));
    vendor.next([stream_of(&events).ending(End::Cut)]);
    ask(&world, &streamed(chat("talk"))).await;
    assert_eq!(newest(&world).await, estimated("incomplete", 77, 10));
    // One that counts all the while has.
    let counted = CHUNK.replace(
        "\"x_vendor\":1",
        "\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}",
    );
    vendor.next([Act::events(&[&counted]).ending(End::Cut)]);
    ask(&world, &streamed(chat("talk"))).await;
    let row = newest(&world).await;
    assert_eq!((row.input, row.output, row.estimated), (7, 3, false));
}

#[tokio::test]
async fn a_caller_who_leaves_in_mid_answer_pays_for_what_came() {
    let (world, vendor) = world().await;
    let pieces = in_pieces(PANGRAM);
    vendor.next([stream_of(&pieces).ending(End::Stall)]);
    let request = world.request("/v1/chat/completions", &world.token(), &streamed(chat("talk")));
    let mut body = request.send().await.unwrap().bytes_stream();
    let mut got = 0;
    while got < pieces.concat().len() {
        got += body.next().await.unwrap().unwrap().len();
    }
    drop(body);
    assert_eq!(
        only(&world).await,
        estimated("client_gone_after_first_byte", HELLO_TOKENS, 10)
    );
}

#[tokio::test]
async fn a_caller_who_leaves_early_pays_for_what_was_read_in_the_kind_that_is_priced() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let document = format!(
        "[[vendor]]\nname = \"mute\"\nstrategy = \"openai\"\nbase_url = \"http://{}/v1\"\n\
         [[interface]]\nname = \"say\"\ncapability = \"speech\"\nroutes = [{{ vendor = \"mute\", model = \"m\" }}]\n\
         [[price]]\nname = \"list\"\nvendor = \"mute\"\nunit = \"character\"\nper_million_characters = 15\ncurrency = \"EUR\"\n",
        silent.local_addr().unwrap()
    );
    let world = Running::start_at(Arc::new(SystemClock), &document, |_| {}).await;
    let body = json!({"model": "say", "input": "h\u{e9}llo", "voice": "v"});
    let request = world.request("/v1/audio/speech", &world.token(), &body);
    assert!(request.timeout(Duration::from_secs(1)).send().await.is_err());
    let row = only(&world).await;
    assert_eq!((row.characters, row.input, row.output, row.estimated), (5, 0, 0, true));
    assert_eq!(
        (row.state.as_str(), row.cost),
        ("client_gone_before_first_byte", Some(75_000))
    );
}

/// Vocabularies are slow at some texts; nobody gets to hold the gateway up with them, or to fill its memory.
#[tokio::test]
async fn no_text_holds_the_gateway_up() {
    let (world, vendor) = world().await;
    for unit in ["a", " ", "\u{4e00}", "!"] {
        let text = unit.repeat(1 << 20);
        vendor.next([stream_of(&ended(vec![event(&json!({"content": text}))]))]);
        let mut body = streamed(chat("talk"));
        body["messages"][0]["content"] = text.as_str().into();
        let asked = std::time::Instant::now();
        ask(&world, &body).await;
        assert!(
            asked.elapsed() < Duration::from_secs(20),
            "{unit:?}: {:?}",
            asked.elapsed()
        );
        let row = newest(&world).await;
        assert!(
            row.estimated && row.input > 1000 && row.output > 1000,
            "{unit:?}: {row:?}"
        );
        // What is not counted is taken to be like what is.
        assert!(
            row.input.abs_diff(row.output) < row.output.unsigned_abs() / 10,
            "{unit:?}: {row:?}"
        );
    }
}
