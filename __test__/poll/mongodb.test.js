'use strict'

// A standalone mongod: polled, and over to its change stream once it is a replica set.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { ObjectId } = require('mongodb')
const { refusal } = require('../support/collect')
const { eventually } = require('../support/servers')
const { standalone } = require('../support/standalone')
const { assertOnce, inState, poll, rebuilt, recorder } = require('../support/polling')

/** @type {Awaited<ReturnType<typeof standalone>>} */
let server
before(async () => {
  server = await standalone()
})
after(() => server?.remove())

test('new documents are seen by their ids, named fields show changes, and the rest is said', async () => {
  const db = server.client.db('shop')
  await db.collection('plain').insertOne({ n: 0 })
  await db.collection('named').createIndex({ 'meta.at': 1 })
  await db.collection('texts').insertOne({ _id: /** @type {any} */ ('a'), n: 1 })
  const { logger, warnings } = recorder()
  const columns = { 'shop.named': 'meta.at' }
  const seen = await poll(server.url('shop'), { poll: { columns, sweepMs: 100 } }, { logger })
  assert.equal(seen.streamer.health().sources.default.state, 'polling')
  await eventually(() => warnings().some(text => /standalone/.test(text) && /polled/.test(text)))
  await eventually(() => warnings().some(text => /only new rows are seen.*shop\.plain/.test(text)))

  const { insertedId } = await db.collection('plain').insertOne({ n: 1 })
  await db.collection('named').insertOne({ _id: /** @type {any} */ (1), v: 1, meta: { at: new Date() } })
  await seen.until(() => seen.changes.length >= 2, 'both documents')
  const plain = seen.changes.find(({ table }) => table === 'plain')
  assert.deepEqual(
    [plain.op, plain.key._id, plain.transaction, plain.before],
    ['insert', insertedId, null, null]
  )
  assert.deepEqual(plain.after, { _id: insertedId, n: 1 })

  await db
    .collection('named')
    .updateOne({ _id: /** @type {any} */ (1) }, { $set: { v: 2 }, $currentDate: { 'meta.at': true } })
  // Made by a clock that is behind, and written late.
  const late = ObjectId.createFromTime(Math.floor(Date.now() / 1000) - 1)
  await db.collection('plain').insertOne({ _id: late, n: 2 })
  await db.collection('texts').updateOne({ _id: /** @type {any} */ ('a') }, { $set: { n: 2 } })
  await seen.until(() => seen.changes.length >= 5, 'the changes')
  await db.collection('plain').deleteOne({ _id: insertedId })
  await db.collection('named').deleteOne({ _id: /** @type {any} */ (1) })
  await db.collection('texts').deleteOne({ _id: /** @type {any} */ ('a') })
  await seen.until(() => seen.changes.filter(({ op }) => op === 'delete').length >= 3, 'the deletes')
  assert.equal(seen.changes.length, 8)
  const updated = seen.changes.find(({ table, after }) => table === 'named' && after?.v === 2)
  assert.deepEqual([updated.op, updated.changed], ['update', null])
  assert.ok(
    seen.changes.some(({ op, table, after }) => op === 'update' && table === 'texts' && after.n === 2)
  )
  assertOnce(seen.changes)
  await seen.stop()
})

for (const log of /** @type {const} */ (['change-stream', 'oplog'])) {
  test(`when it is made a replica set, its ${log} takes over, and nothing is missed`, async t => {
    const server = await standalone()
    t.after(() => server.remove())
    await moves(server, log)
  })
}

/** @param {Awaited<ReturnType<typeof standalone>>} server @param {'change-stream' | 'oplog'} log */
async function moves(server, log) {
  const refused = await refusal({ source: { url: server.url('moving'), log, capture: 'log' } })
  assert.equal(refused.details.logUnavailable, true, refused.message)
  const collection = server.client.db('moving').collection('t')
  await collection.insertOne({ n: 0 })
  const reconnect = { initialMs: 20, maxMs: 200 }
  const seen = await poll(server.url('moving'), { log }, { reconnect })
  assert.equal(seen.streamer.health().sources.default.state, 'polling')
  let isOver = false
  const written = new Map()
  const writing = (async () => {
    for (let n = 1; !isOver; n++) {
      const _id = new ObjectId()
      const tries = async () => {
        const filter = { _id }
        await collection.updateOne(filter, { $set: { n } }, { upsert: true })
        return true
      }
      await eventually(tries, { what: 'a write', deadlineMs: 60_000 })
      written.set(_id.toHexString(), n)
    }
  })()
  await seen.until(() => seen.changes.length > 20, 'polled documents')
  await server.becomeSet()
  await inState(seen, 'streaming')
  const reached = written.size
  await eventually(() => written.size > reached + 50)
  isOver = true
  await writing
  await seen.until(() => rebuilt(seen.changes).size >= written.size, 'all documents')
  const found = new Map([...rebuilt(seen.changes).values()].map(({ _id, n }) => [_id.toHexString(), n]))
  assert.deepEqual(found, written)
  await collection.updateOne({ n: written.size }, { $set: { n: -1 } })
  await seen.until(() => seen.changes.at(-1)?.op === 'update', 'an update, which only the log tells of')
  assert.deepEqual(seen.gaps, [])
  await seen.stop()
}
