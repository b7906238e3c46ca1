'use strict'

// What may not be lost, doubled or invented in silence: images that are required, names that a pipeline changes, the end of a
// transaction, a place that the server has lost, and the word of a member that lags.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { after, before, describe, test } = require('node:test')
const { MongoClient } = require('mongodb')
const { Streamer } = require('../..')
const { collect } = require('../support/collect')
const { endFailing, fail, freshMongodb, urlOf } = require('../support/mongodb')
const { eventually, openKit } = require('../support/servers')

/** @type {Awaited<ReturnType<typeof openKit>>} */
let kit
/** @type {import('../support/servers').Server} */
let server
/** @type {string} */
let folder
before(async () => {
  kit = await openKit()
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'streamer-promises-'))
  server = await kit.mongodb({ args: ['--setParameter', 'enableTestCommands=1'] })
})
after(async () => {
  await kit?.close()
  fs.rmSync(folder, { recursive: true, force: true })
})

const ids = changes => changes.map(change => change.key?._id)

describe('images that are required', () => {
  const images = { fullDocument: 'required', fullDocumentBeforeChange: 'required' }
  const keep = (db, enabled) =>
    db.command(
      { collMod: 't', changeStreamPreAndPostImages: { enabled } },
      { writeConcern: { w: 'majority' } }
    )

  /** Updates with and without images. @param {any} options */
  async function updates(options) {
    const database = await freshMongodb(server)
    const { db, name } = database
    await db.createCollection('t', { changeStreamPreAndPostImages: { enabled: true } })
    const t = db.collection('t')
    await t.insertOne({ _id: 1, n: 0 })
    const seen = await collect({ source: { url: database.url, ...images, ...options } })
    const set = n => t.updateOne({ _id: 1 }, { $set: { n } })
    await set(1)
    await keep(db, false)
    await set(2)
    await set(3)
    await keep(db, true)
    await set(4)
    await seen.until(() => seen.changes.some(change => change.after?.n === 4), 'the last update')
    await seen.stop()
    await database.drop()
    assert.deepEqual([seen.errors, seen.disconnects], [[], []])
    for (const { reason, tables, from, to } of seen.gaps) {
      assert.deepEqual([reason, tables], ['undecodable', [`${name}.t`]])
      assert.ok(from && to)
    }
    return seen
  }

  test('a change whose image was not kept arrives without it, followed by a gap, and reading goes on', async () => {
    const seen = await updates({})
    const brief = seen.changes.map(({ before, after }) => [before?.n, after?.n])
    assert.equal(seen.changes.length, 4)
    assert.deepEqual(
      [brief[0], brief[3]],
      [
        [0, 1],
        [3, 4],
      ]
    )
    for (const change of seen.changes.slice(1, 3)) {
      assert.deepEqual([change.before, change.changed, change.key], [null, ['n'], { _id: 1 }])
    }
    assert.ok(seen.gaps.length === 1 || seen.gaps.length === 2, `${seen.gaps.length} gaps`)
  })

  test('with a pipeline, which cannot judge it, only the gap arrives', async () => {
    const seen = await updates({ pipeline: [{ $match: { 'fullDocument.n': { $gte: 1 } } }] })
    assert.deepEqual(
      seen.changes.map(({ before, after }) => [before?.n, after?.n]),
      [
        [0, 1],
        [3, 4],
      ]
    )
    assert.ok(seen.gaps.length >= 1)
  })
})

test('a pipeline that gives changes a name that is not watched is refused, not obeyed in silence', async () => {
  const database = await freshMongodb(server)
  const pipeline = [{ $set: { 'ns.coll': 'elsewhere' } }]
  const streamer = new Streamer({ source: { url: database.url, tables: ['t'], pipeline } })
  const changes = []
  const failed = new Promise(resolve => streamer.on('error', resolve))
  streamer.on('change', change => changes.push(change))
  await streamer.start()
  await database.db.collection('t').insertOne({ x: 1 })
  const error = await failed
  assert.equal(error.code, 'ERR_STREAMER_CONFIG_INVALID')
  assert.match(error.message, /`pipeline` removes or changes the field ns/)
  assert.deepEqual(changes, [])
  await streamer.stop()
  await database.drop()
})

test('the last change of a transaction says so, also where nothing follows it', async () => {
  const database = await freshMongodb(server)
  const { client, db } = database
  for (const table of ['t', 'u']) await db.createCollection(table)
  const seen = await collect(database.url)
  let count = 0
  for (const size of [1, 2, 5, 300]) {
    await client.withSession(session =>
      session.withTransaction(async () => {
        for (let n = 0; n < size; n++) await db.collection(n % 2 ? 't' : 'u').insertOne({ n }, { session })
      })
    )
    count += size
    await seen.until(() => seen.changes.length >= count, `a transaction of ${size}`)
    const lasts = seen.changes.slice(-size).map(change => change.transaction?.last)
    assert.deepEqual(lasts, [...Array(size - 1).fill(false), true], `of ${size}`)
  }
  // Questions that were asked for it leave no cursor behind.
  const cursors = async () =>
    (await client.db('admin').command({ serverStatus: 1 })).metrics.cursor.open.total
  await eventually(async () => Number(await cursors()) <= 3, { what: 'the cursors to be gone' })
  await seen.stop()
  await database.drop()
})

