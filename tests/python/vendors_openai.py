"""The official OpenAI SDK at the gateway, with every chat vendor behind it."""
import json
import time
from concurrent.futures import ThreadPoolExecutor

import openai

from vendor_plan import CITY, PICTURE_BASE64, SEEN, USAGE, WEATHER, Checks, arrived, facts, mark, plan, raises

TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Weather of a city", "parameters": WEATHER}}]


def sdk(retries=0, key=plan["token"], **more):
    return openai.OpenAI(base_url=f"{plan['gateway']}/v1", api_key=key, max_retries=retries, **more)


client = sdk()


def asking(text):
    return [{"role": "system", "content": "Answer shortly."}, {"role": "user", "content": text}]


def create(model, messages, **more):
    return client.chat.completions.create(model=model, messages=messages, **more)


def counted(usage):
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (*USAGE, sum(USAGE)), usage


def gathered(model, messages, **more):
    """A stream as the answer that it amounts to: text, calls, finish reason, usage."""
    text, calls, finish, usage, ids = "", {}, None, None, set()
    for chunk in create(model, messages, stream=True, stream_options={"include_usage": True}, **more):
        assert chunk.object == "chat.completion.chunk" and chunk.model, chunk
        ids.add(chunk.id)
        assert usage is None, f"after the usage: {chunk}"
        assert bool(chunk.choices) != bool(chunk.usage), f"usage has a chunk of its own: {chunk}"
        usage = chunk.usage
        for choice in chunk.choices:
            assert choice.index == 0
            assert finish is None or not (choice.delta.content or choice.delta.tool_calls), "content after the finish"
            text += choice.delta.content or ""
            for part in choice.delta.tool_calls or []:
                assert part.index in calls or part.type == "function", part
                call = calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
                call["id"] += part.id or ""
                call["name"] += part.function.name or ""
                call["arguments"] += part.function.arguments or ""
            finish = choice.finish_reason or finish
    assert len(ids) == 1, f"one answer, {len(ids)} ids"
    assert list(calls) == list(range(len(calls))), calls
    return text, [calls[at] for at in sorted(calls)], finish, usage


def plain(one):
    text = f"Hello, wörld 你好 {mark()}"
    reply = create(one["name"], asking(text))
    choice = reply.choices[0]
    understood = facts(choice.message.content)
    assert understood["user"] == text and understood["system"] == "Answer shortly.", understood
    assert choice.finish_reason == "stop" and choice.message.role == "assistant", choice
    assert not choice.message.tool_calls and reply.object == "chat.completion" and reply.id and reply.model
    counted(reply.usage)
    if one.get("cached"):
        assert reply.usage.prompt_tokens_details.cached_tokens == 4, reply.usage


def settings(one):
    wanted = {"temperature": 0.25, "top_p": 0.5, "max_tokens": 500, "stop": ["END", "FIN"], "seed": 7}
    sent = {name: value for name, value in wanted.items() if name not in one.get("lacks", [])}
    understood = facts(create(one["name"], asking(mark()), **sent).choices[0].message.content)
    for name, value in sent.items():
        assert understood.get(name) == value, (name, understood)
    if "max_tokens" not in one.get("lacks", []):
        newer = facts(create(one["name"], asking(mark()), max_completion_tokens=400).choices[0].message.content)
        assert newer["max_tokens"] == 400, newer
        short = create(one["name"], asking(mark()), max_tokens=3).choices[0]
        assert (short.message.content, short.finish_reason) == ("One two", "length"), short
        text, _, finish, _ = gathered(one["name"], asking(mark()), max_tokens=3)
        assert (text, finish) == ("One two", "length"), (text, finish)


def stream(one):
    # Several, for the vendor writes its streams in several ways.
    for ending in ["", "a", "b", "c"]:
        messages = asking(f"Hello, wörld 你好 {mark()}{ending}")
        text, calls, finish, usage = gathered(one["name"], messages)
        assert text == create(one["name"], messages).choices[0].message.content, text
        assert finish == "stop" and not calls
        counted(usage)
    unasked = list(create(one["name"], asking(mark()), stream=True))
    assert all(chunk.choices and not chunk.usage for chunk in unasked), unasked


