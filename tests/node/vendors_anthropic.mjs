// The official Anthropic SDK for JavaScript at the gateway's /v1/messages, with every chat vendor behind it.
import assert from 'node:assert/strict'
import Anthropic, * as errors from '@anthropic-ai/sdk'
import { CITY, Checks, PICTURE_BASE64, SEEN, USAGE, WEATHER, arrived, facts, mark, plan, raises } from './vendor_plan.mjs'

const TOOLS = [{ name: 'get_weather', description: 'Weather of a city', input_schema: WEATHER }]

const sdk = (more = {}) => new Anthropic({ baseURL: plan.gateway, apiKey: plan.token, maxRetries: 0, ...more })
const client = sdk()
const asking = (text) => [{ role: 'user', content: text }]
const create = (model, messages, more = {}) => client.messages.create({ model, messages, max_tokens: 500, ...more })
// A stream, put together by the SDK itself.
const gathered = (model, messages, more = {}) => client.messages.stream({ model, messages, max_tokens: 500, ...more }).finalMessage()
const textOf = ({ content }) => content.filter((block) => block.type === 'text').map((block) => block.text).join('')
const callsOf = ({ content }) => content.filter((block) => block.type === 'tool_use')

function counted({ cached }, usage) {
  const apart = cached ? 4 : 0
  assert.deepEqual([usage.input_tokens, usage.cache_read_input_tokens ?? 0, usage.output_tokens], [USAGE.input - apart, apart, USAGE.output])
}

async function plain(one) {
  const text = `Hello, wörld 你好 ${mark()}`
  const reply = await create(one.name, asking(text), { system: 'Answer shortly.' })
  assert.deepEqual([reply.type, reply.role, reply.stop_reason], ['message', 'assistant', 'end_turn'])
  const understood = facts(textOf(reply))
  assert.equal(understood.user, text)
  assert.equal(understood.system, 'Answer shortly.')
  counted(one, reply.usage)
}

async function stream(one) {
  for (const ending of ['', 'a', 'b', 'c']) {
    const messages = asking(`Hello, wörld 你好 ${mark()}${ending}`)
    const whole = await gathered(one.name, messages)
    assert.equal(textOf(whole), textOf(await create(one.name, messages)))
    assert.equal(whole.stop_reason, 'end_turn')
    counted(one, whole.usage)
  }
}

async function tools({ name }) {
  const messages = asking(`Weather? ${mark()}`)
  for (const ask of [create, gathered]) {
    const message = await ask(name, messages, { tools: TOOLS })
    assert.equal(message.stop_reason, 'tool_use')
    const calls = callsOf(message)
    assert.equal(calls.length, 1)
    assert.equal(calls[0].name, 'get_weather')
    assert.deepEqual(calls[0].input, { city: CITY })
    const result = { type: 'tool_result', tool_use_id: calls[0].id, content: '{"temp_c":-3}' }
    const history = [...messages, { role: 'assistant', content: message.content }, { role: 'user', content: [result] }]
    const last = await ask(name, history, { tools: TOOLS })
    assert.equal(last.stop_reason, 'end_turn')
    assert.ok(textOf(last).startsWith('The tools said: ') && textOf(last).includes('-3'), textOf(last))
  }
}

async function parallel({ name }) {
  for (const ask of [create, gathered]) {
    const calls = callsOf(await ask(name, asking(`in parallel, please ${mark()}`), { tools: TOOLS }))
    assert.deepEqual(calls.map((call) => call.input.city), [CITY, '北京 "quoted"'])
    assert.equal(new Set(calls.map((call) => call.id)).size, 2)
  }
}

async function vision({ name }) {
  const text = `What is it? ${mark()}`
  const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PICTURE_BASE64 } }
  const messages = [{ role: 'user', content: [image, { type: 'text', text }] }]
  const understood = facts(textOf(await create(name, messages)))
  assert.deepEqual(understood.pictures, [SEEN])
  assert.equal(understood.user, text)
  assert.deepEqual(facts(textOf(await gathered(name, messages))), understood)
}

async function fails(model, kind, status, word) {
  for (const stream of [false, true]) {
    const marker = mark()
    const error = await raises(kind, status, () => create(model, asking(marker), { stream }))
    assert.equal(error.error.type, 'error')
    if (word) assert.equal(error.error.error.type, word)
    assert.ok(error.requestID, 'request-id is where the SDK looks')
    assert.ok(!/internal|10\.1\.2\.3/.test(error.error.error.message), error.message)
    assert.equal((await arrived(marker)).length, 1)
  }
}

