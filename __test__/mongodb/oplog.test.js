'use strict'

// What is delivered of the oplog itself: the same as a change stream says of the same writes, sooner; and what becomes of places that
// are gone or were taken back.

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { after, before, describe, test } = require('node:test')
const { crc32 } = require('node:zlib')
const { MongoClient } = require('mongodb')
const { Streamer } = require('../..')
const { collect, refusal } = require('../support/collect')
const { inTurn } = require('../support/mongodb')
const { eventually, openKit } = require('../support/servers')

const SEED = Number(process.env.STREAMER_SEED ?? Date.now() % 1e9)

/** @type {Awaited<ReturnType<typeof openKit>>} */
let kit
/** @type {import('../support/servers').Server} */
let server
/** @type {MongoClient} */
let client
before(async () => {
  kit = await openKit()
  // Transactions are divided as those over 16 MB are, for which a small server has no room.
  const parameters = ['enableTestCommands=1', 'maxNumberOfTransactionOperationsInSingleOplogEntry=2']
  server = await kit.mongodb({ args: parameters.flatMap(parameter => ['--setParameter', parameter]) })
  client = await MongoClient.connect(server.url, { writeConcern: { w: 'majority' } })
})
after(async () => {
  await client?.close()
  await kit?.close()
})

const fresh = inTurn('oplog', () => ({ server, client }))

const ids = changes => changes.map(change => change.key?._id)

/** What both ways of reading must say alike. */
const essence = ({
  op,
  database,
  table,
  key,
  before,
  after: image,
  changed,
  update,
  timestamp,
  ...rest
}) => ({
  ...{ op, database, table, key, before, after: image, changed, update, timestamp },
  renamedTo: rest.renamedTo,
  // Drops and renames are transactions of their own, each under the name of its log.
  transaction: ['drop', 'rename'].includes(op)
    ? undefined
    : rest.transaction && [rest.transaction.id, rest.transaction.index],
})

/** Both ways of reading, at the same time. */
async function both(url) {
  const oplog = await collect({ source: { url, log: 'oplog' } })
  const stream = await collect({ source: url })
  return {
    oplog,
    /** Waits for a row in `finished`, and compares all that came before. */
    async compare(db) {
      await db.collection('finished').insertOne({ _id: 1 })
      for (const seen of [oplog, stream]) {
        await seen.until(() => seen.changes.at(-1)?.table === 'finished', 'the last change')
        await seen.stop()
      }
      const [ours, theirs] = [oplog, stream].map(seen => seen.changes.map(essence))
      for (const [index, change] of theirs.entries())
        assert.deepEqual(ours[index], change, `change ${index}, seed ${SEED}`)
      assert.equal(ours.length, theirs.length)
      const statements = ({ schemas }) => schemas.map(({ table, statement }) => [table, statement])
      assert.deepEqual(statements(oplog), statements(stream))
      assert.deepEqual([oplog.gaps, oplog.disconnects], [[], []])
      assert.equal(new Set(oplog.changes.map(({ id }) => id)).size, ours.length, 'an id came twice')
      return oplog.changes
    },
  }
}

const DOCUMENT = {
  count: 5,
  name: 'Ada',
  gone: 1,
  nested: { a: 1, inner: { b: 2, c: [1, { d: 1 }] } },
  list: [1, 2, 3, 4, 5, 6],
  items: [
    { sku: 1, left: 20 },
    { sku: 2, left: 5, deep: [[1, 2], [3]] },
  ],
  '': { empty: 1 },
}