describe('a place that the server has lost', () => {
  /** A database whose next stream finds its history gone, and the position of its first row. */
  async function lost() {
    const database = await freshMongodb(server)
    const t = database.db.collection('t')
    const checkpoint = path.join(folder, database.name)
    const first = await collect({ source: database.url, checkpoint })
    await t.insertOne({ _id: /** @type {any} */ (1) })
    await first.until(() => first.changes.length >= 1, 'the row')
    await first.stop()
    await t.insertOne({ _id: /** @type {any} */ (2) })
    return { database, checkpoint, t, position: first.changes[0].position }
  }
  const lose = client => fail(client, { failCommands: ['aggregate'], errorCode: 286 })

  test('ends a source that was not told where to go on, at each start', async () => {
    const { database, checkpoint, position } = await lost()
    for (let start = 0; start < 2; start++) {
      await lose(database.client)
      const streamer = new Streamer({ source: database.url, checkpoint })
      const gaps = []
      streamer.on('gap', gap => gaps.push([gap.reason, gap.tables]))
      streamer.on('error', () => {})
      const failed = new Promise(resolve => streamer.once('error', resolve))
      const error = await streamer.start().then(
        () => failed,
        reason => reason
      )
      assert.equal(error.code, 'ERR_STREAMER_POSITION_LOST')
      await streamer.stop()
      assert.equal(await endFailing(database.client), 1)
      assert.deepEqual(gaps, [['history-lost', '*']])
    }
    // The checkpoint stays: with the history back, nothing is missing.
    const seen = await collect({ source: database.url, checkpoint })
    await seen.until(() => seen.changes.length >= 1, 'what was written meanwhile')
    assert.deepEqual([ids(seen.changes), seen.gaps], [[2], []])
    assert.notEqual(seen.changes[0].position, position)
    await seen.stop()
    await database.drop()
  })

  test('is one gap, behind which reading goes on at `now` where `from` says so', async () => {
    const { database, checkpoint, t } = await lost()
    await lose(database.client)
    const seen = await collect({ source: { url: database.url, from: 'now' }, checkpoint })
    await t.insertOne({ _id: /** @type {any} */ (3) })
    await seen.until(() => seen.changes.length >= 1, 'the new row')
    assert.deepEqual([ids(seen.changes), seen.gaps.map(gap => gap.reason)], [[3], ['history-lost']])
    await seen.stop()
    assert.equal(await endFailing(database.client), 1)
    await database.drop()
  })

  test('is one gap, behind which reading goes on with the oldest operation for `earliest` and for a position', async () => {
    for (const from of ['earliest', 'position']) {
      const { database, checkpoint, t, position } = await lost()
      await lose(database.client)
      const source = { url: database.url, from: from === 'position' ? position : from }
      const seen = await collect({ source, ...(from === 'earliest' ? { checkpoint } : {}) })
      await t.insertOne({ _id: /** @type {any} */ (3) })
      await seen.until(() => ids(seen.changes).includes(3), 'the new row')
      // What the server still has comes again, with the ids that it had.
      assert.deepEqual(ids(seen.changes), [1, 2, 3], from)
      assert.deepEqual(
        seen.gaps.map(gap => [gap.reason, gap.from]),
        [['history-lost', position]],
        from
      )
      await seen.stop()
      await database.drop()
    }
  })
})

test('a secondary that replicates no more vouches for nothing: the source is degraded, and healthy again behind it', async () => {
  const set = await kit.mongodb({ members: 3, args: ['--setParameter', 'enableTestCommands=1'] })
  const database = await freshMongodb(set)
  const { hosts, primary } = await database.client.db('admin').command({ hello: 1 })
  const secondaries = await Promise.all(
    hosts
      .filter(host => host !== primary)
      .map(host => MongoClient.connect(`mongodb://${host}/?directConnection=true`))
  )
  const apply = mode =>
    Promise.all(
      secondaries.map(client =>
        client.db('admin').command({ configureFailPoint: 'rsSyncApplyStop', mode: mode ? 'off' : 'alwaysOn' })
      )
    )
  const t = database.db.collection('t')
  await t.insertOne({ _id: /** @type {any} */ (1) })
  const url = `${urlOf(set.url, database.name)}&readPreference=secondary`
  const seen = await collect({ source: url, heartbeat: { intervalMs: 200, timeoutMs: 1500 } })
  const health = () => seen.streamer.health()
  await eventually(() => health().status === 'healthy', { what: 'a healthy source' })
  await apply(false)
  await t.insertOne({ _id: /** @type {any} */ (2) }, { writeConcern: { w: 1 } })
  await eventually(() => health().status === 'degraded', { what: 'the standstill to be noticed' })
  assert.ok(Number(health().sources.default.freshUntil) <= Date.now() - 1000, 'its word stands still')
  assert.deepEqual(seen.changes, [])
  await apply(true)
  await seen.until(() => seen.changes.length === 1, 'the row')
  await eventually(() => health().status === 'healthy', { what: 'a healthy source again' })
  await seen.stop()
  for (const client of secondaries) await client.close()
  await database.drop()
  await set.remove()
})
