// The official OpenAI SDK for JavaScript at the gateway, with every chat vendor behind it.
import assert from 'node:assert/strict'
import OpenAI from 'openai'
import { CITY, Checks, PICTURE_BASE64, SEEN, USAGE, WEATHER, arrived, facts, mark, plan, raises } from './vendor_plan.mjs'

const TOOLS = [{ type: 'function', function: { name: 'get_weather', description: 'Weather of a city', parameters: WEATHER } }]

const sdk = (more = {}) => new OpenAI({ baseURL: `${plan.gateway}/v1`, apiKey: plan.token, maxRetries: 0, ...more })
const client = sdk()
const asking = (text) => [{ role: 'system', content: 'Answer shortly.' }, { role: 'user', content: text }]
const create = (model, messages, more = {}) => client.chat.completions.create({ model, messages, ...more })

function counted(usage) {
  const told = [usage?.prompt_tokens, usage?.completion_tokens, usage?.total_tokens]
  assert.deepEqual(told, [USAGE.input, USAGE.output, USAGE.input + USAGE.output])
}

// A stream, put together by the SDK itself.
async function gathered(model, messages, more = {}) {
  const runner = client.chat.completions.stream({ model, messages, stream_options: { include_usage: true }, ...more })
  let said = ''
  runner.on('content', (delta) => (said += delta))
  const whole = await runner.finalChatCompletion()
  assert.equal(said, whole.choices[0].message.content ?? '')
  return whole
}

async function plain({ name, cached }) {
  const text = `Hello, wörld 你好 ${mark()}`
  const reply = await create(name, asking(text))
  const understood = facts(reply.choices[0].message.content)
  assert.equal(understood.user, text)
  assert.equal(understood.system, 'Answer shortly.')
  assert.equal(reply.choices[0].finish_reason, 'stop')
  counted(reply.usage)
  if (cached) assert.equal(reply.usage.prompt_tokens_details.cached_tokens, 4)
}

async function stream({ name }) {
  for (const ending of ['', 'a', 'b', 'c']) {
    const messages = asking(`Hello, wörld 你好 ${mark()}${ending}`)
    const whole = await gathered(name, messages)
    const reply = await create(name, messages)
    assert.equal(whole.choices[0].message.content, reply.choices[0].message.content)
    assert.equal(whole.choices[0].finish_reason, 'stop')
    counted(whole.usage)
  }
}

async function tools({ name }) {
  const messages = asking(`Weather? ${mark()}`)
  for (const ask of [create, gathered]) {
    const { message, finish_reason } = (await ask(name, messages, { tools: TOOLS })).choices[0]
    assert.equal(finish_reason, 'tool_calls')
    assert.equal(message.tool_calls.length, 1)
    const [call] = message.tool_calls
    assert.ok(call.id && call.type === 'function' && call.function.name === 'get_weather', JSON.stringify(call))
    assert.deepEqual(JSON.parse(call.function.arguments), { city: CITY })
    const said = { role: 'assistant', content: message.content, tool_calls: message.tool_calls.map(({ id, type, function: { name, arguments: text } }) => ({ id, type, function: { name, arguments: text } })) }
    const result = { role: "tool", tool_call_id: call.id, content: '{"temp_c":-3}' }
    const last = (await ask(name, [...messages, said, result], { tools: TOOLS })).choices[0]
    assert.equal(last.finish_reason, 'stop')
    assert.ok(last.message.content.startsWith('The tools said: ') && last.message.content.includes('-3'), last.message.content)
  }
}

async function parallel({ name, parallel: more = {} }) {
  const messages = asking(`in parallel, please ${mark()}`)
  for (const ask of [create, gathered]) {
    const { message } = (await ask(name, messages, { tools: TOOLS, ...more })).choices[0]
    const cities = message.tool_calls.map((call) => JSON.parse(call.function.arguments).city)
    assert.deepEqual(cities, [CITY, '北京 "quoted"'])
    assert.equal(new Set(message.tool_calls.map((call) => call.id)).size, 2)
  }
}

async function vision({ name }) {
  const text = `What is it? ${mark()}`
  const url = `data:image/png;base64,${PICTURE_BASE64}`
  const messages = [{ role: 'user', content: [{ type: 'text', text }, { type: 'image_url', image_url: { url } }] }]
  const reply = (await create(name, messages)).choices[0].message.content
  assert.deepEqual(facts(reply).pictures, [SEEN])
  assert.equal(facts(reply).user, text)
  assert.equal((await gathered(name, messages)).choices[0].message.content, reply)
}

