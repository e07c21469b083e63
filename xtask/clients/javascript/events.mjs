// Sends events by the CloudEvents SDK for JavaScript, in each mode that it has, and by OpenMeter's client.

import assert from 'node:assert/strict'
import { OpenMeter } from '@openmeter/sdk'
import { CloudEvent, HTTP, Mode, emitterFor, httpTransport } from 'cloudevents'

const { WEIR_SERVER: server, WEIR_KEY: key } = process.env
const authorization = `Bearer ${key}`
// One moment of today, so that a second run sends the same events.
const midnight = new Date(new Date().setUTCHours(0, 0, 0, 0))

const attributes = (id, subject, data) => ({
  type: 'com.example.analysis',
  source: 'https://nvr.example/lobby',
  id,
  subject,
  time: midnight.toISOString(),
  datacontenttype: 'application/json',
  data,
})

const post = async ({ headers, body }) => {
  const answer = await fetch(`${server}/v1/events`, { method: 'POST', headers: { ...headers, authorization }, body })
  return [answer.status, await answer.text()]
}

const send = async (event) => {
  assert.deepEqual(await post(HTTP.structured(event)), [204, ''])
  assert.deepEqual(await post(HTTP.binary(event)), [204, ''])
  for (const mode of [Mode.BINARY, Mode.STRUCTURED]) {
    const emit = emitterFor(httpTransport(`${server}/v1/events`), { mode })
    assert.equal((await emit(event, { headers: { authorization } })).body, '')
  }
}

await send(new CloudEvent(attributes('shared-1', 'gate', { tokens: 11 })))
await send(new CloudEvent(attributes('javascript-1', 'gate', { tokens: 400, network: 'gate' })))
for (const [camera, network, expected] of [['roof', 'gate', 404], ['yard', 'garden', 409]]) {
  const [status] = await post(HTTP.structured(new CloudEvent(attributes('refused', camera, { tokens: 1, network }))))
  assert.equal(status, expected)
}

const openmeter = new OpenMeter({ baseUrl: server, apiKey: key })
const event = (id, subject, data) => ({ ...attributes(id, subject, data), time: midnight })
await openmeter.events.ingest(event('shared \u00e9 \u20ac', 'yard', { tokens: 100, kind: 'video_search' }))
const own = [event('openmeter-1', 'gate', { tokens: 200, network: 'gate' }), event('openmeter-2', 'yard', { tokens: 400 })]
await openmeter.events.ingest(own)
await assert.rejects(
  openmeter.events.ingest([...own, event('refused', 'roof', { tokens: 1 })]),
  ({ status, title }) => status === 422 && title === 'events refused',
)
console.log('the CloudEvents SDK for JavaScript and OpenMeter\u2019s client: sent')
