// Receives webhooks, and verifies them with the library of Standard Webhooks: under each secret that it is given, and not when changed.

import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import { Webhook } from 'standardwebhooks'

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

const server = createServer(async (request, answer) => {
  let body = ''
  for await (const part of request.setEncoding('utf8')) body += part
  const secrets = (await lines.next()).value.split(' ')
  let type
  for (const secret of secrets) {
    type = new Webhook(secret).verify(body, request.headers).type
    assert.throws(() => new Webhook(secret).verify(`${body} `, request.headers))
  }
  answer.writeHead(204).end()
  console.log('verified', type, secrets.length)
})

server.listen(0, '127.0.0.1', () => console.log('listening', server.address().port))
