"""The official Anthropic SDK at the gateway's /v1/messages, with every chat vendor behind it."""
import time
from concurrent.futures import ThreadPoolExecutor

import anthropic

from vendor_plan import CITY, PICTURE_BASE64, SEEN, USAGE, WEATHER, Checks, arrived, facts, mark, plan, raises

TOOLS = [{"name": "get_weather", "description": "Weather of a city", "input_schema": WEATHER}]


def sdk(retries=0, key=plan["token"], **more):
    return anthropic.Anthropic(base_url=plan["gateway"], api_key=key, max_retries=retries, **more)


client = sdk()


def asking(text):
    return [{"role": "user", "content": text}]


def create(model, messages, most=500, on=client, **more):
    return on.messages.create(model=model, messages=messages, max_tokens=most, **more)


def gathered(model, messages, most=500, **more):
    """A stream, put together by the SDK itself."""
    with client.messages.stream(model=model, messages=messages, max_tokens=most, **more) as stream:
        said = "".join(stream.text_stream)
        whole = stream.get_final_message()
    assert said == "".join(block.text for block in whole.content if block.type == "text"), (said, whole)
    return whole


def text_of(message):
    """The text of an answer; thoughts and calls are other blocks."""
    return "".join(block.text for block in message.content if block.type == "text")


def calls_of(message):
    return [block for block in message.content if block.type == "tool_use"]


def counted(one, usage):
    """What was cached is counted apart here."""
    cached = 4 if one["cached"] else 0
    assert (usage.cache_read_input_tokens or 0) == cached, usage
    assert (usage.input_tokens, usage.output_tokens) == (USAGE[0] - cached, USAGE[1]), usage


def plain(one):
    text = f"Hello, wörld 你好 {mark()}"
    reply = create(one["name"], asking(text), system="Answer shortly.")
    assert (reply.type, reply.role, reply.stop_reason, reply.stop_sequence) == ("message", "assistant", "end_turn", None), reply
    assert reply.id and reply.model
    understood = facts(text_of(reply))
    assert understood["user"] == text and understood["system"] == "Answer shortly.", understood
    assert "max_tokens" in one["lacks"] or understood["max_tokens"] == 500, understood
    counted(one, reply.usage)


def settings(one):
    """Of the version that still takes them."""
    wanted = {"temperature": 0.25, "top_p": 0.5, "stop": ["END", "FIN"]}
    sent = {name: value for name, value in wanted.items() if name not in one["lacks"]}
    body = {"stop_sequences" if name == "stop" else name: value for name, value in sent.items()}
    reply = create(one["name"], asking(mark()), extra_headers={"anthropic-version": "2023-06-01"}, extra_body=body)
    understood = facts(text_of(reply))
    for name, value in sent.items():
        assert understood.get(name) == value, (name, understood)
    if "max_tokens" not in one["lacks"]:
        for ask in [create, gathered]:
            short = ask(one["name"], asking(mark()), most=3)
            assert (text_of(short), short.stop_reason) == ("One two", "max_tokens"), short


def stream(one):
    for ending in ["", "a", "b", "c"]:
        messages = asking(f"Hello, wörld 你好 {mark()}{ending}")
        whole = gathered(one["name"], messages)
        assert text_of(whole) == text_of(create(one["name"], messages)), whole
        assert whole.stop_reason == "end_turn", whole
        counted(one, whole.usage)
    events = [event.type for event in client.messages.create(model=one["name"], messages=asking(mark()), max_tokens=50, stream=True)]
    assert events[0] == "message_start" and events[-2:] == ["message_delta", "message_stop"], events
    assert events.count("content_block_start") == events.count("content_block_stop") == 1, events