/** Updates by every operator, with their options. */
const UPDATES = [
  [{ $set: { name: 'Grace', 'nested.a': [1, 2], fresh: { x: 1 } } }],
  [{ $inc: { count: 1, 'nested.inner.b': -3 }, $mul: { other: 2 } }],
  [{ $min: { count: -1 }, $max: { 'nested.inner.b': 100 } }],
  [{ $unset: { gone: '', 'nested.inner.c': '' } }],
  [{ $rename: { gone: 'nested.moved' } }],
  [{ $currentDate: { seen: true, stamp: { $type: 'timestamp' } } }],
  [{ $bit: { count: { xor: 3 } } }],
  [{ $push: { list: 7 } }],
  [{ $push: { list: { $each: [9, 8], $position: 1 } } }],
  [{ $push: { list: { $each: [9], $slice: -3 } } }],
  [{ $push: { list: { $each: [0], $sort: -1 } } }],
  [{ $addToSet: { list: { $each: [3, 30] } } }],
  [{ $pop: { list: 1 } }],
  [{ $pop: { list: -1 } }],
  [{ $pull: { list: { $gt: 3 } } }],
  [{ $pullAll: { list: [1, 2] } }],
  [{ $set: { 'list.9': 'far' } }],
  [{ $set: { 'items.1.deep.0.1': 9, 'items.0.left': 1 } }],
  [{ $inc: { 'items.$[item].left': -1 } }, { arrayFilters: [{ 'item.left': { $gt: 10 } }] }],
  [{ $set: { 'items.$[].checked': true } }],
  [{ $set: { 'items.$[item]': { sku: 9 } } }, { arrayFilters: [{ 'item.sku': 1 }] }],
  [[{ $set: { list: { $slice: ['$list', 2] }, total: { $sum: '$list' } } }]],
  [
    [
      { $set: { items: { $filter: { input: '$items', cond: { $gt: ['$$this.left', 10] } } } } },
      { $unset: 'gone' },
    ],
  ],
  [[{ $set: { 'nested.inner.c': [], list: { $concatArrays: ['$list', [1]] } } }]],
  [[{ $replaceWith: { $mergeObjects: ['$$ROOT', { name: 'replaced', extra: { y: [1] } }] } }]],
  [[{ $replaceWith: { _id: '$_id', only: 1 } }]],
  [[{ $set: { a: { $setField: { field: 'b.c', input: {}, value: 1 } } } }]],
  [[{ $set: { a: { $setField: { field: { $literal: '$d' }, input: {}, value: 1 } } } }]],
]

