'use strict'

// The change-stream tests of MongoDB's driver specification, as far as they can be said through our API; each carries its name in
// the specification. docs/mongodb-specification.md lists all of them, also those that are left out, and why.

const assert = require('node:assert/strict')
const { after, before, describe, test } = require('node:test')
const { Streamer, StreamerError } = require('../..')
const { collect } = require('../support/collect')
const { endFailing, fail, freshMongodb } = require('../support/mongodb')
const { eventually, openKit } = require('../support/servers')

/** @type {Awaited<ReturnType<typeof openKit>>} */
let kit
/** @type {import('../support/servers').Server} */
let server
before(async () => {
  kit = await openKit()
  server = await kit.mongodb({ args: ['--setParameter', 'enableTestCommands=1'] })
})
after(() => kit?.close())

/** A test with a database of its own that has the collection `c`. */
function specified(name, body) {
  test(name, async () => {
    const database = await freshMongodb(server)
    const opened = []
    const open = async (options = {}) => {
      const seen = await collect({ url: database.url, tables: ['c'], ...options })
      opened.push(seen)
      return seen
    }
    try {
      await database.db.createCollection('c')
      await body({ database, db: database.db, c: database.db.collection('c'), open })
      for (const { gaps } of opened) assert.deepEqual(gaps, [])
    } finally {
      for (const seen of opened) await seen.stop()
      await database.drop()
    }
  })
}

const shown = changes => changes.map(({ op, table, after: image }) => [op, table, image?.x])

/** Waits for exactly these values of `x`, and that nothing comes behind them. */
async function expectInserts(seen, c, values) {
  await c.insertOne({ x: 'end' })
  await seen.until(() => seen.changes.at(-1)?.after?.x === 'end', 'the last insert')
  assert.deepEqual(
    shown(seen.changes),
    [...values, 'end'].map(x => ['insert', 'c', x])
  )
  assert.equal(new Set(seen.changes.map(({ id }) => id)).size, seen.changes.length)
}

