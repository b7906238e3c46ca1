'use strict'

// Cached reads of MongoDB: what is kept, what drops it, who shares, and that nothing stale is ever given.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { Decimal128, Long, ObjectId } = require('mongodb')
const { Streamer } = require('../..')
const { freshMongodb } = require('../support/mongodb')
const { eventually, openKit } = require('../support/servers')

/** @type {Awaited<ReturnType<typeof openKit>>} */
let kit
/** @type {import('../support/servers').Server} */
let server
before(async () => {
  kit = await openKit()
  server = await kit.mongodb({ args: [] })
})
after(() => kit?.close())

/** A streamer with a cache over a new database. @param {(db: import('mongodb').Db) => Promise<unknown>} prepare @param {object} [source] */
async function cached(prepare, source = {}) {
  const database = await freshMongodb(server)
  await prepare(database.db)
  const streamer = new Streamer({
    source: { url: database.url, ...source },
    cache: {},
    heartbeat: { intervalMs: 100, timeoutMs: 5000 },
  })
  await streamer.start()
  const end = async () => {
    await streamer.stop()
    await database.drop()
  }
  return { db: database.db, name: database.name, streamer, end }
}

const isHit = async (streamer, ask) => {
  const { hits } = streamer.cache.stats()
  await ask()
  return streamer.cache.stats().hits === hits + 1
}

const warm = (streamer, ask) => eventually(() => isHit(streamer, ask), { what: 'a hit' })

/** Counts changes as they are delivered. @param {Streamer} streamer */
function counter(streamer) {
  const seen = { count: 0 }
  streamer.on('change', () => seen.count++)
  return { until: count => eventually(() => seen.count >= count, { what: `${count} events` }) }
}

test('an answer is kept until a document that it was made from changes', async () => {
  const { db, name, streamer, end } = await cached(db =>
    db.collection('t').insertMany(
      /** @type {any} */ ([
        { _id: 1, v: 'x' },
        { _id: 2, v: 'y' },
      ])
    )
  )
  const one = () => streamer.find('t', { _id: 1 })
  const float = () => streamer.find(`${name}.t`, { _id: { $in: [1, 7] } }, { projection: { _id: 0 } })
  const all = () => streamer.find('t', { v: { $exists: true } }, { sort: { _id: -1 }, limit: 1 })
  for (const ask of [one, float, all]) await warm(streamer, ask)
  assert.deepEqual(await float(), [{ v: 'x' }])
  const seen = counter(streamer)
  await db.collection('t').updateOne({ _id: /** @type {any} */ (2) }, { $set: { v: 'z' } })
  await seen.until(1)
  assert.equal(await isHit(streamer, one), true)
  assert.equal(await isHit(streamer, float), true)
  assert.equal(await isHit(streamer, all), false)
  assert.deepEqual(await all(), [{ _id: 2, v: 'z' }])
  await db.collection('t').replaceOne({ _id: /** @type {any} */ (1) }, { v: 'w' })
  await seen.until(2)
  assert.deepEqual(await one(), [{ _id: 1, v: 'w' }])
  await warm(streamer, one)
  await db.collection('t').deleteOne({ _id: /** @type {any} */ (1) })
  await seen.until(3)
  assert.deepEqual(await one(), [])
  await warm(streamer, one)
  await db.collection('t').insertOne({ _id: /** @type {any} */ (1), v: 'n' })
  await seen.until(4)
  assert.deepEqual(await one(), [{ _id: 1, v: 'n' }])
  await db.collection('t').drop()
  await seen.until(5)
  assert.deepEqual(await all(), [])
  await end()
})

test('an equality on another field is judged by images, and by the collection without them', async () => {
  for (const hasImages of [true, false]) {
    const source = hasImages
      ? { fullDocument: 'whenAvailable', fullDocumentBeforeChange: 'whenAvailable' }
      : {}
    const { db, streamer, end } = await cached(async db => {
      await db.createCollection('t', { changeStreamPreAndPostImages: { enabled: hasImages } })
      await db.collection('t').insertMany(
        /** @type {any} */ ([
          { _id: 1, tenant: 'a' },
          { _id: 2, tenant: 'b' },
          { _id: 3, tenant: ['c', 'd'] },
        ])
      )
    }, source)
    const of = tenant => () => streamer.find('t', { tenant })
    for (const tenant of ['a', 'b', 'c', 'd']) await warm(streamer, of(tenant))
    const seen = counter(streamer)
    await db.collection('t').updateOne({ _id: /** @type {any} */ (2) }, { $set: { n: 1 } })
    await seen.until(1)
    assert.equal(await isHit(streamer, of('a')), hasImages)
    assert.deepEqual(await of('b')(), [{ _id: 2, tenant: 'b', n: 1 }])
    await db.collection('t').updateOne({ _id: /** @type {any} */ (2) }, { $set: { tenant: 'a' } })
    await seen.until(2)
    assert.deepEqual(await of('b')(), [])
    assert.equal((await of('a')()).length, 2)
    await db
      .collection('t')
      .updateOne({ _id: /** @type {any} */ (3) }, { $push: { tenant: /** @type {any} */ ('e') } })
    await seen.until(3)
    for (const tenant of ['c', 'd', 'e']) assert.deepEqual((await of(tenant)())[0].tenant, ['c', 'd', 'e'])
    await end()
  }
})