describe('the same as a change stream says', () => {
  test('updates by every operator, array filters and pipelines', async () => {
    const { db, url } = fresh()
    const table = db.collection('t')
    const streams = await both(url)
    for (const [_id, [update, options]] of UPDATES.entries()) {
      await table.insertOne(/** @type {any} */ ({ _id, ...DOCUMENT }))
      await table.updateOne(/** @type {any} */ ({ _id }), update, options)
    }
    await table.replaceOne(/** @type {any} */ ({ _id: 0 }), { a: 2 })
    await table.updateMany({}, { $set: { all: 1 } })
    await table.deleteMany({ count: { $gt: 0 } })
    const changes = await streams.compare(db)
    const updates = changes.filter(({ op }) => op === 'update')
    assert.ok(updates.length >= UPDATES.length * 2 - 3, `${updates.length} updates`)
    assert.ok(updates.some(({ update }) => update.truncatedArrays.length > 0))
  })

  test('random writes: documents, transactions and collections that come and go', async t => {
    t.diagnostic(`seed ${SEED}`)
    const { db, url, name } = fresh()
    const streams = await both(url)
    const script = path.join(__dirname, '../support/mongodb-writer.js')
    const args = [script, server.url, name, '6', '1000', String(SEED), '0']
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] })
    const code = await new Promise(resolve => child.on('exit', resolve))
    assert.equal(code, 0)
    await db.collection('finished').deleteMany({})
    const changes = await streams.compare(db)
    assert.ok(changes.length > 1000)
    for (const [index, { transaction }] of changes.entries()) {
      if (transaction !== null)
        assert.equal(
          transaction.last,
          changes[index + 1]?.transaction?.id !== transaction.id,
          `change ${index}`
        )
    }
  })

  test('definitions, drops, renames over others, and the end of a database', async () => {
    const { db, url } = fresh()
    await db.collection('b').insertOne({})
    await db.collection('a').insertOne({})
    const streams = await both(url)
    await db.collection('a').createIndex({ x: 1 })
    await db.createCollection('new', { capped: true, size: 4096 })
    await db.collection('new').createIndex({ y: -1 }, { name: 'by y' })
    await db.command({ collMod: 'a', validator: { x: { $gt: 0 } }, validationLevel: 'off' })
    await db.collection('a').dropIndex('x_1')
    await db.createCollection('view', { viewOn: 'a', pipeline: [] })
    await db.renameCollection('a', 'b', { dropTarget: true })
    await db.renameCollection('b', 'c')
    await db.collection('c').drop()
    await db.dropDatabase()
    const changes = await streams.compare(db)
    assert.deepEqual(
      changes.map(({ op, table }) => [op, table]),
      [
        ['drop', 'b'],
        ['rename', 'a'],
        ['rename', 'b'],
        ['drop', 'c'],
        ['drop', 'new'],
        ['drop', ''],
        ['insert', 'finished'],
      ]
    )
  })

  test('transactions: over several entries, prepared and committed or not, and with definitions inside', async () => {
    const { db, url } = fresh()
    const [t, u] = ['t', 'u'].map(name => db.collection(name))
    await t.insertOne(/** @type {any} */ ({ _id: 0 }))
    const streams = await both(url)
    await client.withSession(session =>
      session.withTransaction(async () => {
        for (let _id = 1; _id <= 5; _id++) await t.insertOne(/** @type {any} */ ({ _id }), { session })
      })
    )
    await client.withSession(session =>
      session.withTransaction(async () => {
        await u.insertOne(/** @type {any} */ ({ _id: 1 }), { session })
        await t.updateOne(/** @type {any} */ ({ _id: 0 }), { $set: { a: 1 } }, { session })
      })
    )
    for (const how of ['commitTransaction', 'abortTransaction']) {
      const { prepareTimestamp, session } = await prepare(t, how)
      await u.insertOne(/** @type {any} */ ({ _id: `beside ${how}` }))
      const commit = how === 'commitTransaction' ? { commitTimestamp: prepareTimestamp } : {}
      await client.db('admin').command({ [how]: 1, ...commit }, { session })
      await session.endSession()
    }
    const changes = await streams.compare(db)
    assert.deepEqual(ids(changes), [
      1,
      2,
      3,
      4,
      5,
      1,
      0,
      'beside commitTransaction',
      'commitTransaction',
      'beside abortTransaction',
      1,
    ])
    assert.deepEqual(
      changes.slice(0, 5).map(({ transaction }) => transaction.last),
      [false, false, false, false, true]
    )
  })
})

/** A transaction that inserts a document and waits for its fate, as a part of one over several shards does. */
async function prepare(collection, _id) {
  const session = client.startSession()
  session.startTransaction()
  await collection.insertOne({ _id }, { session })
  const { prepareTimestamp } = await client.db('admin').command({ prepareTransaction: 1 }, { session })
  return { session, prepareTimestamp }
}

