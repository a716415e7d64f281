"""The official OpenAI SDK, unmodified, with the gateway as its base URL and an access token as its key."""
import base64
import json
import os

import httpx
import openai

with open(os.environ["HEXGATE_DEMO"]) as file:
    demo = json.load(file)
issuer, gateway, service = demo["issuer"], demo["gateway"], demo["clients"]["service"]
chat, embeddings = demo["interfaces"]["chat"], demo["interfaces"]["embeddings"]
hello = [{"role": "user", "content": "Say hello."}]


def token(scope):
    data = {"grant_type": "client_credentials", "scope": scope}
    response = httpx.post(f"{issuer}/oauth2/token", data=data, auth=(service["client_id"], service["client_secret"]), trust_env=False)
    return response.raise_for_status().json()["access_token"]


def sdk(key):
    return openai.OpenAI(base_url=f"{gateway}/v1", api_key=key, max_retries=0)


def raises(kind, status, call):
    try:
        call()
    except kind as error:
        assert error.status_code == status, (error.status_code, error)
        assert error.request_id, "x-request-id is where the SDK looks"
        return error
    raise SystemExit(f"{kind.__name__} was not raised")


client = sdk(token("ai:chat ai:embeddings"))

reply = client.chat.completions.create(model=chat, messages=hello)
assert reply.choices[0].message.content and reply.choices[0].finish_reason == "stop"
assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0

text, usage = "", None
for chunk in client.chat.completions.create(model=chat, messages=hello, stream=True, stream_options={"include_usage": True}):
    if chunk.choices:
        text += chunk.choices[0].delta.content or ""
    usage = chunk.usage or usage
assert text == reply.choices[0].message.content, (text, reply)
assert usage.total_tokens == reply.usage.total_tokens

without = [chunk for chunk in client.chat.completions.create(model=chat, messages=hello, stream=True)]
assert all(chunk.choices for chunk in without) and not any(chunk.usage for chunk in without)

# The SDK asks for base64 by itself and decodes it.
vectors = client.embeddings.create(model=embeddings, input=["one", "two"])
assert len(vectors.data) == 2 and len(vectors.data[0].embedding) > 1
assert all(isinstance(number, float) for number in vectors.data[0].embedding)
plain = client.embeddings.create(model=embeddings, input="one", encoding_format="float")
assert len(plain.data[0].embedding) == len(vectors.data[0].embedding)
assert all(abs(a - b) < 1e-6 for a, b in zip(plain.data[0].embedding, vectors.data[0].embedding))

names = [model.id for model in client.models.list()]
assert chat in names and embeddings in names, names
assert client.models.retrieve(chat).id == chat

# The simulator's other capabilities, under the names of the demo document.
other = sdk(token("ai:transcription ai:speech ai:image ai:moderation"))
sound = other.audio.speech.create(model="speech", voice="alloy", input="hello", response_format="wav").read()
assert sound.startswith(b"RIFF"), sound[:20]
raises(openai.BadRequestError, 400, lambda: other.audio.speech.create(model="speech", voice="alloy", input="hello"))
heard = other.audio.transcriptions.create(model="transcription", file=("a.wav", sound), response_format="verbose_json", timestamp_granularities=["word", "segment"])
assert abs(heard.duration - 0.25) < 0.01 and heard.segments and heard.words and heard.text, heard
surer = other.audio.transcriptions.create(model="transcription", file=("a.wav", sound), extra_body={"min_confidence": 0.5})
assert surer.filtered == 2 and len(surer.text) < len(heard.text), surer
subtitles = other.audio.transcriptions.create(model="transcription", file=("a.wav", sound), response_format="srt")
assert subtitles.startswith("1\n00:00:00,000 --> "), subtitles
picture = other.images.generate(model="image", prompt="a cat", size="64x64", n=2)
assert len(picture.data) == 2 and base64.b64decode(picture.data[0].b64_json).startswith(b"\x89PNG")
flags = other.moderations.create(model="moderation", input=["I will kill it", "all is well"])
assert [result.flagged for result in flags.results] == [True, False] and flags.results[0].categories.violence

raises(openai.AuthenticationError, 401, lambda: sdk("garbage").chat.completions.create(model=chat, messages=hello))
raises(openai.PermissionDeniedError, 403, lambda: sdk(token("ai:embeddings")).chat.completions.create(model=chat, messages=hello))
missing = raises(openai.NotFoundError, 404, lambda: client.chat.completions.create(model="no-such-model", messages=hello))
assert missing.code == "model_not_found", missing.body
raises(openai.BadRequestError, 400, lambda: client.chat.completions.create(model=chat, messages="no list"))
huge = [{"role": "user", "content": "a" * 21_000_000}]
raises(openai.APIStatusError, 413, lambda: client.chat.completions.create(model=chat, messages=huge))
if "t-status-429" in names:  # the black-box tests' own world
    limited = raises(openai.RateLimitError, 429, lambda: client.chat.completions.create(model="t-status-429", messages=hello))
    assert limited.response.headers["retry-after"] == "7"
    raises(openai.InternalServerError, 504, lambda: client.chat.completions.create(model="t-hang", messages=hello))
    try:
        for chunk in client.chat.completions.create(model="t-in-band-error", messages=hello, stream=True):
            pass
        raise SystemExit("an error within a stream was not raised")
    except openai.APIError:
        pass
print("ok")