async function fails(model, kind, status, code) {
  for (const stream of [false, true]) {
    const marker = mark()
    const error = await raises(kind, status, () => create(model, asking(marker), { stream }))
    assert.ok(error.requestID, 'x-request-id is where the SDK looks')
    if (code) assert.equal(error.code, code)
    assert.ok(!/internal|10\.1\.2\.3/.test(error.message), error.message)
    assert.equal((await arrived(marker)).length, 1)
  }
}

async function breaks(model) {
  let text = ''
  await raises(OpenAI.APIError, undefined, async () => {
    for await (const chunk of await create(model, asking(mark()), { stream: true })) text += chunk.choices[0]?.delta?.content ?? ''
  })
  assert.ok(text && 'Understood'.startsWith(text.slice(0, 10)), text)
}

async function retried(model, least) {
  const marker = mark()
  const began = performance.now()
  const reply = await sdk({ maxRetries: 2 }).chat.completions.create({ model, messages: asking(marker) })
  assert.equal(facts(reply.choices[0].message.content).user, marker)
  assert.equal((await arrived(marker)).length, 2)
  assert.ok(performance.now() - began >= least, `${performance.now() - began} ms`)
}

async function notRetried(model) {
  const marker = mark()
  const call = () => sdk({ maxRetries: 2 }).chat.completions.create({ model, messages: asking(marker) })
  await raises(OpenAI.InternalServerError, 502, call)
  assert.equal((await arrived(marker)).length, 1, 'an operator has to act, and the SDK tried again')
}

const KINDS = { 400: OpenAI.BadRequestError, 404: OpenAI.NotFoundError, 422: OpenAI.UnprocessableEntityError, 429: OpenAI.RateLimitError }
const FAULTS = [
  ['400', 400],
  ['context', 400],
  ['401', 502, 'upstream_refused'],
  ['403', 502, 'upstream_refused'],
  ['404', 404],
  ['429', 429, 'rate_limit_exceeded'],
  ['quota', 429, 'insufficient_quota'],
  ['filter', 400],
  ['500', 502, 'upstream_error'],
  ['overloaded', 503, 'upstream_overloaded'],
  ['504', 504, 'upstream_timeout'],
  ['html-500', 502],
  ['html-200', 502],
  ['hang-up', 502, 'upstream_unreachable'],
  ['stall-before', 504, 'upstream_timeout'],
]

const checks = new Checks()

async function check(one) {
  const { vendor, lacks, faults, says } = one
  for (const check of [plain, stream, tools, parallel, vision]) {
    if (!lacks.includes(check.name)) await checks.run(`${vendor} ${check.name}`, () => check(one))
  }
  for (const [fault, usual, code] of FAULTS) {
    const said = says[fault] ?? [usual, code]
    if (!(fault in faults) || said.length === 0) continue
    const kind = KINDS[said[0]] ?? OpenAI.InternalServerError
    await checks.run(`${vendor} fault ${fault}`, () => fails(faults[fault], kind, said[0], said[1]))
  }
  for (const fault of ['in-band', 'malformed', 'truncated', 'cut', 'stall-after']) {
    if (fault in faults) await checks.run(`${vendor} stream ${fault}`, () => breaks(faults[fault]))
  }
  const once = faults['once-429-retry-after-1']
  await checks.run(`${vendor} retry after 429`, () => retried(once, one.hints ? 1000 : 300))
  await checks.run(`${vendor} no retry of 401`, () => notRetried(faults['401']))
  const call = () => sdk({ timeout: 400 }).chat.completions.create({ model: one.patient, messages: asking(mark()) })
  await checks.run(`${vendor} client's timeout`, () => raises(OpenAI.APIConnectionTimeoutError, undefined, call))
}

// Some vendors side by side: most of it is waiting.
const waiting = [...plan.interfaces]
const next = async () => {
  while (waiting.length) await check(waiting.shift())
}
await Promise.all([next(), next(), next(), next()])
const model = plan.interfaces[0].name
const ask = (more) => () => sdk(more).chat.completions.create({ model, messages: asking('x') })
await checks.run('bad token', () => raises(OpenAI.AuthenticationError, 401, ask({ apiKey: 'garbage' })))
await checks.run('no scope', () => raises(OpenAI.PermissionDeniedError, 403, ask({ apiKey: plan.narrow_token })))
await checks.run('no interface', () => raises(OpenAI.NotFoundError, 404, () => create('no-such-model', asking('x'))))
await checks.run('nobody there', () => raises(OpenAI.APIConnectionError, undefined, ask({ baseURL: plan.nobody })))
checks.report()