test('1000 callers who miss the same thing share one query, and get documents of their own', async () => {
  const { db, streamer, end } = await cached(db =>
    db.collection('t').insertOne({ _id: /** @type {any} */ (1), v: 5 })
  )
  const ask = () => streamer.find('t', { _id: 1 })
  await warm(streamer, ask)
  await streamer.cache.clear()
  const queries = async () => (await db.admin().serverStatus()).opcounters.query
  const before = await queries()
  const { loads } = streamer.cache.stats()
  const answers = await Promise.all(Array.from({ length: 1000 }, ask))
  assert.equal(streamer.cache.stats().loads - loads, 1)
  assert.ok((await queries()) - before < 20, 'the server ran more queries than one')
  answers[0][0].v = 6
  assert.deepEqual(await ask(), [{ _id: 1, v: 5 }])
  await end()
})

test('documents are those of the stream', async () => {
  const { db, streamer, end } = await cached(db => db.createCollection('t'))
  const changes = []
  streamer.on('change', change => changes.push(change))
  const document = {
    _id: new ObjectId(),
    int: 1,
    float: 1.5,
    long: Long.fromString('9223372036854775807'),
    decimal: Decimal128.fromString('1.10'),
    date: new Date(0),
    text: 'ü😀',
    bytes: Buffer.from('00ff', 'hex'),
    nothing: null,
    list: [1, { a: [] }],
    pattern: /a/i,
  }
  await db.collection('t').insertOne(document)
  await eventually(() => changes.length === 1, { what: 'the event' })
  const ask = () => streamer.find('t', { _id: document._id })
  assert.deepEqual(await ask(), [changes[0].after])
  await warm(streamer, ask)
  assert.deepEqual(await ask(), [changes[0].after])
  assert.ok((await ask())[0]._id instanceof ObjectId)
  const many = Array.from({ length: 2500 }, (_, n) => ({ n }))
  await db.collection('t').insertMany(many)
  assert.equal((await streamer.find('t', { n: { $gte: 0 } }, { sort: { n: 1 } })).at(-1).n, 2499)
  await end()
})

test('what may change unseen is never kept, and explain says why', async () => {
  const { db, name, streamer, end } = await cached(
    async db => {
      await db.collection('t').insertOne({ v: 1 })
      await db.createCollection('w', { viewOn: 't', pipeline: [] })
      await db.createCollection('ring', { capped: true, size: 4096 })
      await db.createCollection('times', { timeseries: { timeField: 'at' } })
      await db.createCollection('folded', { collation: { locale: 'en', strength: 1 } })
    },
    { tables: ['t', 'w', 'ring', 'times', 'folded'] }
  )
  const refused = [
    ['w', {}, /view/],
    ['ring', {}, /capped/],
    ['times', {}, /time series/],
    ['other', {}, /not followed/],
    ['t', { $where: 'true' }, /\$where/],
    ['t', { $expr: { $lt: [{ $rand: {} }, 0.5] } }, /\$expr/],
  ]
  for (const [table, filter, reason] of refused) {
    const ask = () => streamer.find(table, filter)
    await ask()
    assert.equal(await isHit(streamer, ask), false)
    const why = await streamer.cache.explain(table, { filter })
    assert.equal(why.cached, false)
    assert.match(why.reason, reason)
  }
  const computed = await streamer.cache.explain('t', { filter: {}, projection: { v: { $rand: {} } } })
  assert.match(computed.reason, /projection/)
  assert.deepEqual(await streamer.cache.explain('t', { filter: { _id: 1 } }), {
    cached: true,
    dependsOn: [`${name}.t`],
    columns: [`${name}.t._id`],
  })
  // Texts are equal there that differ byte by byte.
  assert.deepEqual((await streamer.cache.explain('folded', { filter: { _id: 'a' } })).columns, [])
  await db.collection('t').drop()
  await end()
})

