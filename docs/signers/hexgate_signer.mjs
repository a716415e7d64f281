// Signs requests to Hexgate's gateway with an access key (docs/access-keys.md). Needs Node.js alone.
//
// As a library:
//
//   const headers = sign({ keyId, secret, method: 'POST', url, body });
//   await fetch(url, { method: 'POST', headers, body });
//
// As a program, with HEXGATE_ACCESS_KEY and HEXGATE_SECRET in the environment, it sends a request and prints the reply:
//
//   node hexgate_signer.mjs POST https://gateway.example/v1/chat/completions request.json

import { createHash, createHmac, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const SCHEME = 'HEXGATE-HMAC-SHA256';

const sha256 = (data) => createHash('sha256').update(data).digest('hex');

/** RFC 3986: what is encoded is decoded once, then all but unreserved characters are encoded. */
function encode(text) {
  if (/%(?![0-9A-Fa-f]{2})/.test(text)) throw new Error('a percent sign begins no encoding; write %25');
  const bytes = [];
  for (const piece of text.split(/(%[0-9A-Fa-f]{2})/)) {
    if (piece.startsWith('%')) bytes.push(Number.parseInt(piece.slice(1), 16));
    else bytes.push(...Buffer.from(piece, 'utf8'));
  }
  const unreserved = /[A-Za-z0-9\-._~]/;
  return bytes
    .map((byte) => {
      const letter = String.fromCharCode(byte);
      return unreserved.test(letter) ? letter : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    })
    .join('');
}

export function canonicalPath(path) {
  const [before, ...segments] = (path || '/').split('/').map(encode);
  const empty = segments.slice(0, -1).includes('');
  if (before !== '' || empty || segments.includes('.') || segments.includes('..')) {
    throw new Error('the path must begin with a slash and have no dot segments and no empty ones');
  }
  if (segments.some((segment) => /%(2F|5C|7F|[01][0-9A-F])/.test(segment))) {
    throw new Error('the path has an encoded slash, backslash or control character');
  }
  return `/${segments.join('/')}`;
}

export function canonicalQuery(query) {
  if (query.includes('+')) throw new Error('the query has a plus sign; write %20 or %2B');
  const pairs = query
    .split('&')
    .filter((parameter) => parameter !== '')
    .map((parameter) => {
      const at = parameter.indexOf('=');
      return at < 0
        ? [encode(parameter), '']
        : [encode(parameter.slice(0, at)), encode(parameter.slice(at + 1))];
    });
  // The sort is stable: parameters of one name keep their order.
  pairs.sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0));
  return pairs.map(([name, value]) => `${name}=${value}`).join('&');
}

/** `url` is taken as it is written: path and query go over the wire like that. */
function split(url) {
  const [, host, path, query] = /^https?:\/\/(?:[^/?#@]*@)?([^/?#]+)([^?#]*)(?:\?([^#]*))?/i.exec(url);
  return { host: host.toLowerCase(), path, query: query ?? '' };
}

/** `headers` are those to be signed, names in lower case. */
export function canonicalRequest(method, url, headers) {
  const { path, query } = split(url);
  const names = Object.keys(headers).sort();
  const lines = names.map((name) => `${name}:${headers[name].replace(/^[ \t]+|[ \t]+$/g, '')}`);
  return [method, canonicalPath(path), canonicalQuery(query), ...lines, '', names.join(';')].join('\n');
}

export function stringToSign(keyId, date, expires, canonical) {
  return [SCHEME, date, String(expires), keyId, sha256(canonical)].join('\n');
}

/** The headers to send: those given, which are signed too, and the signature's own. */
export function sign({ keyId, secret, method, url, body = '', headers = {}, expires = 300, date, nonce }) {
  const signed = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  signed.host = split(url).host;
  signed['x-hexgate-date'] = date ?? `${new Date().toISOString().slice(0, 19)}Z`;
  signed['x-hexgate-nonce'] = nonce ?? randomBytes(16).toString('hex');
  signed['x-hexgate-content-sha256'] = sha256(body);
  const canonical = canonicalRequest(method, url, signed);
  const text = stringToSign(keyId, signed['x-hexgate-date'], expires, canonical);
  const signature = createHmac('sha256', secret).update(text).digest('hex');
  const names = Object.keys(signed).sort().join(';');
  return {
    ...signed,
    authorization: `${SCHEME} Credential=${keyId}, Expires=${expires}, SignedHeaders=${names}, Signature=${signature}`,
  };
}

async function main(method, url, bodyFile) {
  const body = bodyFile ? readFileSync(bodyFile) : undefined;
  const headers = sign({
    keyId: process.env.HEXGATE_ACCESS_KEY,
    secret: process.env.HEXGATE_SECRET,
    method,
    url,
    body,
    headers: body ? { 'content-type': 'application/json' } : {},
  });
  const reply = await fetch(url, { method, headers, body });
  console.log(reply.status);
  console.log(await reply.text());
  process.exitCode = reply.ok ? 0 : 1;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await main(...process.argv.slice(2));
}
