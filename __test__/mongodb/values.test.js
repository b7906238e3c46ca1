'use strict'

// Every BSON type, end to end: what a change shows is what the official driver finds.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { inspect } = require('node:util')
const bson = require('mongodb')
const { calculateObjectSize } = require('bson')
const { collect } = require('../support/collect')
const { freshMongodb } = require('../support/mongodb')
const { openKit } = require('../support/servers')

/** @type {Awaited<ReturnType<typeof openKit>>} */
let kit
/** @type {import('../support/servers').Server} */
let server
before(async () => {
  kit = await openKit()
  server = await kit.mongodb()
})
after(() => kit?.close())

const deep = levels => {
  let document = { end: true }
  for (let level = 0; level < levels; level++)
    document = level % 2 === 0 ? { d: document } : { d: [document] }
  return document
}
const named = names => {
  const document = {}
  for (const name of names) Object.defineProperty(document, name, { value: name, enumerable: true })
  return document
}

/** @type {Record<string, unknown>} */
const values = {
  int32: new bson.Int32(-2147483648),
  int: 7,
  double: 1.5,
  'whole double': new bson.Double(3),
  'minus zero': -0,
  NaN: NaN,
  infinity: -Infinity,
  'tiny double': 5e-324,
  'small long': bson.Long.fromString('5'),
  'safe long': bson.Long.fromString('9007199254740991'),
  'large long': bson.Long.fromString('9223372036854775807'),
  'negative long': bson.Long.fromString('-9223372036854775808'),
  decimal: bson.Decimal128.fromString('-1234567890.000000000000000000000001'),
  'decimal of zero': bson.Decimal128.fromString('0E-6176'),
  'decimal NaN': bson.Decimal128.fromString('NaN'),
  'decimal infinity': bson.Decimal128.fromString('-Infinity'),
  text: 'grün 😀 東京',
  'empty text': '',
  'text with NUL': 'a\u0000b',
  'long text': 'é'.repeat(100_000),
  true: true,
  false: false,
  null: null,
  'object id': new bson.ObjectId('0123456789abcdef01234567'),
  date: new Date(1_600_000_000_123),
  'date before 1970': new Date(-62_135_596_800_000),
  'last date': new Date(8.64e15),
  timestamp: new bson.Timestamp({ t: 1_700_000_000, i: 5 }),
  binary: new bson.Binary(Buffer.from([0, 255, 7])),
  'empty binary': new bson.Binary(Buffer.alloc(0)),
  'old binary': new bson.Binary(Buffer.from([1, 2, 3]), 2),
  'old uuid': new bson.Binary(Buffer.alloc(16, 3), 3),
  uuid: new bson.UUID('01234567-89ab-4cde-8f01-23456789abcd'),
  md5: new bson.Binary(Buffer.alloc(16, 5), 5),
  'binary of a subtype of its own': new bson.Binary(Buffer.from([7]), 200),
  regex: /^a.b$/im,
  'regex with options': new bson.BSONRegExp('a', 'x'),
  code: new bson.Code('function () {}'),
  'code with scope': new bson.Code('function () { return a }', { a: 1 }),
  symbol: new bson.BSONSymbol('s'),
  'min key': new bson.MinKey(),
  'max key': new bson.MaxKey(),
  reference: new bson.DBRef('orders', new bson.ObjectId('0123456789abcdef01234567'), 'shop'),
  array: [1, 'two', [3, []], { four: 4 }, null],
  'empty array': [],
  'empty object': {},
  'ninety-five levels': deep(95),
  'names that mean something': named([
    '__proto__',
    'constructor',
    'toString',
    '',
    'a.b',
    '$inside',
    '0',
    'é😀',
    'x'.repeat(300),
  ]),
  'many fields': Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`f${i}`, i])),
}

/** @param {unknown} value */
const printed = value => inspect(value, { depth: 200, maxArrayLength: 10, maxStringLength: 100 })

async function withCollection(body, options = {}) {
  const database = await freshMongodb(server)
  const c = await database.db.createCollection('c', { changeStreamPreAndPostImages: { enabled: true } })
  const seen = await collect({
    url: database.url,
    fullDocument: 'whenAvailable',
    fullDocumentBeforeChange: 'whenAvailable',
    ...options,
  })
  try {
    await body({ c, seen, db: database.db })
    assert.deepEqual(seen.gaps, [])
  } finally {
    await seen.stop()
    await database.drop()
  }
}

test('every value in an insert, an update, a replacement and a delete', async () => {
  await withCollection(async ({ c, seen }) => {
    const finds = []
    const find = async _id => finds.push(await c.findOne({ _id }))
    for (const [_id, value] of Object.entries(values)) {
      await c.insertOne({ _id, value })
      await find(_id)
      await c.updateOne({ _id }, { $set: { other: value } })
      await find(_id)
      await c.replaceOne({ _id }, { replaced: [value] })
      await find(_id)
      await c.deleteOne({ _id })
    }
    const count = Object.keys(values).length * 4
    await seen.until(() => seen.changes.length === count, `${count} changes`)
    const { changes } = seen
    for (const [index, _id] of Object.keys(values).entries()) {
      const [inserted, updated, replaced, deleted] = changes.slice(index * 4, index * 4 + 4)
      const found = finds.slice(index * 3, index * 3 + 3)
      assert.deepEqual(
        [inserted.op, updated.op, replaced.op, deleted.op],
        ['insert', 'update', 'replace', 'delete']
      )
      assert.deepEqual([inserted.after, updated.after, replaced.after], found, _id)
      assert.deepEqual([updated.before, replaced.before, deleted.before], found, _id)
      assert.deepEqual(updated.update.updatedFields.other, found[1].other, _id)
      // Classes, order of fields, and minus zero too.
      assert.equal(printed([inserted.after, updated.after, replaced.after]), printed(found), _id)
      for (const change of [inserted, updated, replaced, deleted]) assert.deepEqual(change.key, { _id })
    }
  })
})

