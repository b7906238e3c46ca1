'use strict'

// What is delivered of a real replica set, and how a stream goes on where the driver's own ends.

const assert = require('node:assert/strict')
const { after, before, describe, test } = require('node:test')
const { Decimal128, Long, MongoClient } = require('mongodb')
const { Streamer } = require('../..')
const { collect, refusal } = require('../support/collect')
const { inTurn } = require('../support/mongodb')
const { openKit } = require('../support/servers')

/** @type {Awaited<ReturnType<typeof openKit>>} */
let kit
/** @type {import('../support/servers').Server} */
let server
/** @type {MongoClient} */
let client
before(async () => {
  kit = await openKit()
  server = await kit.mongodb({ args: ['--setParameter', 'enableTestCommands=1'] })
  client = await MongoClient.connect(server.url)
})
after(async () => {
  await client?.close()
  await kit?.close()
})

const fresh = inTurn('capture', () => ({ server, client }))

const ids = changes => changes.map(change => change.key?._id)

describe('changes', () => {
  test('documents and their operations arrive in order', async () => {
    const { db, url } = fresh()
    const seen = await collect(url)
    const table = db.collection('t')
    await table.insertOne({ _id: 1, list: [1, 2, 3], gone: 1, pad: 'x'.repeat(200) })
    await table.updateOne({ _id: 1 }, [{ $set: { list: [1] } }, { $unset: 'gone' }])
    await table.replaceOne({ _id: 1 }, { a: 2 })
    await table.deleteOne({ _id: 1 })
    await seen.until(() => seen.changes.length >= 4, 'four changes')
    await seen.stop()
    assert.deepEqual(
      seen.changes.map(change => change.op),
      ['insert', 'update', 'replace', 'delete']
    )
    const [insert, update, replace, gone] = seen.changes
    assert.deepEqual(insert.after, { _id: 1, list: [1, 2, 3], gone: 1, pad: 'x'.repeat(200) })
    assert.deepEqual([...update.changed].sort(), ['gone', 'list'])
    assert.deepEqual(replace.after, { _id: 1, a: 2 })
    assert.deepEqual([gone.key, gone.before, gone.after], [{ _id: 1 }, null, null])
    assert.equal(new Set(seen.changes.map(change => change.id)).size, 4)
  })

  test('a position resumes directly behind its change, in a transaction too', async () => {
    const { db, url } = fresh()
    const table = db.collection('t')
    await table.insertOne({ _id: 0 })
    const first = await collect(url)
    await client.withSession(session =>
      session.withTransaction(() => table.insertMany([{ _id: 1 }, { _id: 2 }, { _id: 3 }], { session }))
    )
    await table.insertOne({ _id: 4 })
    await first.until(() => first.changes.length >= 4, 'four changes')
    await first.stop()
    const transactions = first.changes.map(change => change.transaction)
    assert.deepEqual(
      transactions.map(transaction => transaction?.index),
      [0, 1, 2, undefined]
    )
    assert.equal(new Set(transactions.slice(0, 3).map(transaction => transaction?.id)).size, 1)
    for (const [index, change] of first.changes.entries()) {
      const again = await collect({ source: { url, from: change.position } })
      await again.until(() => again.changes.length >= 3 - index, 'what follows')
      await again.stop()
      const rest = first.changes.slice(index + 1)
      assert.deepEqual(
        again.changes.map(other => [other.id, other.position, other.transaction?.index]),
        rest.map(other => [other.id, other.position, other.transaction?.index])
      )
    }
  })

  test('reading goes on behind a document whose key is a number of any type', async () => {
    const { db, url } = fresh()
    const keys = [1, 2.5, -0.25, 1e300, Long.fromString('9007199254740993'), new Decimal128('1.50')]
    const table = db.collection('t')
    const first = await collect(url)
    for (const _id of keys) await table.insertOne({ _id })
    await first.until(() => first.changes.length >= keys.length, 'a change for each')
    await first.stop()
    for (const [index, change] of first.changes.entries()) {
      const again = await collect({ source: { url, from: change.position } })
      await table.updateOne({ _id: keys[0] }, { $inc: { n: 1 } })
      await again.until(() => again.changes.length >= keys.length - index, 'what follows')
      await again.stop()
      const ids = again.changes.map(other => other.id).slice(0, keys.length - index - 1)
      const rest = first.changes.slice(index + 1)
      assert.deepEqual(
        ids,
        rest.map(other => other.id)
      )
    }
  })

  test('the images that were asked for arrive, and a collection that keeps none is named', async () => {
    const { db, url, name } = fresh()
    await db.createCollection('kept', { changeStreamPreAndPostImages: { enabled: true } })
    const source = { url, fullDocument: 'whenAvailable', fullDocumentBeforeChange: 'whenAvailable' }
    const seen = await collect({ source })
    await db.collection('kept').insertOne({ _id: 1, a: { b: 1 } })
    await db.collection('kept').updateOne({ _id: 1 }, { $set: { 'a.b': 2 } })
    await db.collection('kept').deleteOne({ _id: 1 })
    await seen.until(() => seen.changes.length >= 3, 'three changes')
    await seen.stop()
    const [, update, gone] = seen.changes
    assert.deepEqual(
      [update.before, update.after],
      [
        { _id: 1, a: { b: 1 } },
        { _id: 1, a: { b: 2 } },
      ]
    )
    assert.deepEqual(update.changed, ['a.b'])
    assert.deepEqual(gone.before, { _id: 1, a: { b: 2 } })
    await db.createCollection('plain')
    const error = await refusal({ source: { url, fullDocumentBeforeChange: 'required' } })
    assert.equal(error.code, 'ERR_STREAMER_SERVER_SETTING_UNSUITABLE')
    const command = `db.getSiblingDB("${name}").runCommand({collMod: "plain", changeStreamPreAndPostImages: {enabled: true}})`
    assert.ok(error.message.includes(command), error.message)
  })

  test('the filter is the server’s work, wildcards too; the pipeline is appended', async () => {
    const { db, url, name } = fresh()
    const pipeline = [{ $match: { 'fullDocument.wanted': true } }]
    const source = { url, tables: ['or?ers*', '!*_tmp', '`a.b`'], pipeline }
    const seen = await collect({ source })
    for (const table of ['orders', 'orders_tmp', 'orders1', 'xorders', 'ordrs', 'a.b'])
      await db.collection(table).insertMany([{ wanted: true, table }, { wanted: false }])
    await seen.until(() => seen.changes.length >= 3, 'three changes')
    await seen.stop()
    assert.deepEqual(
      seen.changes.map(change => [change.database, change.table]),
      ['orders', 'orders1', 'a.b'].map(table => [name, table])
    )
  })
})