describe('change-streams', () => {
  specified('Test array truncation', async ({ c, open }) => {
    await c.insertOne({ _id: 1, a: 1, array: ['foo', { a: 'bar' }, 1, 2, 3] })
    const seen = await open()
    await c.updateOne({ _id: 1 }, [{ $set: { array: ['foo', { a: 'bar' }] } }])
    await seen.until(() => seen.changes.length > 0, 'the update')
    const [{ op, update, changed, after: image }] = seen.changes
    assert.deepEqual(
      [op, update, changed, image],
      [
        'update',
        { updatedFields: {}, removedFields: [], truncatedArrays: [{ field: 'array', newSize: 2 }] },
        ['array'],
        { _id: 1 },
      ]
    )
  })

  specified('to field is set in a rename change event', async ({ c, database, open }) => {
    const seen = await open()
    await c.rename('d')
    await seen.until(() => seen.changes.length > 0, 'the rename')
    const [{ op, table, renamedTo, key, before: old, after: image }] = seen.changes
    assert.deepEqual(
      [op, table, renamedTo, key, old, image],
      ['rename', 'c', `${database.name}.d`, null, null, null]
    )
  })

  specified('Test newField added in response MUST NOT err', async ({ c, open }) => {
    const seen = await open({ pipeline: [{ $addFields: { newField: 'newFieldValue' } }] })
    await c.insertOne({ x: 1 })
    await expectInserts(seen, c, [1])
  })

  specified('Test modified structure in ns document MUST NOT err', async ({ c, open }) => {
    const seen = await open({ pipeline: [{ $addFields: { 'ns.viewOn': 'db.coll' } }] })
    await c.insertOne({ x: 1 })
    await expectInserts(seen, c, [1])
  })

  specified('Test server error on projecting out _id', async ({ database }) => {
    const start = async () =>
      new Streamer({ url: database.url, pipeline: [{ $project: { _id: 0 } }] }).start()
    await assert.rejects(start, error => {
      assert.ok(error instanceof StreamerError, String(error))
      assert.match(error.message, /_id/)
      assert.notEqual(error.retry, 'automatic')
      return true
    })
  })

  specified(
    'The server returns change stream responses in the specified server response format',
    async ({ c, database, open }) => {
      const seen = await open()
      const { insertedId } = await c.insertOne({ x: 1 })
      await seen.until(() => seen.changes.length > 0, 'the insert')
      const [change] = seen.changes
      assert.deepEqual(
        { ...change, id: '', position: '', timestamp: 0 },
        {
          id: '',
          source: 'default',
          op: 'insert',
          database: database.name,
          table: 'c',
          key: { _id: insertedId },
          before: null,
          after: { _id: insertedId, x: 1 },
          changed: null,
          timestamp: 0,
          transaction: null,
          position: '',
        }
      )
      assert.ok(Math.abs(change.timestamp - Date.now()) < 60_000, `timestamp ${change.timestamp}`)
    }
  )

  specified(
    'Executing a watch helper on a Collection results in notifications for changes to the specified collection',
    async ({ c, database, db, open }) => {
      const seen = await open()
      const other = database.client.db(`${database.name}_other`)
      await db.collection('d').insertOne({ x: 1 })
      await other.collection('c').insertOne({ x: 2 })
      await c.insertOne({ x: 3 })
      await expectInserts(seen, c, [3])
      await other.dropDatabase()
    }
  )

  specified('Change Stream should allow valid aggregate pipeline stages', async ({ c, open }) => {
    const pipeline = [{ $match: { 'fullDocument.x': { $in: [3, 'end'] } } }]
    const seen = await open({ pipeline })
    await c.insertMany([{ y: 2 }, { x: 3 }, { x: 4 }])
    await expectInserts(seen, c, [3])
  })

  specified(
    'Executing a watch helper on a Database results in notifications for changes to all collections in the specified database.',
    async ({ c, database, db, open }) => {
      const seen = await open({ tables: undefined })
      const other = database.client.db(`${database.name}_other`)
      await db.collection('d').insertOne({ x: 1 })
      await other.collection('c').insertOne({ x: 2 })
      await c.insertOne({ x: 3 })
      await seen.until(() => seen.changes.at(-1)?.after?.x === 3, 'the last insert')
      assert.deepEqual(shown(seen.changes), [
        ['insert', 'd', 1],
        ['insert', 'c', 3],
      ])
      await other.dropDatabase()
    }
  )

  specified(
    'Executing a watch helper on a MongoClient results in notifications for changes to all collections in all databases in the cluster.',
    async ({ c, database, db, open }) => {
      const other = database.client.db(`${database.name}_other`)
      const seen = await open({ url: server.url, tables: [`${database.name}*.*`] })
      await db.collection('d').insertOne({ x: 1 })
      await other.collection('c').insertOne({ x: 2 })
      await c.insertOne({ x: 3 })
      await seen.until(() => seen.changes.at(-1)?.after?.x === 3, 'the last insert')
      assert.deepEqual(
        seen.changes.map(change => [change.database, change.table, change.after.x]),
        [
          [database.name, 'd', 1],
          [other.databaseName, 'c', 2],
          [database.name, 'c', 3],
        ]
      )
      await other.dropDatabase()
    }
  )

  specified('Test insert, update, replace, and delete event types', async ({ c, open }) => {
    const seen = await open()
    const { insertedId: _id } = await c.insertOne({ x: 1 })
    await c.updateOne({ x: 1 }, { $set: { x: 2 } })
    await c.replaceOne({ x: 2 }, { x: 3 })
    await c.deleteOne({ x: 3 })
    await seen.until(() => seen.changes.length === 4, 'four changes')
    assert.deepEqual(
      seen.changes.map(({ op, key, after: image, changed, update }) => [op, key, image, changed, update]),
      [
        ['insert', { _id }, { _id, x: 1 }, null, undefined],
        [
          'update',
          { _id },
          { _id, x: 2 },
          ['x'],
          { updatedFields: { x: 2 }, removedFields: [], truncatedArrays: [] },
        ],
        ['replace', { _id }, { _id, x: 3 }, null, undefined],
        ['delete', { _id }, null, null, undefined],
      ]
    )
  })

  // The driver's stream ends with these; ours goes on behind them.
  specified('Test rename and invalidate event types', async ({ c, db, open }) => {
    const seen = await open()
    await c.insertOne({ x: 1 })
    await c.rename('d')
    await db.createCollection('c')
    await db.collection('c').insertOne({ x: 2 })
    await seen.until(() => seen.changes.at(-1)?.after?.x === 2, 'the insert into the new collection')
    assert.deepEqual(shown(seen.changes), [
      ['insert', 'c', 1],
      ['rename', 'c', undefined],
      ['insert', 'c', 2],
    ])
  })

  specified('Test drop and invalidate event types', async ({ c, db, open }) => {
    const seen = await open()
    for (const x of [1, 2, 3]) {
      await db.collection('c').insertOne({ x })
      await c.drop()
    }
    await c.insertOne({ x: 4 })
    await seen.until(() => seen.changes.at(-1)?.after?.x === 4, 'the last insert')
    assert.deepEqual(
      shown(seen.changes),
      [1, 2, 3]
        .flatMap(x => [
          ['insert', 'c', x],
          ['drop', 'c', undefined],
        ])
        .concat([['insert', 'c', 4]])
    )
  })

  specified('Test consecutive resume', async ({ c, database, open }) => {
    await fail(database.client, { failCommands: ['getMore'], closeConnection: true }, { times: 2 })
    const seen = await open()
    // One after the other: all at once, they could come with the answer that opens the stream anew.
    for (const x of [1, 2, 3]) {
      await c.insertOne({ x })
      await seen.until(() => seen.changes.length >= x, `insert ${x}`)
    }
    await expectInserts(seen, c, [1, 2, 3])
    assert.equal(await endFailing(database.client), 2)
  })
})