describe('places', () => {
  test('a position resumes directly behind its change, in a transaction too', async () => {
    const { db, url } = fresh()
    const table = db.collection('t')
    await table.insertOne(/** @type {any} */ ({ _id: 0 }))
    const source = { url, log: 'oplog' }
    const first = await collect({ source })
    await client.withSession(session =>
      session.withTransaction(() =>
        table.insertMany(/** @type {any} */ ([{ _id: 1 }, { _id: 2 }, { _id: 3 }]), { session })
      )
    )
    await table.insertOne(/** @type {any} */ ({ _id: 4 }))
    await first.until(() => first.changes.length >= 4, 'four changes')
    await first.stop()
    for (const [index, change] of first.changes.entries()) {
      const again = await collect({ source: { ...source, from: change.position } })
      await again.until(() => again.changes.length >= 3 - index, 'what follows')
      await again.stop()
      const shown = ({ id, position, transaction }) => [id, position, transaction]
      assert.deepEqual(again.changes.map(shown), first.changes.slice(index + 1).map(shown))
      assert.deepEqual(again.gaps, [])
    }
  })

  test('a transaction that was prepared before the start is delivered when it commits', async () => {
    const { db, url } = fresh()
    const table = db.collection('t')
    await table.insertOne(/** @type {any} */ ({ _id: 0 }))
    const { session, prepareTimestamp } = await prepare(table, 1)
    const seen = await collect({ source: { url, log: 'oplog' } })
    await client.db('admin').command({ commitTransaction: 1, commitTimestamp: prepareTimestamp }, { session })
    await session.endSession()
    await seen.until(() => seen.changes.length >= 1, 'the row')
    await seen.stop()
    assert.deepEqual([ids(seen.changes), seen.gaps], [[1], []])
  })

  test('`earliest` begins with the oldest entry; what is old is committed, what is new is not yet', async () => {
    const { db, url } = fresh()
    for (const _id of [1, 2, 3]) await db.collection('t').insertOne(/** @type {any} */ ({ _id }))
    const seen = await collect({ source: { url, log: 'oplog', from: 'earliest' } })
    await seen.until(() => seen.changes.length >= 3, 'the rows from before')
    await db.collection('t').insertOne(/** @type {any} */ ({ _id: 4 }))
    await seen.until(() => seen.changes.length >= 4, 'the new row')
    await seen.stop()
    assert.deepEqual(
      seen.changes.map(({ key, uncommitted }) => [key?._id, uncommitted]),
      [
        [1, undefined],
        [2, undefined],
        [3, undefined],
        [4, true],
      ]
    )
    assert.deepEqual(seen.gaps, [])
  })

  test('a place that the oplog no longer holds is one gap; reading goes on with the oldest entry', async () => {
    const { db, url } = fresh()
    await db.collection('t').insertOne(/** @type {any} */ ({ _id: 1 }))
    const places = 'mongodb-oplog:1000.1.1'
    const from = `${places}~${crc32(places).toString(16).padStart(8, '0')}`
    const seen = await collect({ source: { url, log: 'oplog', from } })
    await seen.until(() => seen.changes.length >= 1, 'the row')
    await seen.stop()
    assert.deepEqual(
      seen.gaps.map(gap => [gap.reason, gap.from]),
      [['history-lost', from]]
    )
  })

  test('a position or a checkpoint of the other way of reading is refused', async t => {
    const { db, url } = fresh()
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'oplog-'))
    t.after(() => fs.rmSync(directory, { recursive: true }))
    const sources = [{ url, log: 'oplog' }, { url }]
    for (const [index, source] of sources.entries()) {
      const checkpoint = path.join(directory, String(index))
      const seen = await collect({ source, checkpoint })
      await db.collection('t').insertOne({})
      await seen.until(() => seen.changes.length >= 1, 'the row')
      await seen.stop()
      const other = sources[1 - index]
      const position = await refusal({ source: { ...other, from: seen.changes[0].position } })
      const stored = await refusal({ source: other, checkpoint })
      assert.deepEqual(
        [position.code, stored.code],
        ['ERR_STREAMER_POSITION_INVALID', 'ERR_STREAMER_CHECKPOINT_INVALID']
      )
      const words =
        index === 0
          ? /change stream was expected, one in the oplog/
          : /oplog was expected, one in a change stream/
      assert.match(position.message, words)
      assert.match(stored.message, words)
    }
  })

  test('a checkpoint goes on where the process before it stopped', async t => {
    const { db, url } = fresh()
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'oplog-'))
    t.after(() => fs.rmSync(directory, { recursive: true }))
    const config = { source: { url, log: 'oplog' }, checkpoint: directory }
    for (const round of [0, 1, 2]) {
      await db.collection('t').insertOne(/** @type {any} */ ({ _id: `between ${round}` }))
      const seen = await collect(config)
      await db.collection('t').insertOne(/** @type {any} */ ({ _id: `during ${round}` }))
      await seen.until(() => ids(seen.changes).includes(`during ${round}`), 'the row')
      await seen.stop()
      assert.deepEqual(
        ids(seen.changes),
        round === 0 ? ['during 0'] : [`between ${round}`, `during ${round}`]
      )
      assert.deepEqual(seen.gaps, [])
    }
  })

  test('collections at rest move on with the others', async () => {
    const { db, url } = fresh()
    const source = { url, log: 'oplog', tables: ['quiet'] }
    const streamer = new Streamer({ source, heartbeat: { intervalMs: 100 } })
    const positions = []
    streamer.on('heartbeat', ({ position }) => positions.push(position))
    await streamer.start()
    const { insertedId } = await db.collection('busy').insertOne({})
    const oplog = client.db('local').collection('oplog.rs')
    const entry = await oplog.findOne({ op: 'i', 'o._id': insertedId })
    const seconds = position => position.split(/[:.~]/).slice(1, 3).map(Number)
    const [time, increment] = [entry?.ts.getHighBits(), entry?.ts.getLowBits()]
    await eventually(
      () => {
        const [reached, number] = positions.length === 0 ? [0, 0] : seconds(positions.at(-1))
        return reached > time || (reached === time && number >= increment)
      },
      { what: 'a position behind the other collection’s row' }
    )
    await streamer.stop()
  })
})