describe('definitions', () => {
  test('drop, rename over a collection, and the end of a database', async () => {
    const { db, url, name } = fresh()
    await db.collection('b').insertOne({ _id: 1 })
    await db.collection('a').insertOne({ _id: 2 })
    const seen = await collect(url)
    await db.collection('a').createIndex({ x: 1 })
    await db.renameCollection('a', 'b', { dropTarget: true })
    await db.collection('b').drop()
    await db.collection('c').insertOne({ _id: 3 })
    await db.dropDatabase()
    await db.collection('d').insertOne({ _id: 4 })
    await seen.until(() => seen.changes.some(change => change.table === 'd'), 'the row after the end')
    await seen.stop()
    assert.deepEqual(
      seen.changes.map(({ op, table, renamedTo }) => [op, table, renamedTo]),
      [
        ['drop', 'b', undefined],
        ['rename', 'a', `${name}.b`],
        ['drop', 'b', undefined],
        ['insert', 'c', undefined],
        ['drop', 'c', undefined],
        ['drop', '', undefined],
        ['insert', 'd', undefined],
      ]
    )
    assert.ok(
      seen.schemas.some(({ table, statement }) => table === 'a' && statement.includes('createIndexes'))
    )
    assert.deepEqual([seen.gaps, seen.disconnects], [[], []])
  })

  test('a watched collection that was dropped or renamed, and created again, goes on', async () => {
    const { db, url } = fresh()
    const table = db.collection('t')
    await table.insertOne({ _id: 0 })
    const seen = await collect({ source: { url, tables: ['t'] } })
    await table.drop()
    await table.insertOne({ _id: 1 })
    await seen.until(() => seen.changes.length >= 2, 'the row after the drop')
    await table.rename('other')
    await table.insertOne({ _id: 2 })
    await seen.until(() => seen.changes.length >= 4, 'the row after the rename')
    await seen.stop()
    assert.deepEqual(
      seen.changes.map(({ op, key }) => [op, key?._id]),
      [
        ['drop', undefined],
        ['insert', 1],
        ['rename', undefined],
        ['insert', 2],
      ]
    )
    assert.deepEqual([seen.gaps, seen.disconnects], [[], []])
    // The position behind the drop lies in front of the invalidate event, which ends the driver's stream for good.
    const again = await collect({ source: { url, tables: ['t'], from: seen.changes[0].position } })
    await again.until(() => again.changes.length >= 3, 'the same again')
    await again.stop()
    assert.deepEqual(
      again.changes.map(change => change.id),
      seen.changes.slice(1).map(change => change.id)
    )
  })
})