def tools(one):
    messages = asking(f"Weather? {mark()}")
    for ask in [create, gathered]:
        message = ask(one["name"], messages, tools=TOOLS)
        assert message.stop_reason == "tool_use", message
        call, = calls_of(message)
        assert call.id and call.name == "get_weather" and call.input == {"city": CITY}, call
        result = {"type": "tool_result", "tool_use_id": call.id, "content": '{"temp_c":-3}'}
        history = [*messages, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
        last = ask(one["name"], history, tools=TOOLS)
        assert last.stop_reason == "end_turn" and text_of(last).startswith("The tools said: ") and "-3" in text_of(last), last


def choices(one):
    messages = asking(f"Weather? {mark()}")
    if "choice_none" not in one["lacks"]:
        message = create(one["name"], messages, tools=TOOLS, tool_choice={"type": "none"})
        assert message.stop_reason == "end_turn" and not calls_of(message), message
    if "choice_required" not in one["lacks"]:
        assert calls_of(create(one["name"], messages, tools=TOOLS, tool_choice={"type": "any"}))
    if "choice_named" not in one["lacks"]:
        other = {"name": "other", "input_schema": {"type": "object", "properties": {"n": {"type": "integer"}}}}
        call, = calls_of(create(one["name"], messages, tools=[*TOOLS, other], tool_choice={"type": "tool", "name": "other"}))
        assert (call.name, call.input) == ("other", {"n": 7}), call


def parallel(one):
    messages = asking(f"in parallel, please {mark()}")
    for ask in [create, gathered]:
        message = ask(one["name"], messages, tools=TOOLS)
        calls = calls_of(message)
        assert [call.input["city"] for call in calls] == [CITY, "北京 \"quoted\""], calls
        assert len({call.id for call in calls}) == 2
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": f"result {at}"} for at, call in enumerate(calls)]
        history = [*messages, {"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
        text = text_of(ask(one["name"], history, tools=TOOLS))
        assert text.index("result 0") < text.index("result 1"), text


def vision(one):
    text = f"What is it? {mark()}"
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE_BASE64}}
    messages = [{"role": "user", "content": [image, {"type": "text", "text": text}]}]
    understood = facts(text_of(create(one["name"], messages)))
    assert understood["pictures"] == [SEEN] and understood["user"] == text, understood
    assert facts(text_of(gathered(one["name"], messages))) == understood


def counts(one):
    told = client.messages.count_tokens(model=one["name"], messages=asking("Hello"), system="Be brief.")
    assert told.input_tokens > 0, told


def fails(model, kind, status, word):
    for streamed in [False, True]:
        marker = mark()
        error = raises(kind, status, lambda: create(model, asking(marker), stream=streamed))
        assert error.body["type"] == "error" and error.body["error"]["message"], error.body
        assert word is None or error.body["error"]["type"] == word, error.body
        assert error.request_id, "request-id is where the SDK looks"
        assert "internal" not in error.body["error"]["message"] and "10.1.2.3" not in str(error), str(error)
        assert len(arrived(marker)) == 1, len(arrived(marker))


def breaks(model):
    """A stream that fails after it began: what was said stays, and the SDK raises."""
    text = ""

    def read():
        nonlocal text
        for event in create(model, asking(mark()), stream=True):
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                text += event.delta.text

    try:
        read()
    except anthropic.APIError as error:
        assert "host-7" not in str(error), str(error)
    else:
        raise AssertionError("an error within a stream was not raised")
    assert text and "Understood".startswith(text[:10]), text


def retried(model, least):
    marker = mark()
    began = time.monotonic()
    reply = create(model, asking(marker), on=sdk(retries=2))
    assert facts(text_of(reply))["user"] == marker
    assert len(arrived(marker)) == 2, len(arrived(marker))
    assert time.monotonic() - began >= least, time.monotonic() - began


def not_retried(model):
    marker = mark()
    raises(anthropic.InternalServerError, 502, lambda: create(model, asking(marker), on=sdk(retries=2)))
    assert len(arrived(marker)) == 1, "an operator has to act, and the SDK tried again"


def impatient(model):
    raises(anthropic.APITimeoutError, None, lambda: create(model, asking(mark()), on=sdk(timeout=0.4)))


FAULTS = [
    ("400", 400, "invalid_request_error"),
    ("context", 400, "invalid_request_error"),
    ("401", 502, "api_error"),
    ("403", 502, "api_error"),
    ("404", 404, "not_found_error"),
    ("429", 429, "rate_limit_error"),
    ("quota", 429, None),
    ("filter", 400, "invalid_request_error"),
    ("500", 502, "api_error"),
    ("overloaded", 529, "overloaded_error"),
    ("504", 504, "timeout_error"),
    ("html-500", 502, "api_error"),
    ("html-200", 502, "api_error"),
    ("hang-up", 502, "api_error"),
    ("stall-before", 504, "timeout_error"),
]
KINDS = {
    400: anthropic.BadRequestError,
    404: anthropic.NotFoundError,
    422: anthropic.UnprocessableEntityError,
    429: anthropic.RateLimitError,
    502: anthropic.InternalServerError,
    503: anthropic.ServiceUnavailableError,
    504: anthropic.GatewayTimeoutError,
    529: anthropic.OverloadedError,
}


def check(checks, one):
    vendor, faults = one["vendor"], one["faults"]
    for each in [plain, settings, stream, tools, choices, parallel, vision, counts]:
        if each.__name__ not in one["lacks"]:
            checks.run(f"{vendor} {each.__name__}", each, one)
    for fault, status, word in FAULTS:
        says = one["says"].get(fault)
        if says == []:
            continue
        if says and KINDS[says[0]] is not KINDS[status]:
            status, word = says[0], None
        checks.run(f"{vendor} fault {fault}", fails, faults[fault], KINDS[status], status, word)
    for fault in ["in-band", "malformed", "truncated", "cut", "stall-after"]:
        checks.run(f"{vendor} stream {fault}", breaks, faults[fault])
    checks.run(f"{vendor} retry after 429", retried, faults["once-429-retry-after-1"], 1.0 if one["hints"] else 0.3)
    checks.run(f"{vendor} retry when overloaded", retried, faults["once-overloaded"], 0.3)
    checks.run(f"{vendor} no retry of 401", not_retried, faults["401"])
    checks.run(f"{vendor} client's timeout", impatient, one["patient"])


def main():
    checks = Checks()
    # Some vendors side by side: most of it is waiting.
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: check(checks, one), plan["interfaces"]))
    model = plan["interfaces"][0]["name"]
    checks.run("bad token", raises, anthropic.AuthenticationError, 401, lambda: create(model, asking("x"), on=sdk(key="garbage")))
    checks.run("no scope", raises, anthropic.PermissionDeniedError, 403, lambda: create(model, asking("x"), on=sdk(key=plan["narrow_token"])))
    checks.run("no interface", raises, anthropic.NotFoundError, 404, lambda: create("no-such-model", asking("x")))
    nobody = anthropic.Anthropic(base_url=plan["nobody"], api_key="x", max_retries=0)
    checks.run("nobody there", raises, anthropic.APIConnectionError, None, lambda: create(model, asking("x"), on=nobody))
    checks.report()


main()