async function breaks(model) {
  let text = ''
  let error
  try {
    for await (const event of await create(model, asking(mark()), { stream: true })) {
      if (event.type === 'content_block_delta') text += event.delta.text ?? ''
    }
  } catch (caught) {
    error = caught
  }
  assert.ok(error instanceof Anthropic.APIError, `${error} was raised`)
  assert.ok(text && 'Understood'.startsWith(text.slice(0, 10)), text)
}

async function retried(model, least) {
  const marker = mark()
  const began = performance.now()
  const reply = await sdk({ maxRetries: 2 }).messages.create({ model, messages: asking(marker), max_tokens: 500 })
  assert.equal(facts(textOf(reply)).user, marker)
  assert.equal((await arrived(marker)).length, 2)
  assert.ok(performance.now() - began >= least, `${performance.now() - began} ms`)
}

async function notRetried(model) {
  const marker = mark()
  const call = () => sdk({ maxRetries: 2 }).messages.create({ model, messages: asking(marker), max_tokens: 500 })
  await raises(Anthropic.InternalServerError, 502, call)
  assert.equal((await arrived(marker)).length, 1, 'an operator has to act, and the SDK tried again')
}

const KINDS = {
  400: errors.BadRequestError,
  404: errors.NotFoundError,
  422: errors.UnprocessableEntityError,
  429: errors.RateLimitError,
  502: errors.InternalServerError,
  503: errors.ServiceUnavailableError,
  504: errors.GatewayTimeoutError,
  529: errors.OverloadedError,
}
const FAULTS = [
  ['400', 400, 'invalid_request_error'],
  ['context', 400, 'invalid_request_error'],
  ['401', 502, 'api_error'],
  ['403', 502, 'api_error'],
  ['404', 404, 'not_found_error'],
  ['429', 429, 'rate_limit_error'],
  ['quota', 429],
  ['filter', 400, 'invalid_request_error'],
  ['500', 502, 'api_error'],
  ['overloaded', 529, 'overloaded_error'],
  ['504', 504, 'timeout_error'],
  ['html-500', 502, 'api_error'],
  ['html-200', 502, 'api_error'],
  ['hang-up', 502, 'api_error'],
  ['stall-before', 504, 'timeout_error'],
]

const checks = new Checks()

async function check(one) {
  const { vendor, lacks, faults, says } = one
  for (const check of [plain, stream, tools, parallel, vision]) {
    if (!lacks.includes(check.name)) await checks.run(`${vendor} ${check.name}`, () => check(one))
  }
  for (const [fault, usual, word] of FAULTS) {
    const said = says[fault]
    if (said?.length === 0) continue
    const other = said && KINDS[said[0]] !== KINDS[usual]
    const status = other ? said[0] : usual
    await checks.run(`${vendor} fault ${fault}`, () => fails(faults[fault], KINDS[status], status, other ? undefined : word))
  }
  for (const fault of ['in-band', 'malformed', 'truncated', 'cut', 'stall-after']) {
    await checks.run(`${vendor} stream ${fault}`, () => breaks(faults[fault]))
  }
  await checks.run(`${vendor} retry after 429`, () => retried(faults['once-429-retry-after-1'], one.hints ? 1000 : 300))
  await checks.run(`${vendor} no retry of 401`, () => notRetried(faults['401']))
  const call = () => sdk({ timeout: 400 }).messages.create({ model: one.patient, messages: asking(mark()), max_tokens: 500 })
  await checks.run(`${vendor} client's timeout`, () => raises(Anthropic.APIConnectionTimeoutError, undefined, call))
}

// Some vendors side by side: most of it is waiting.
const waiting = [...plan.interfaces]
const next = async () => {
  while (waiting.length) await check(waiting.shift())
}
await Promise.all([next(), next(), next(), next()])
const model = plan.interfaces[0].name
const ask = (more) => () => sdk(more).messages.create({ model, messages: asking('x'), max_tokens: 500 })
await checks.run('bad token', () => raises(Anthropic.AuthenticationError, 401, ask({ apiKey: 'garbage' })))
await checks.run('no scope', () => raises(Anthropic.PermissionDeniedError, 403, ask({ apiKey: plan.narrow_token })))
await checks.run('no interface', () => raises(Anthropic.NotFoundError, 404, () => create('no-such-model', asking('x'))))
await checks.run('nobody there', () => raises(Anthropic.APIConnectionError, undefined, ask({ baseURL: plan.nobody })))
checks.report()