describe('change-streams-errors', () => {
  specified(
    'Change Stream should error when an invalid aggregation stage is passed in',
    async ({ database }) => {
      const start = async () =>
        new Streamer({ url: database.url, pipeline: [{ $unsupported: 'foo' }] }).start()
      await assert.rejects(start, error => {
        assert.ok(error instanceof StreamerError, String(error))
        assert.notEqual(error.retry, 'automatic')
        return true
      })
    }
  )

  // The driver gives up here; we do not.
  specified('change stream errors on ElectionInProgress', async ({ c, database, open }) => {
    await fail(database.client, { failCommands: ['getMore'], errorCode: 216 })
    const seen = await open()
    await c.insertOne({ x: 1 })
    await expectInserts(seen, c, [1])
    assert.equal(await endFailing(database.client), 1)
  })
})

const RESUMABLE = {
  HostUnreachable: 6,
  HostNotFound: 7,
  NetworkTimeout: 89,
  ShutdownInProgress: 91,
  PrimarySteppedDown: 189,
  ExceededTimeLimit: 262,
  SocketException: 9001,
  NotWritablePrimary: 10107,
  InterruptedAtShutdown: 11600,
  InterruptedDueToReplStateChange: 11602,
  NotPrimaryNoSecondaryOk: 13435,
  NotPrimaryOrSecondary: 13436,
  StaleShardVersion: 63,
  StaleEpoch: 150,
  RetryChangeStream: 234,
  FailedToSatisfyReadPreference: 133,
}

describe('change-streams-resume-errorLabels', () => {
  const point = 'failGetMoreAfterCursorCheckout'
  for (const [name, errorCode] of Object.entries(RESUMABLE)) {
    specified(`change stream resumes after ${name}`, async ({ c, database, open }) => {
      await fail(database.client, { errorCode, closeConnection: false }, { point })
      const seen = await open()
      await c.insertOne({ x: 1 })
      await expectInserts(seen, c, [1])
      assert.equal(await endFailing(database.client, point), 1)
    })
  }

  specified(
    'change stream resumes if error contains ResumableChangeStreamError',
    async ({ c, database, open }) => {
      const errorLabels = ['ResumableChangeStreamError']
      await fail(database.client, { failCommands: ['getMore'], errorCode: 50, errorLabels })
      const seen = await open()
      await c.insertOne({ x: 1 })
      await expectInserts(seen, c, [1])
      assert.equal(await endFailing(database.client), 1)
    }
  )

  // The driver gives up here; we do not.
  specified(
    'change stream does not resume if error does not contain ResumableChangeStreamError',
    async ({ c, database, open }) => {
      await fail(database.client, { failCommands: ['getMore'], errorCode: 6, errorLabels: [] })
      const seen = await open()
      await c.insertOne({ x: 1 })
      await expectInserts(seen, c, [1])
      assert.equal(await endFailing(database.client), 1)
    }
  )
})

describe('change-streams-resume-allowlist', () => {
  specified('change stream resumes after a network error', async ({ c, database, open }) => {
    await fail(database.client, { failCommands: ['getMore'], closeConnection: true })
    const seen = await open()
    await c.insertOne({ x: 1 })
    await expectInserts(seen, c, [1])
    assert.equal(await endFailing(database.client), 1)
  })

  specified('change stream resumes after CursorNotFound', async ({ c, database, open }) => {
    await fail(database.client, { failCommands: ['getMore'], errorCode: 43 })
    const seen = await open()
    await c.insertOne({ x: 1 })
    await expectInserts(seen, c, [1])
    assert.equal(await endFailing(database.client), 1)
  })

  specified('a cursor that an operator kills is opened again', async ({ c, database, open }) => {
    const seen = await open()
    for (const x of [1, 2, 3]) {
      await c.insertOne({ x })
      await seen.until(() => seen.changes.length === x, `insert ${x}`)
      await database.client.db('admin').command({ killAllSessions: [] })
    }
    await expectInserts(seen, c, [1, 2, 3])
  })
})