describe('faults', () => {
  test('an event over 16 MB is delivered without its images and named in a gap; those around it are whole', async () => {
    const { db, url, name } = fresh()
    await db.createCollection('t', { changeStreamPreAndPostImages: { enabled: true } })
    const table = db.collection('t')
    const big = 'x'.repeat(10 << 20)
    const source = { url, fullDocument: 'whenAvailable', fullDocumentBeforeChange: 'whenAvailable' }
    const seen = await collect({ source })
    await table.insertMany([
      { _id: 1, n: 0 },
      { _id: 2, big, n: 0 },
      { _id: 3, n: 0 },
    ])
    for (const _id of [1, 2, 3]) await table.updateOne({ _id }, { $set: { n: 1 } })
    await seen.until(() => seen.changes.length >= 6, 'six changes')
    await table.updateOne({ _id: 1 }, { $set: { n: 2 } })
    await seen.until(() => seen.changes.length >= 7, 'the change after them')
    await seen.stop()
    assert.deepEqual(ids(seen.changes), [1, 2, 3, 1, 2, 3, 1])
    const [, , , first, large, third, behind] = seen.changes
    assert.deepEqual(
      [first.before, first.after],
      [
        { _id: 1, n: 0 },
        { _id: 1, n: 1 },
      ]
    )
    assert.deepEqual([large.before, large.changed, large.after], [null, ['n'], { _id: 2, n: 1 }])
    assert.deepEqual(third.before, { _id: 3, n: 0 })
    assert.deepEqual(behind.before, { _id: 1, n: 1 })
    assert.deepEqual(
      seen.gaps.map(({ reason, tables }) => [reason, tables]),
      [['undecodable', [`${name}.t`]]]
    )
  })

  test('killed cursors go on without a word', async () => {
    const { db, url } = fresh()
    const seen = await collect(url)
    await db.collection('t').insertOne({ _id: 1 })
    await seen.until(() => seen.changes.length >= 1, 'the first row')
    await client.db('admin').command({
      configureFailPoint: 'failCommand',
      mode: { times: 1 },
      data: { failCommands: ['getMore'], errorCode: 43 },
    })
    await db.collection('t').insertOne({ _id: 2 })
    await db.collection('t').insertOne({ _id: 3 })
    await seen.until(() => seen.changes.length >= 3, 'the rows behind it')
    await seen.stop()
    assert.deepEqual([ids(seen.changes), seen.disconnects], [[1, 2, 3], []])
  })

  test('`earliest` begins with the oldest entry that the log still has', async () => {
    const { db, url } = fresh()
    for (const _id of [1, 2, 3]) await db.collection('t').insertOne({ _id })
    const seen = await collect({ source: { url, from: 'earliest' } })
    await seen.until(() => seen.changes.length >= 3, 'the rows from before')
    await db.collection('t').insertOne({ _id: 4 })
    await seen.until(() => seen.changes.length >= 4, 'the new row')
    await seen.stop()
    assert.deepEqual([ids(seen.changes), seen.gaps], [[1, 2, 3, 4], []])
  })

  test('a server that dies and comes back: nothing is lost or doubled', async () => {
    const own = await kit.mongodb({ own: true })
    const writer = await MongoClient.connect(own.url)
    const seen = await collect({
      source: own.url,
      heartbeat: { intervalMs: 200 },
      reconnect: { maxMs: 500 },
    })
    await writer.db('x').collection('t').insertOne({ _id: 1 })
    await seen.until(() => seen.changes.length >= 1, 'the first row')
    await own.kill()
    await own.restart()
    const patient = { writeConcern: { w: 'majority' } }
    await writer
      .db('x')
      .collection('t')
      .insertOne({ _id: 2 }, /** @type {any} */ (patient))
    await seen.until(() => seen.changes.length >= 2, 'the second row')
    await own.pause()
    await seen.until(() => seen.disconnects.length >= 2, 'the silence to be noticed')
    await own.resume()
    await writer.db('x').collection('t').insertOne({ _id: 3 })
    await seen.until(() => seen.changes.length >= 3, 'the third row')
    await seen.stop()
    await writer.close()
    assert.deepEqual([ids(seen.changes), seen.gaps], [[1, 2, 3], []])
  })
})

describe('refusals', () => {
  test('a stage that takes the token away, seen by the server only', async () => {
    const { db, url } = fresh()
    const pipeline = [{ $replaceRoot: { newRoot: { operationType: '$operationType' } } }]
    const streamer = new Streamer({ source: { url, pipeline } })
    const failed = new Promise(resolve => streamer.on('error', resolve))
    await streamer.start()
    await db.collection('t').insertOne({ _id: 1 })
    const error = await failed
    await streamer.stop()
    assert.equal(error.code, 'ERR_STREAMER_CONFIG_INVALID')
    assert.match(error.message, /`pipeline` removes or changes the field _id/)
  })

  test('nobody listens; a wrong password; a position of another kind', async () => {
    const reconnect = { attempts: 0 }
    const nobody = 'mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=500&directConnection=true'
    assert.equal((await refusal({ source: nobody, reconnect })).code, 'ERR_STREAMER_CONNECT_FAILED')
    const wrong = server.url.replace('mongodb://', 'mongodb://nobody:wrong-password@')
    const rejected = await refusal({ source: wrong, reconnect })
    assert.equal(rejected.code, 'ERR_STREAMER_AUTH_REJECTED')
    assert.ok(!rejected.message.includes('wrong-password'))
  })
})