describe('what is asked for', () => {
  test('the filter is the server’s work, wildcards too', async () => {
    const { db, url, name } = fresh()
    const seen = await collect({ source: { url, log: 'oplog', tables: ['or?ers*', '!*_tmp', '`a.b`'] } })
    for (const table of ['orders', 'orders_tmp', 'orders1', 'xorders', 'ordrs', 'a.b'])
      await db.collection(table).insertOne({})
    await db.collection('orders').insertOne({ last: true })
    await seen.until(() => seen.changes.length >= 4, 'four changes')
    await seen.stop()
    assert.deepEqual(
      seen.changes.map(change => [change.database, change.table]),
      ['orders', 'orders1', 'a.b', 'orders'].map(table => [name, table])
    )
  })

  test('documents are looked up on request, alone and in transactions; one that is gone is told as without', async () => {
    const { db, url } = fresh()
    const table = db.collection('t')
    await table.insertMany(
      /** @type {any} */ ([
        { _id: 1, a: 1 },
        { _id: 2, a: 1 },
        { _id: 3, a: 1 },
      ])
    )
    const first = await collect({ source: { url, log: 'oplog' } })
    await table.updateOne(/** @type {any} */ ({ _id: 1 }), { $set: { b: 1 } })
    await client.withSession(session =>
      session.withTransaction(() => table.updateMany({}, { $set: { 'c.d': 1, e: 1 } }, { session }))
    )
    await table.deleteOne(/** @type {any} */ ({ _id: 3 }))
    await first.until(() => first.changes.length >= 5, 'five changes')
    await first.stop()
    const source = { url, log: 'oplog', fullDocument: 'updateLookup', from: first.changes[0].position }
    const seen = await collect({ source })
    await seen.until(() => seen.changes.length >= 4, 'the rest again')
    await table.updateOne(/** @type {any} */ ({ _id: 1 }), { $set: { f: 1 } })
    await seen.until(() => seen.changes.length >= 5, 'the new update')
    await seen.stop()
    const whole = { _id: 1, a: 1, b: 1, c: { d: 1 }, e: 1 }
    assert.deepEqual(
      seen.changes.map(change => change.after),
      [whole, { _id: 2, a: 1, c: { d: 1 }, e: 1 }, { _id: 3, c: { d: 1 }, e: 1 }, null, { ...whole, f: 1 }]
    )
  })

  test('images and pipelines are refused', async () => {
    const { url } = fresh()
    const source = { url, log: 'oplog', fullDocumentBeforeChange: 'required', pipeline: [{ $match: {} }] }
    assert.throws(
      () => new Streamer(/** @type {any} */ ({ source })),
      error => {
        assert.equal(error.code, 'ERR_STREAMER_CONFIG_INVALID')
        assert.match(error.message, /fullDocumentBeforeChange: the oplog holds no images/)
        assert.match(error.message, /pipeline: no pipeline runs over the oplog/)
        return true
      }
    )
  })
})