test('an _id of every type that can be one', async () => {
  await withCollection(async ({ c, seen }) => {
    const ids = Object.entries(values)
      .filter(
        ([name]) =>
          ![
            'array',
            'empty array',
            'regex',
            'regex with options',
            'null',
            'names that mean something',
          ].includes(name)
      )
      .map(([, value]) => value)
    const unique = []
    for (const _id of ids) {
      // Numbers are equal across their types.
      await c.insertOne({ _id: /** @type {any} */ (_id) }).then(
        () => unique.push(_id),
        error => assert.equal(error.code, 11000, error.message)
      )
    }
    const found = await c.find().sort({ $natural: 1 }).toArray()
    await seen.until(() => seen.changes.length === unique.length, 'all inserts')
    assert.ok(found.length > 35)
    assert.equal(printed(seen.changes.map(({ key }) => key)), printed(found))
    assert.ok(seen.changes.some(({ key }) => key._id instanceof bson.ObjectId))
  })
})

test('a hundred levels, and a document of exactly 16 MB', async () => {
  await withCollection(async ({ c, seen }) => {
    await c.insertOne({ _id: /** @type {any} */ (1), nested: deep(98) })
    const frame = calculateObjectSize({ _id: 2, text: '' })
    await c.insertOne({ _id: /** @type {any} */ (2), text: 'x'.repeat(16 * 1024 * 1024 - frame) })
    await c.insertOne({ _id: /** @type {any} */ (3) })
    await seen.until(() => seen.changes.length === 3, 'three inserts')
    const [first, second, third] = seen.changes
    assert.deepEqual(first.after, { _id: 1, nested: deep(98) })
    assert.equal(second.after.text.length, 16 * 1024 * 1024 - frame)
    assert.deepEqual(third.after, { _id: 3 })
  })
})

test('names at the top of a document', async () => {
  const names = ['__proto__', 'constructor', 'toString', '', 'a.b', '0', 'hasOwnProperty', 'é😀']
  await withCollection(async ({ c, seen }) => {
    const document = named(['_id', ...names])
    await c.insertOne(document)
    await c.updateOne({ _id: /** @type {any} */ ('_id') }, { $unset: { 0: '' }, $set: { constructor: 1 } })
    const found = await c.findOne()
    await seen.until(() => seen.changes.length === 2, 'two changes')
    const [inserted, updated] = seen.changes
    assert.deepEqual(Object.entries(inserted.after), Object.entries(document))
    assert.equal(Object.getPrototypeOf(inserted.after), Object.prototype)
    assert.deepEqual(updated.after, found)
    assert.deepEqual([...updated.changed].sort(), ['0', 'constructor'])
    assert.deepEqual(updated.update.removedFields, ['0'])
  })
})

test('updates without images: what was set whole is shown, and nothing is invented', async () => {
  await withCollection(
    async ({ c, seen }) => {
      await c.insertOne({ _id: /** @type {any} */ (1), a: 1, b: { c: 1, d: 2 }, list: [1, 2, 3], gone: 1 })
      await c.updateOne(
        { _id: /** @type {any} */ (1) },
        { $set: { a: 2, 'b.c': 5 }, $push: { list: 4 }, $unset: { gone: '' } }
      )
      await seen.until(() => seen.changes.length === 2, 'two changes')
      const [, { before: old, after: image, changed, update }] = seen.changes
      assert.equal(old, null)
      assert.deepEqual(image, { _id: 1, a: 2 })
      assert.deepEqual(update, {
        updatedFields: { a: 2, 'b.c': 5, 'list.3': 4 },
        removedFields: ['gone'],
        truncatedArrays: [],
      })
      assert.deepEqual([...changed].sort(), ['a', 'b.c', 'gone', 'list.3'])
    },
    { fullDocument: 'default', fullDocumentBeforeChange: 'off' }
  )
})

test('transactions keep their order, their id and their indices', async () => {
  await withCollection(async ({ c, seen, db }) => {
    const session = db.client.startSession()
    await session.withTransaction(async () => {
      await c.insertOne({ _id: /** @type {any} */ (1) }, { session })
      await c.updateOne({ _id: /** @type {any} */ (1) }, { $set: { a: 1 } }, { session })
      await c.deleteOne({ _id: /** @type {any} */ (1) }, { session })
    })
    await session.endSession()
    await c.insertOne({ _id: /** @type {any} */ (2) })
    await seen.until(() => seen.changes.length === 4, 'four changes')
    const [first, second, third, alone] = seen.changes.map(({ transaction }) => transaction)
    assert.deepEqual([first.index, second.index, third.index, alone], [0, 1, 2, null])
    assert.equal(new Set([first.id, second.id, third.id]).size, 1)
    assert.deepEqual(
      seen.changes.map(({ op }) => op),
      ['insert', 'update', 'delete', 'insert']
    )
  })
})
