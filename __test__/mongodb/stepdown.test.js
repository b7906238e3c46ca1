'use strict'

// A replica set of three whose primary steps down again and again under load: what a live process is given is exactly what the
// set holds in the end, each document once and in the order of the log. STREAMER_STEPDOWNS sets the count (default 3).

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { collect } = require('../support/collect')
const { freshMongodb, urlOf } = require('../support/mongodb')
const { eventually, openKit } = require('../support/servers')

const STEPDOWNS = Number(process.env.STREAMER_STEPDOWNS ?? 3)
const WRITERS = 4

/** @type {Awaited<ReturnType<typeof openKit>>} */
let kit
before(async () => {
  kit = await openKit()
})
after(() => kit?.close())

/** Lets the primary step down; resolves when another member takes writes. @param {import('mongodb').MongoClient} client */
async function stepDown(client) {
  const admin = client.db('admin')
  const primary = async () => (await admin.command({ hello: 1 }, { readPreference: 'primary' })).primary
  const old = await primary()
  const changed = async () => (await primary()) !== old
  await eventually(
    async () => {
      // Refused while no secondary has caught up; the connection may break although it was heard.
      await admin.command({ replSetStepDown: 20, secondaryCatchUpPeriodSecs: 10 }).catch(() => {})
      return eventually(changed, { deadlineMs: 10_000, what: 'another primary' })
    },
    { deadlineMs: 60_000, what: `${old} to step down` }
  )
}

/**
 * Inserts, updates, deletes and transactions until told to stop. A write that fails may have happened or not; it is not repeated.
 * @param {Awaited<ReturnType<typeof freshMongodb>>} database @param {number} writer
 */
function load({ client, db }, writer) {
  let isRunning = true
  const acknowledged = []
  const failed = []
  const done = (async () => {
    for (let n = 0; isRunning; n++) {
      const _id = /** @type {any} */ (`${writer}:${n}`)
      try {
        if (n % 10 === 9) {
          await client.withSession(session =>
            session.withTransaction(async () => {
              for (const part of ['a', 'b', 'c']) {
                await db
                  .collection(`c${writer}`)
                  .insertOne({ _id: /** @type {any} */ (`${_id}${part}`) }, { session })
              }
            })
          )
          acknowledged.push(...['a', 'b', 'c'].map(part => `${_id}${part}`))
        } else {
          await db.collection(`c${writer}`).insertOne({ _id, n })
          acknowledged.push(_id)
          if (n % 3 === 0) await db.collection(`c${writer}`).updateOne({ _id }, { $inc: { n: 1 } })
        }
      } catch (error) {
        failed.push(error)
      }
    }
  })()
  return {
    acknowledged,
    failed,
    async stop() {
      isRunning = false
      await done
    },
  }
}

for (const [log, readPreference] of [
  ['change-stream', 'primary'],
  ['change-stream', 'secondary'],
  ['oplog', 'primary'],
]) {
  test(`${STEPDOWNS} step-downs under load: nothing lost, nothing doubled, reading the ${log} of a ${readPreference}`, async t => {
    const server = await kit.mongodb({ members: 3 })
    const database = await freshMongodb(server)
    const url = `${urlOf(server.url, database.name)}&readPreference=${readPreference}`
    for (let w = 0; w < WRITERS; w++) await database.db.createCollection(`c${w}`)
    const seen = await collect({ source: { url, log } })
    const writers = Array.from({ length: WRITERS }, (_, w) => load(database, w))
    for (let i = 0; i < STEPDOWNS; i++) {
      const reached = seen.changes.length + 50
      await seen.until(() => seen.changes.length >= reached, `changes before step-down ${i + 1}`)
      await stepDown(database.client)
    }
    const reached = seen.changes.length + 50
    await seen.until(() => seen.changes.length >= reached, 'changes behind the last step-down')
    for (const writer of writers) await writer.stop()
    await eventually(() => database.db.collection('finished').insertOne({}), { what: 'the last write' })
    await seen.until(() => seen.changes.at(-1)?.table === 'finished', 'the last change')
    await seen.stop()

    assert.deepEqual(seen.gaps, [])
    assert.deepEqual(seen.errors, [])
    assert.equal(new Set(seen.changes.map(({ id }) => id)).size, seen.changes.length, 'a change came twice')
    const acknowledged = writers.flatMap(writer => writer.acknowledged)
    for (let w = 0; w < WRITERS; w++) {
      const changes = seen.changes.filter(({ table }) => table === `c${w}`)
      const inserts = changes.filter(({ op }) => op === 'insert')
      const held = new Map()
      for (const { op, key, after: image, update } of changes) {
        if (op === 'insert') assert.ok(!held.has(key._id), `${key._id} was inserted twice`)
        held.set(key._id, op === 'insert' ? { ...image } : { ...held.get(key._id), ...update.updatedFields })
      }
      const found = await database.db.collection(`c${w}`).find().toArray()
      assert.deepEqual(held, new Map(found.map(document => [document._id, document])), `c${w} differs`)
      // One writer writes one document after the other.
      const order = inserts.map(({ key }) => Number(/:(\d+)/.exec(key._id)[1]))
      assert.deepEqual(
        order,
        order.toSorted((a, b) => a - b),
        `c${w} is out of order`
      )
    }
    const delivered = new Set(seen.changes.map(({ key }) => key?._id))
    const lost = acknowledged.filter(id => !delivered.has(id))
    assert.deepEqual(lost, [])
    const failures = writers.reduce((sum, { failed }) => sum + failed.length, 0)
    t.diagnostic(
      `${STEPDOWNS} step-downs, ${seen.changes.length} changes, ${acknowledged.length} acknowledged, ${failures} failed writes, ${seen.disconnects.length} disconnects`
    )
    await database.drop()
    await server.remove()
  })
}