describe('faults', () => {
  test('killed cursors go on without a word', async () => {
    const { db, url } = fresh()
    const seen = await collect({ source: { url, log: 'oplog' } })
    const table = db.collection('t')
    await table.insertOne(/** @type {any} */ ({ _id: 1 }))
    await seen.until(() => seen.changes.length >= 1, 'the first row')
    await client.db('admin').command({
      configureFailPoint: 'failCommand',
      mode: { times: 1 },
      data: { failCommands: ['getMore'], errorCode: 43 },
    })
    await table.insertMany(/** @type {any} */ ([{ _id: 2 }, { _id: 3 }]))
    await seen.until(() => seen.changes.length >= 3, 'the rows behind it')
    await seen.stop()
    assert.deepEqual([ids(seen.changes), seen.disconnects, seen.gaps], [[1, 2, 3], [], []])
  })

  test('a server that dies and comes back: nothing is lost or doubled', async () => {
    const own = await kit.mongodb({ own: true })
    const writer = await MongoClient.connect(own.url, { writeConcern: { w: 'majority' } })
    const seen = await collect({
      source: { url: own.url, log: 'oplog' },
      heartbeat: { intervalMs: 200 },
      reconnect: { maxMs: 500 },
    })
    const table = writer.db('x').collection('t')
    await table.insertOne(/** @type {any} */ ({ _id: 1 }))
    await seen.until(() => seen.changes.length >= 1, 'the first row')
    await own.kill()
    await own.restart()
    await table.insertOne(/** @type {any} */ ({ _id: 2 }))
    await seen.until(() => seen.changes.length >= 2, 'the second row')
    await own.pause()
    const { length } = seen.disconnects
    await seen.until(() => seen.disconnects.length > length, 'the silence to be noticed')
    await own.resume()
    await table.insertOne(/** @type {any} */ ({ _id: 3 }))
    await seen.until(() => seen.changes.length >= 3, 'the third row')
    await seen.stop()
    await writer.close()
    assert.deepEqual([ids(seen.changes), seen.gaps], [[1, 2, 3], []])
  })

  test('a failover that rolls back what was delivered is one gap, and reading goes on where both histories part', async t => {
    const set = await kit.mongodb({ members: 3, args: ['--setParameter', 'enableTestCommands=1'] })
    /** @type {(() => Promise<unknown>)[]} */
    const ends = [() => set.remove()]
    t.after(async () => {
      for (const end of ends.reverse()) await end()
    })
    const all = set.url.replace('mongodb://', '').split('/')[0].split(',')
    const members = await Promise.all(
      all.map(host => MongoClient.connect(`mongodb://${host}/?directConnection=true`))
    )
    const signal = async (list, name) => {
      for (const { pid } of list) process.kill(pid, name)
    }
    const facts = await Promise.all(
      members.map(async member => {
        const { pid } = await member.db('admin').command({ serverStatus: 1 })
        const { isWritablePrimary } = await member.db('admin').command({ hello: 1 })
        return { member, pid: Number(pid), isWritablePrimary }
      })
    )
    ends.push(() => signal(facts, 'SIGCONT'))
    const old = facts.find(fact => fact.isWritablePrimary)
    const others = facts.filter(fact => fact !== old)
    const isPrimary = fact =>
      fact.member
        .db('admin')
        .command({ hello: 1 })
        .then(hello => hello.isWritablePrimary && fact)
    const setClient = await MongoClient.connect(set.url, { writeConcern: { w: 'majority' } })
    for (const one of [...members, setClient]) ends.push(() => one.close())
    await setClient
      .db('x')
      .collection('t')
      .insertOne(/** @type {any} */ ({ _id: 'before' }))
    const seen = await collect({
      source: { url: set.url, log: 'oplog' },
      heartbeat: { intervalMs: 200 },
      reconnect: { maxMs: 500 },
    })
    ends.push(() => seen.stop())
    await setClient
      .db('x')
      .collection('t')
      .insertOne(/** @type {any} */ ({ _id: 'kept' }))
    await seen.until(() => ids(seen.changes).includes('kept'), 'the row that stays')

    // The primary alone: what it takes now, nobody else fetches.
    const stopFetching = async ({ member }) => {
      const point = 'stopReplProducer'
      const { count } = await member.db('admin').command({ configureFailPoint: point, mode: 'alwaysOn' })
      const entered = { waitForFailPoint: point, timesEntered: count + 1, maxTimeMS: 30_000 }
      await member.db('admin').command(entered)
    }
    await Promise.all(others.map(stopFetching))
    const alone = old.member.db('x').collection('t', { writeConcern: { w: 1 } })
    await alone.insertMany(/** @type {any} */ ([1, 2, 3].map(n => ({ _id: `taken back ${n}` }))))
    await seen.until(() => ids(seen.changes).includes('taken back 3'), 'what is taken back')
    await signal([old], 'SIGSTOP')
    for (const { member } of others)
      await member.db('admin').command({ configureFailPoint: 'stopReplProducer', mode: 'off' })
    /** Writes to whoever is primary: on a slow machine there may be several elections. @param {string} _id */
    const insert = _id =>
      eventually(
        async () => {
          const primary = (await isPrimary(others[0])) || (await isPrimary(others[1]))
          const table = primary.member
            .db('x')
            .collection('t', { writeConcern: { w: 'majority', wtimeoutMS: 10_000 } })
          await table.updateOne({ _id }, { $setOnInsert: { _id } }, { upsert: true })
          return true
        },
        { deadlineMs: 60_000, what: 'another primary' }
      )
    for (const n of [1, 2]) await insert(`after ${n}`)
    await seen.until(() => ids(seen.changes).includes('after 2'), 'what follows')
    await signal([old], 'SIGCONT')
    await eventually(
      () =>
        old.member
          .db('x')
          .collection('t')
          .findOne(/** @type {any} */ ({ _id: 'after 2' }))
          .then(Boolean),
      {
        deadlineMs: 60_000,
        what: 'the old primary to follow',
      }
    )
    await insert('last')
    await seen.until(() => ids(seen.changes).includes('last'), 'the last row')
    await seen.stop()

    const back = [1, 2, 3].map(n => `taken back ${n}`)
    assert.deepEqual(ids(seen.changes), ['kept', ...back, 'after 1', 'after 2', 'last'])
    assert.ok(
      seen.changes.filter(({ key }) => back.includes(key._id)).every(({ uncommitted }) => uncommitted)
    )
    const [gap, ...more] = seen.gaps
    assert.deepEqual([gap.reason, gap.tables, more], ['source-rewound', '*', []])
    assert.equal(gap.from, seen.changes[3].position)
    assert.deepEqual(seen.errors, [])
    const again = await collect({
      source: { url: set.url, log: 'oplog', from: /** @type {string} */ (gap.to) },
    })
    ends.push(() => again.stop())
    await again.until(() => again.changes.length >= 3, 'what follows, again')
    const shown = ({ id, key }) => [id, key._id]
    assert.deepEqual([again.changes.map(shown), again.gaps], [seen.changes.slice(4).map(shown), []])
  })
})