describe('change-streams-pre_and_post_images', () => {
  /** What an update and a delete show. @param {boolean} isEnabled @param {object} options @param {unknown[]} expected */
  function images(name, isEnabled, options, expected) {
    specified(name, async ({ db, open }) => {
      const c = await db.createCollection('c2', { changeStreamPreAndPostImages: { enabled: isEnabled } })
      await c.insertOne(/** @type {any} */ ({ _id: 1, x: 1, y: 1 }))
      const seen = await open({ tables: ['c2'], ...options })
      await c.updateOne({ _id: /** @type {any} */ (1) }, { $set: { x: 2 } })
      await seen.until(() => seen.changes.length > 0, 'the update')
      const [{ before: old, after: image, changed }] = seen.changes
      assert.deepEqual([old, image, changed], [...expected, ['x']])
    })
  }
  const old = { _id: 1, x: 1, y: 1 }
  const image = { _id: 1, x: 2, y: 1 }
  const partial = { _id: 1, x: 2 }
  images(
    'fullDocument:whenAvailable with changeStreamPreAndPostImages enabled',
    true,
    { fullDocument: 'whenAvailable' },
    [null, image]
  )
  images(
    'fullDocument:whenAvailable with changeStreamPreAndPostImages disabled',
    false,
    { fullDocument: 'whenAvailable' },
    [null, partial]
  )
  images(
    'fullDocument:required with changeStreamPreAndPostImages enabled',
    true,
    { fullDocument: 'required' },
    [null, image]
  )
  images(
    'fullDocumentBeforeChange:whenAvailable with changeStreamPreAndPostImages enabled',
    true,
    { fullDocumentBeforeChange: 'whenAvailable' },
    [old, partial]
  )
  images(
    'fullDocumentBeforeChange:whenAvailable with changeStreamPreAndPostImages disabled',
    false,
    { fullDocumentBeforeChange: 'whenAvailable' },
    [null, partial]
  )
  images(
    'fullDocumentBeforeChange:required with changeStreamPreAndPostImages enabled',
    true,
    { fullDocumentBeforeChange: 'required' },
    [old, partial]
  )
  images(
    'fullDocumentBeforeChange:off with changeStreamPreAndPostImages enabled',
    true,
    { fullDocumentBeforeChange: 'off' },
    [null, partial]
  )
  images(
    'fullDocumentBeforeChange:off with changeStreamPreAndPostImages disabled',
    false,
    { fullDocumentBeforeChange: 'off' },
    [null, partial]
  )

  for (const option of ['fullDocument', 'fullDocumentBeforeChange']) {
    specified(`${option}:required with changeStreamPreAndPostImages disabled`, async ({ database }) => {
      const streamer = new Streamer({ url: database.url, tables: ['c'], [option]: 'required' })
      await assert.rejects(streamer.start(), error => {
        assert.ok(error instanceof StreamerError, String(error))
        assert.match(error.message, /collMod/)
        return true
      })
    })
  }
})

describe('change-streams-showExpandedEvents', () => {
  specified(
    'when showExpandedEvents is true, createIndex events are reported',
    async ({ c, database, open }) => {
      const seen = await open()
      await c.createIndex({ x: 1 })
      await seen.until(() => seen.schemas.length > 0, 'the definition')
      const [{ database: name, table, statement }] = seen.schemas
      assert.deepEqual([name, table], [database.name, 'c'])
      assert.match(statement, /createIndexes/)
    }
  )

  specified('when showExpandedEvents is true, dropIndexes events are reported', async ({ c, open }) => {
    await c.createIndex({ x: 1 }, { name: 'x_1' })
    const seen = await open()
    await c.dropIndex('x_1')
    await seen.until(
      () => seen.schemas.some(({ statement }) => /dropIndexes/.test(statement)),
      'the definition'
    )
  })

  specified('when showExpandedEvents is true, create events are reported', async ({ db, open }) => {
    const seen = await open({ tables: undefined })
    await db.createCollection('foo')
    await seen.until(
      () => seen.schemas.some(({ table, statement }) => table === 'foo' && /create/.test(statement)),
      'foo'
    )
  })

  specified('when showExpandedEvents is true, modify events are reported', async ({ c, db, open }) => {
    await c.createIndex({ x: 1 }, { name: 'x_2' })
    const seen = await open()
    await db.command({ collMod: 'c' })
    await seen.until(() => seen.schemas.some(({ statement }) => /modify/.test(statement)), 'the definition')
  })
})