def turns(one):
    text = mark()
    history = [*asking("First"), {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": [{"type": "text", "text": text}]}]
    assert facts(create(one["name"], history).choices[0].message.content)["user"] == text


def tools(one):
    messages = asking(f"Weather? {mark()}")
    choice = create(one["name"], messages, tools=TOOLS).choices[0]
    assert choice.finish_reason == "tool_calls", choice
    call, = choice.message.tool_calls
    assert call.type == "function" and call.id and call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": CITY}, call
    result = {"role": "tool", "tool_call_id": call.id, "content": json.dumps({"temp_c": -3})}
    last = create(one["name"], [*messages, choice.message, result], tools=TOOLS).choices[0]
    assert last.finish_reason == "stop" and last.message.content.startswith("The tools said: ") and "-3" in last.message.content, last
    _, streamed, finish, usage = gathered(one["name"], messages, tools=TOOLS)
    assert finish == "tool_calls" and len(streamed) == 1, (finish, streamed)
    assert streamed[0]["id"] and streamed[0]["name"] == "get_weather" and json.loads(streamed[0]["arguments"]) == {"city": CITY}, streamed
    counted(usage)
    again = {"role": "assistant", "content": None, "tool_calls": [{"id": streamed[0]["id"], "type": "function", "function": {"name": "get_weather", "arguments": streamed[0]["arguments"]}}]}
    result = {"role": "tool", "tool_call_id": streamed[0]["id"], "content": "minus three"}
    text, _, finish, _ = gathered(one["name"], [*messages, again, result], tools=TOOLS)
    assert finish == "stop" and "minus three" in text, text


def choices(one):
    lacks = one.get("lacks", [])
    messages = asking(f"Weather? {mark()}")
    if "choice_none" not in lacks:
        choice = create(one["name"], messages, tools=TOOLS, tool_choice="none").choices[0]
        assert choice.finish_reason == "stop" and not choice.message.tool_calls
    if "choice_required" not in lacks:
        choice = create(one["name"], messages, tools=TOOLS, tool_choice="required").choices[0]
        assert choice.finish_reason == "tool_calls", choice
    if "choice_named" not in lacks:
        other = {"type": "function", "function": {"name": "other", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}}
        named = {"type": "function", "function": {"name": "other"}}
        choice = create(one["name"], messages, tools=[*TOOLS, other], tool_choice=named).choices[0]
        assert choice.message.tool_calls[0].function.name == "other", choice
        assert json.loads(choice.message.tool_calls[0].function.arguments) == {"n": 7}, choice


def parallel(one):
    messages = asking(f"in parallel, please {mark()}")
    message = create(one["name"], messages, tools=TOOLS, **one.get("parallel", {})).choices[0].message
    cities = [json.loads(call.function.arguments)["city"] for call in message.tool_calls]
    assert cities == [CITY, "北京 \"quoted\""], cities
    assert len({call.id for call in message.tool_calls}) == 2
    results = [{"role": "tool", "tool_call_id": call.id, "content": f"result {at}"} for at, call in enumerate(message.tool_calls)]
    text = create(one["name"], [*messages, message, *results], tools=TOOLS).choices[0].message.content
    assert text.index("result 0") < text.index("result 1"), text
    _, streamed, finish, _ = gathered(one["name"], messages, tools=TOOLS, **one.get("parallel", {}))
    assert finish == "tool_calls" and [json.loads(call["arguments"])["city"] for call in streamed] == cities, streamed
    assert len({call["id"] for call in streamed}) == 2 and all(call["name"] == "get_weather" for call in streamed)


def vision(one):
    text = f"What is it? {mark()}"
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE_BASE64}"}}]
    messages = [{"role": "user", "content": parts}]
    reply = create(one["name"], messages).choices[0].message.content
    assert facts(reply)["pictures"] == [SEEN] and facts(reply)["user"] == text, facts(reply)
    assert gathered(one["name"], messages)[0] == reply


def json_schema(one):
    schema = {"name": "colour", "strict": True, "schema": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": False}}
    reply = create(one["name"], asking(mark()), response_format={"type": "json_schema", "json_schema": schema})
    assert json.loads(reply.choices[0].message.content) == {"name": CITY}, reply


def fails(model, kind, status, code=None, requests=1):
    """Plain and streamed: the same exception, no retry that nobody asked for, and the hints of the vendor."""
    for streamed in [False, True]:
        marker = mark()
        error = raises(kind, status, lambda: create(model, asking(marker), stream=streamed))
        assert error.request_id, "x-request-id is where the SDK looks"
        assert code is None or error.code == code, (error.code, error.body)
        assert "internal" not in str(error) and "10.1.2.3" not in str(error), str(error)
        assert len(arrived(marker)) == requests, len(arrived(marker))


def breaks(model, kind=openai.APIError):
    """A stream that fails after it began: what was said stays, and the SDK raises."""
    text = ""

    def read():
        nonlocal text
        for chunk in create(model, asking(mark()), stream=True):
            text += "".join(choice.delta.content or "" for choice in chunk.choices)

    error = raises(kind, None, read)
    assert "host-7" not in str(error), str(error)
    assert text and "Understood".startswith(text[:10]), text


def retried(model, least):
    marker = mark()
    began = time.monotonic()
    reply = sdk(retries=2).chat.completions.create(model=model, messages=asking(marker))
    assert facts(reply.choices[0].message.content)["user"] == marker
    assert len(arrived(marker)) == 2, len(arrived(marker))
    assert time.monotonic() - began >= least, time.monotonic() - began


def not_retried(model):
    marker = mark()
    raises(openai.InternalServerError, 502, lambda: sdk(retries=2).chat.completions.create(model=model, messages=asking(marker)))
    assert len(arrived(marker)) == 1, "an operator has to act, and the SDK tried again"


def hinted(model, seconds):
    error = raises(openai.RateLimitError, 429, lambda: create(model, asking(mark())))
    assert error.response.headers["retry-after"] == seconds, error.response.headers


def impatient(model):
    error = raises(openai.APITimeoutError, None, lambda: sdk(timeout=0.4).chat.completions.create(model=model, messages=asking(mark())))
    assert isinstance(error, openai.APIConnectionError)


def unusual(model, usage):
    messages = asking(mark())
    text, _, finish, told = gathered(model, messages)
    assert facts(text)["user"] == messages[1]["content"] and finish == "stop"
    if usage:
        counted(told)


FAULTS = [
    ("400", openai.BadRequestError, 400, None),
    ("context", openai.BadRequestError, 400, None),
    ("401", openai.InternalServerError, 502, "upstream_refused"),
    ("403", openai.InternalServerError, 502, "upstream_refused"),
    ("404", openai.NotFoundError, 404, None),
    ("429", openai.RateLimitError, 429, "rate_limit_exceeded"),
    ("quota", openai.RateLimitError, 429, "insufficient_quota"),
    ("filter", openai.BadRequestError, 400, None),
    ("500", openai.InternalServerError, 502, "upstream_error"),
    ("overloaded", openai.InternalServerError, 503, "upstream_overloaded"),
    ("504", openai.InternalServerError, 504, "upstream_timeout"),
    ("html-500", openai.InternalServerError, 502, None),
    ("html-200", openai.InternalServerError, 502, None),
    ("hang-up", openai.InternalServerError, 502, "upstream_unreachable"),
    ("stall-before", openai.InternalServerError, 504, "upstream_timeout"),
]


def check(checks, one):
    vendor, faults = one["vendor"], one["faults"]
    for each in [plain, settings, stream, turns, tools, choices, parallel, vision, json_schema]:
        if each.__name__ not in one["lacks"]:
            checks.run(f"{vendor} {each.__name__}", each, one)
    for fault, kind, status, code in FAULTS:
        kind, status, code = plan_of(one, fault, kind, status, code)
        if kind:
            checks.run(f"{vendor} fault {fault}", fails, faults[fault], kind, status, code)
    for fault in ["in-band", "malformed", "truncated", "cut", "stall-after"]:
        checks.run(f"{vendor} stream {fault}", breaks, faults[fault])
    for fault in ["malformed", "truncated", "cut"]:
        checks.run(f"{vendor} plain {fault}", raises, openai.InternalServerError, 502, lambda fault=fault: create(faults[fault], asking(mark())))
    for fault in ["split-usage", "late-usage", "no-usage", "no-done"]:
        if fault not in one["lacks"]:
            checks.run(f"{vendor} {fault}", unusual, faults[fault], fault != "no-usage")
    checks.run(f"{vendor} retry after 429", retried, faults["once-429-retry-after-1"], 1.0 if one["hints"] else 0.3)
    checks.run(f"{vendor} retry when overloaded", retried, faults["once-overloaded"], 0.3)
    if one["hints"]:
        checks.run(f"{vendor} hints", hinted, faults["429-retry-after-7"], "7")
    checks.run(f"{vendor} no retry of 401", not_retried, faults["401"])
    checks.run(f"{vendor} client's timeout", impatient, one["patient"])


def main():
    checks = Checks()
    # Some vendors side by side: most of it is waiting.
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: check(checks, one), plan["interfaces"]))
    model = plan["interfaces"][0]["name"]
    checks.run("bad token", raises, openai.AuthenticationError, 401, lambda: sdk(key="garbage").chat.completions.create(model=model, messages=asking("x")))
    checks.run("no scope", raises, openai.PermissionDeniedError, 403, lambda: sdk(key=plan["narrow_token"]).chat.completions.create(model=model, messages=asking("x")))
    checks.run("no interface", raises, openai.NotFoundError, 404, lambda: create("no-such-model", asking("x")))
    nobody = openai.OpenAI(base_url=plan["nobody"], api_key="x", max_retries=0)
    checks.run("nobody there", raises, openai.APIConnectionError, None, lambda: nobody.chat.completions.create(model=model, messages=asking("x")))
    checks.report()


def plan_of(one, fault, kind, status, code):
    """Where a vendor's words say something else: `[status]` or `[]` for a failure that it has no word for."""
    other = one.get("says", {}).get(fault)
    if other is None:
        return kind, status, code
    if not other:
        return None, None, None
    status = other[0]
    kinds = {400: openai.BadRequestError, 404: openai.NotFoundError, 422: openai.UnprocessableEntityError, 429: openai.RateLimitError}
    return kinds.get(status, openai.InternalServerError), status, other[1] if len(other) > 1 else None


main()
