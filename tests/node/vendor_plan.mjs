// What vendors_*.mjs share: the plan, the marks in requests, and checks that go on after one failed.
import assert from 'node:assert/strict'
import { createHash, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'

export const plan = JSON.parse(readFileSync(process.env.HEXGATE_VENDORS, 'utf8'))

// Letters of two and more bytes: a stream is cut within them.
export const CITY = 'Zürich'
export const USAGE = { input: 30, output: 12 }
const noise = Array.from({ length: 256 }, (_, byte) => createHash('sha256').update(Buffer.from([byte])).digest())
const PICTURE = Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), ...Array(6).fill(noise).flat()])
export const SEEN = `${PICTURE.length}:${createHash("sha256").update(PICTURE).digest("hex").slice(0, 12)}`
export const PICTURE_BASE64 = PICTURE.toString('base64')
export const WEATHER = {
  type: 'object',
  properties: { city: { type: 'string' }, unit: { type: 'string', enum: ['c', 'f'] } },
  required: ['city'],
}

export const mark = () => randomUUID().replaceAll('-', '')

// The requests that reached the vendor with that mark in them.
export async function arrived(marker) {
  const reply = await fetch(`${plan.control}/calls?marker=${marker}`)
  return (await reply.json()).calls
}

// What the vendor says it understood.
export function facts(text) {
  assert.ok(text?.startsWith('Understood {') && text.endsWith('} — 你好, wörld 🙂'), text)
  return JSON.parse(text.slice('Understood '.length, text.lastIndexOf(' — ')))
}

// The SDK's own exception, of exactly that type.
export async function raises(kind, status, call) {
  let error
  try {
    await call()
  } catch (caught) {
    error = caught
  }
  assert.ok(error, `${kind.name} was not raised`)
  assert.equal(error.constructor.name, kind.name, `${error.constructor.name} in place of ${kind.name}: ${error.message}`)
  if (status) assert.equal(error.status, status, error.message)
  return error
}

// Runs checks and remembers which failed.
export class Checks {
  passed = 0
  failed = []

  async run(name, check) {
    try {
      await check()
      this.passed += 1
    } catch (error) {
      const line = /vendors_\w+\.mjs:(\d+)/.exec(error.stack)?.[1]
      this.failed.push(`${name}: ${error.constructor.name} (line ${line}): ${String(error.message).slice(0, 600)}`)
    }
  }

  report() {
    console.log(`${this.passed} passed, ${this.failed.length} failed`)
    console.log(this.failed.join("\n"))
    process.exit(this.failed.length ? 1 : 0)
  }
}