describe('prose tests', () => {
  specified('1, 13: every change has a position behind which reading goes on', async ({ c, open }) => {
    const seen = await open()
    await c.insertMany([1, 2, 3, 4, 5].map(x => ({ x })))
    await seen.until(() => seen.changes.length === 5, 'five inserts')
    for (const { position, after: image } of [...seen.changes]) {
      const resumed = await open({ from: position })
      await resumed.until(() => resumed.changes.length === 5 - image.x, `what is behind ${image.x}`)
      assert.deepEqual(
        resumed.changes.map(change => change.after.x),
        [1, 2, 3, 4, 5].filter(x => x > image.x)
      )
      assert.deepEqual(
        resumed.changes.map(({ id }) => id),
        seen.changes.slice(image.x).map(({ id }) => id)
      )
      await resumed.stop()
    }
  })

  specified('3: resumes with the initial pipeline and options', async ({ c, database, open }) => {
    const pipeline = [{ $match: { 'fullDocument.x': { $gte: 10 } } }]
    const seen = await open({ pipeline, fullDocument: 'updateLookup' })
    await c.insertMany([{ x: 1 }, { x: 10 }])
    await seen.until(() => seen.changes.length === 1, 'the first insert')
    await fail(database.client, { failCommands: ['getMore'], errorCode: 11600 })
    await c.insertMany([{ x: 2 }, { x: 11 }])
    await eventually(() => seen.changes.length === 2, { what: 'the insert behind the error' })
    assert.equal(await endFailing(database.client), 1)
    await c.updateOne({ x: 11 }, { $set: { y: 1 } })
    await seen.until(() => seen.changes.length === 3, 'the update')
    const { _id, ...image } = seen.changes[2].after
    assert.deepEqual(seen.changes[2].key, { _id })
    assert.deepEqual(image, { x: 11, y: 1 })
  })

  specified('4: the first aggregate failing is tried again', async ({ c, database, open }) => {
    await fail(database.client, { failCommands: ['aggregate'], errorCode: 10107 }, { times: 4 })
    const seen = await open()
    await c.insertOne({ x: 1 })
    await expectInserts(seen, c, [1])
    assert.equal(await endFailing(database.client), 4)
  })

  specified('4: an aggregate that fails while resuming is tried again', async ({ c, database, open }) => {
    const seen = await open()
    await c.insertOne({ x: 1 })
    await seen.until(() => seen.changes.length === 1, 'the first insert')
    await fail(
      database.client,
      { failCommands: ['aggregate', 'getMore'], closeConnection: true },
      { times: 6 }
    )
    await c.insertOne({ x: 2 })
    await expectInserts(seen, c, [1, 2])
    assert.equal(await endFailing(database.client), 6)
  })

  specified('8: killCursors may fail', async ({ c, database, open }) => {
    const seen = await open()
    await fail(database.client, { failCommands: ['getMore', 'killCursors'], errorCode: 89 }, { times: 3 })
    await c.insertOne({ x: 1 })
    await expectInserts(seen, c, [1])
    await endFailing(database.client)
  })

  specified('7, 11: the position of a quiet collection moves with the server', async ({ c, db, open }) => {
    const seen = await open()
    const positions = new Set()
    seen.streamer.on('heartbeat', ({ position }) => positions.add(position))
    await eventually(() => positions.size > 0, { what: 'a heartbeat' })
    const first = positions.size
    for (let n = 0; n < 50; n++) await db.collection('busy').insertOne({ n })
    await eventually(() => positions.size > first, { what: 'a heartbeat with a later position' })
    const resumed = await open({ from: [...positions].at(-1) })
    await c.insertOne({ x: 1 })
    await expectInserts(resumed, c, [1])
  })

  specified(
    '17, 18: reading goes on behind an invalidation, and behind an error after it',
    async ({ c, database, open }) => {
      const seen = await open()
      await c.insertOne({ x: 1 })
      await c.drop()
      await seen.until(() => seen.changes.at(-1)?.op === 'drop', 'the drop')
      const { position } = seen.changes.at(-1)
      await seen.stop()
      // No result yet behind the position of the drop.
      await fail(database.client, { failCommands: ['getMore'], errorCode: 11600 })
      const resumed = await open({ from: position })
      await c.insertOne({ x: 2 })
      await resumed.until(() => resumed.changes.length === 1, 'the insert behind the drop')
      await endFailing(database.client)
      // One result.
      await fail(database.client, { failCommands: ['getMore'], errorCode: 11600 })
      await c.insertOne({ x: 3 })
      await expectInserts(resumed, c, [2, 3])
      await endFailing(database.client)
    }
  )
})