test('a find behind a position holds it, and other questions are refused in a clear sentence', async () => {
  const { db, streamer, end } = await cached(db => db.createCollection('t'))
  const changes = []
  streamer.on('change', change => changes.push(change))
  for (let n = 1; n <= 10; n++) {
    await db.collection('t').insertOne({ n })
    await eventually(() => changes.length === n, { what: 'the event' })
    const found = await streamer.find('t', {}, { after: changes[n - 1].position })
    assert.equal(found.length, n)
  }
  assert.equal(typeof streamer.position(), 'string')
  await streamer.find('t', {}, { after: streamer.position() })
  const refusals = [
    [() => streamer.query('SELECT 1'), /find\(\)/],
    [() => streamer.execute('DELETE FROM t'), /driver/],
    [() => streamer.find('t', 5), /filter/],
    [() => streamer.find('t', {}, { limit: -1 }), /limit/],
    [() => streamer.find('t', {}, { sort: 1 }), /sort/],
  ]
  for (const [ask, message] of refusals)
    await assert.rejects(ask, { code: 'ERR_STREAMER_ARGUMENT_INVALID', message })
  await assert.rejects(streamer.find('t', { v: { $unheard: 1 } }), { code: 'ERR_STREAMER_SERVER_REFUSED' })
  const leaving = new AbortController()
  const slow = streamer.find('t', { $where: 'sleep(500) || true' }, { signal: leaving.signal })
  leaving.abort(new Error('enough'))
  await assert.rejects(slow, { message: 'enough' })
  await end()
})

test('wrap() keeps a value until its document changes, and invalidate() drops it', async () => {
  const [first, second] = [new ObjectId(), new ObjectId()]
  const { db, streamer, end } = await cached(db =>
    db.collection('t').insertMany([
      { _id: first, v: 1 },
      { _id: second, v: 2 },
    ])
  )
  let loads = 0
  const get = () =>
    streamer.cache.wrap(
      'one',
      async () => {
        loads++
        const found = await db.collection('t').findOne({ _id: first }, { readConcern: { level: 'majority' } })
        return { v: found?.v }
      },
      { dependsOn: [{ table: 't', key: first }] }
    )
  const isKept = async () => {
    const before = loads
    await get()
    return loads === before
  }
  await eventually(isKept, { what: 'a kept value' })
  const seen = counter(streamer)
  await db.collection('t').updateOne({ _id: second }, { $set: { v: 7 } })
  await seen.until(1)
  assert.equal(await isKept(), true)
  await db.collection('t').updateOne({ _id: first }, { $set: { v: 8 } })
  await seen.until(2)
  assert.deepEqual(await get(), { v: 8 })
  assert.equal(await isKept(), true)
  await streamer.cache.invalidate({ table: 't', key: second })
  assert.equal(await isKept(), true)
  await streamer.cache.invalidate({ table: 't', key: first })
  assert.equal(await isKept(), false)
  await end()
})

test('sixteen writers, then silence: no read is older than its event, and no entry stays stale', async () => {
  const KEYS = 3000
  const { db, streamer, end } = await cached(db =>
    db
      .collection('t')
      .insertMany(/** @type {any} */ (Array.from({ length: KEYS }, (_, _id) => ({ _id, v: 0 }))))
  )
  const told = new Map()
  const failures = []
  let reads = 0
  let writes = 0
  const ask = async _id => {
    const least = told.get(_id) ?? 0
    const [document] = await streamer.find('t', { _id })
    reads++
    if (document.v < least) failures.push(`key ${_id}: told of ${least}, given ${document.v}`)
  }
  // Every key is kept before the first is written.
  for (let from = 0; from < KEYS; from += 50)
    await Promise.all(Array.from({ length: 50 }, (_, n) => ask(from + n)))
  streamer.on('batch', batch => {
    for (const { after } of batch) told.set(after._id, Math.max(told.get(after._id) ?? 0, after.v))
    for (const { after } of batch) ask(after._id).catch(error => failures.push(String(error)))
  })
  const until = Date.now() + 5000
  const write = async () => {
    while (Date.now() < until || writes < 200) {
      const _id = /** @type {any} */ (Math.floor(Math.random() * KEYS))
      await db.collection('t').updateOne({ _id }, { $inc: { v: 1 } })
      writes++
    }
  }
  await Promise.all(Array.from({ length: 16 }, write))
  await eventually(() => [...told.values()].reduce((sum, v) => sum + v, 0) === writes, {
    what: 'every change to be delivered',
  })
  let stale = 0
  for await (const { _id, v } of db.collection('t').find())
    if ((await streamer.find('t', { _id }))[0].v !== v) stale++
  console.log('mongodb', { reads, writes, stale, failures: failures.length, ...streamer.cache.stats() })
  assert.deepEqual(failures.slice(0, 5), [])
  assert.equal(stale, 0)
  assert.ok(writes >= 200 && reads >= KEYS + 200, `${writes} writes and ${reads} reads are too few`)
  await end()
})
