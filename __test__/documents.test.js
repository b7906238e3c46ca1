'use strict'

// MongoDB's record of a batch becomes a change whose documents are what `bson` makes of them, and behave like ordinary fields.

const assert = require('node:assert/strict')
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { test } = require('node:test')
const util = require('node:util')
const v8 = require('node:v8')
const vm = require('node:vm')
const bson = require('bson')
const { BatchReader, Shapes } = require('../lib/decode')
const { eventually } = require('./support/servers')

const OPERATIONS = ['insert', 'update', 'delete', 'read', 'replace']
const SHAPES = JSON.stringify([
  { id: 7, database: 'shop', table: 'orders', columns: [], key: [], present: [] },
])

/** Bytes of what a test gives: bytes as they are, a document serialized, nothing for nothing. */
function bytesOf(document) {
  if (document === undefined || document === null) return Buffer.alloc(0)
  return document instanceof Uint8Array ? Buffer.from(document) : Buffer.from(bson.serialize(document))
}

/** A batch of MongoDB's records, as the engine writes them. */
function batch(records) {
  const numbers = []
  const bytes = []
  let text = ''
  let bytesEnd = 0
  const putText = value => numbers.push((text += value).length)
  const putBytes = value => {
    const part = bytesOf(value)
    bytes.push(part)
    numbers.push((bytesEnd += part.length))
  }
  for (const record of records) {
    const { op = 'insert', id = 'c1', position = 'p1', transaction = null, changed = null } = record
    numbers.push(5, record.timestamp ?? 1_700_000_000_123)
    putText(id)
    putText(position)
    putText(transaction?.id ?? '')
    numbers.push(transaction?.index ?? 0, transaction?.last ? 1 : 0, OPERATIONS.indexOf(op), 7)
    putBytes(record.key ?? { _id: 1 })
    putBytes(record.before)
    putBytes(record.after)
    putBytes(record.update)
    putText(changed === null ? '' : JSON.stringify(changed))
  }
  const latin = Buffer.from(text, 'latin1')
  return { numbers: Float64Array.from(numbers), text: latin, bytes: Buffer.concat(bytes), shapes: SHAPES }
}

function decode(...records) {
  const reader = new BatchReader('default', batch(records), new Shapes(), 'bigint')
  const changes = reader.next(Infinity)
  assert.equal(reader.isDone, true)
  return changes
}

/** What a change with documents is, in ordinary fields. */
const ordinary = {
  id: 'c1',
  source: 'default',
  op: 'update',
  database: 'shop',
  table: 'orders',
  key: { _id: 1 },
  before: { _id: 1, a: 1, list: [1, 2, 3], gone: true },
  after: { _id: 1, a: 2, list: [1] },
  changed: ['a', 'gone', 'list'],
  timestamp: 1_700_000_000_123,
  transaction: { id: 'x', index: 3, last: true },
  position: 'p1',
  update: {
    updatedFields: { a: 2 },
    removedFields: ['gone'],
    truncatedArrays: [{ field: 'list', newSize: 1 }],
  },
}
const updated = () => decode(ordinary)[0]

test('a record becomes a change', () => {
  assert.deepEqual(updated(), ordinary)
  assert.deepEqual(Object.keys(updated()), Object.keys(ordinary))
  assert.deepEqual(decode({ op: 'delete', key: { _id: 'k', region: 'eu' } }), [
    {
      id: 'c1',
      source: 'default',
      op: 'delete',
      database: 'shop',
      table: 'orders',
      key: { _id: 'k', region: 'eu' },
      before: null,
      after: null,
      changed: null,
      timestamp: 1_700_000_000_123,
      transaction: null,
      position: 'p1',
    },
  ])
})

test('several records follow one another', () => {
  const changes = decode(
    { id: 'a', key: { _id: 1 }, after: { _id: 1, text: 'grün 😀' } },
    { id: 'b', key: { _id: 2 }, op: 'delete', before: { _id: 2 } },
    { id: 'c', key: { _id: 3 }, op: 'replace', after: { _id: 3, n: 1 }, changed: [] }
  )
  assert.deepEqual(
    changes.map(({ id, op, key, before, after, changed }) => [id, op, key, before, after, changed]),
    [
      ['a', 'insert', { _id: 1 }, null, { _id: 1, text: 'grün 😀' }, null],
      ['b', 'delete', { _id: 2 }, { _id: 2 }, null, null],
      ['c', 'replace', { _id: 3 }, null, { _id: 3, n: 1 }, []],
    ]
  )
})

test('an update without an image shows the fields that were set whole', () => {
  const updatedFields = { a: 5, 'b.c': 1, 'list.0': 2, $set: 3, __proto__: null, '': 4 }
  Object.defineProperty(updatedFields, '__proto__', { value: { x: 1 }, enumerable: true })
  const [{ after, update }] = decode({
    op: 'update',
    key: { _id: 9 },
    update: { updatedFields, removedFields: ['gone'], truncatedArrays: [] },
  })
  assert.deepEqual(Object.entries(after), [
    ['_id', 9],
    ['a', 5],
    ['$set', 3],
    ['', 4],
    ['__proto__', { x: 1 }],
  ])
  assert.equal(Object.getPrototypeOf(after), Object.prototype)
  after.a = 6
  assert.equal(update.updatedFields.a, 5)
})

const deep = () => {
  let document = { end: true }
  for (let level = 0; level < 98; level++) document = level % 2 === 0 ? { d: document } : { d: [document] }
  return document
}
const named = document => {
  for (const name of ['__proto__', 'constructor', 'toString', '', 'a.b', '$set', '0', 'é😀']) {
    Object.defineProperty(document, name, { value: { [name + '!']: 1 }, enumerable: true, writable: true })
  }
  return document
}
/** `{a: 1, a: 2}`, which no object can be. */
const duplicated = Buffer.from([19, 0, 0, 0, 16, 97, 0, 1, 0, 0, 0, 16, 97, 0, 2, 0, 0, 0, 0])
/** `{u: undefined}` (type 6), which `serialize` leaves out. */
const undefinedType = Buffer.from([8, 0, 0, 0, 6, 117, 0, 0])

const types = {
  numbers: {
    int: 1,
    negative: -2147483648,
    double: 1.5,
    minusZero: -0,
    nan: NaN,
    infinite: Infinity,
    wholeDouble: new bson.Double(3),
    int32: new bson.Int32(7),
    long: bson.Long.fromString('5'),
    safe: bson.Long.fromString('9007199254740991'),
    large: bson.Long.fromString('9223372036854775807'),
    negativeLarge: bson.Long.fromString('-9223372036854775808'),
    decimal: bson.Decimal128.fromString('-1234567890.000000000000000000000001'),
    decimalNan: bson.Decimal128.fromString('NaN'),
  },
  binaries: {
    generic: new bson.Binary(Buffer.from([1, 2, 3])),
    empty: new bson.Binary(Buffer.alloc(0)),
    old: new bson.Binary(Buffer.from([1, 2, 3]), 2),
    uuid: new bson.UUID('01234567-89ab-4cde-8f01-23456789abcd'),
    oldUuid: new bson.Binary(Buffer.alloc(16, 3), 3),
    md5: new bson.Binary(Buffer.alloc(16, 5), 5),
    encrypted: new bson.Binary(Buffer.from([9]), 6),
    vector: new bson.Binary(Buffer.from([3, 0, 1, 2]), 9),
    own: new bson.Binary(Buffer.from([7]), 128),
  },
  others: {
    id: new bson.ObjectId('0123456789abcdef01234567'),
    date: new Date(1_600_000_000_123),
    before: new Date(-1),
    far: new Date(8.64e15),
    text: 'grün 😀 \u0000 nul',
    empty: '',
    yes: true,
    no: false,
    nothing: null,
    list: [1, 'two', [3], { four: 4 }],
    none: [],
    object: {},
    regex: /^a.b$/im,
    regexOptions: new bson.BSONRegExp('a', 'x'),
    timestamp: new bson.Timestamp({ t: 1_700_000_000, i: 5 }),
    min: new bson.MinKey(),
    max: new bson.MaxKey(),
    code: new bson.Code('function () {}'),
    scoped: new bson.Code('function () { return a }', { a: 1 }),
    symbol: new bson.BSONSymbol('s'),
    reference: new bson.DBRef('orders', new bson.ObjectId('0123456789abcdef01234567'), 'shop'),
  },
  undefinedType,
  deep: deep(),
  named: named({}),
  duplicated,
  wide: Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`field${i}`, i])),
  empty: {},
}

for (const [name, document] of Object.entries(types)) {
  test(`values are what bson makes of them: ${name}`, () => {
    const bytes = bytesOf(document)
    const expected = bson.deserialize(bytes)
    const update = bson.serialize({ updatedFields: bson.deserialize(bytes, { promoteValues: false }) })
    const [change] = decode({ op: 'update', before: bytes, after: bytes, update })
    const found = [change.before, change.after]
    for (const value of found) {
      assert.deepEqual(value, expected)
      assert.equal(util.inspect(value, { depth: 200 }), util.inspect(expected, { depth: 200 }))
      assert.ok(bson.serialize(value).equals?.(bson.serialize(expected)) ?? true)
    }
    assert.deepEqual(change.update.updatedFields, bson.deserialize(update).updatedFields)
    assert.deepEqual(change.update.removedFields, [])
  })
}

test('an _id of any type is the key', () => {
  for (const _id of [new bson.ObjectId(), 'a', 1.5, { a: 1, b: [2] }, new Date(5), new bson.UUID(), null]) {
    const [{ key }] = decode({ key: { _id } })
    assert.deepEqual(key, bson.deserialize(bson.serialize({ _id })))
  }
})

test('a document of 16 MB', () => {
  const document = {
    _id: 1,
    text: 'x'.repeat(8 * 1024 * 1024),
    bytes: new bson.Binary(Buffer.alloc(8_000_000, 7)),
  }
  const [{ before, after }, next] = decode(
    { before: document, after: document },
    { id: 'n', after: { _id: 2 } }
  )
  assert.equal(before.text, document.text)
  assert.ok(document.bytes.buffer.equals(after.bytes.buffer))
  assert.deepEqual(next.after, { _id: 2 })
})

test('text that is no UTF-8 is delivered', () => {
  const bytes = bytesOf({ _id: 1, name: 'ab', other: 'c' })
  bytes[bytes.indexOf('ab')] = 0xff
  assert.throws(() => bson.deserialize(bytes), /UTF-8/)
  assert.deepEqual(decode({ after: bytes })[0].after, { _id: 1, name: '\ufffdb', other: 'c' })
})

test('documents are decoded when they are looked at, and once', () => {
  const broken = bytesOf({ a: 1 })
  broken[4] = 0x7e
  const [change] = decode({ op: 'update', before: broken, after: { _id: 1 } })
  assert.equal(change.after, change.after)
  assert.throws(() => change.before, { name: 'BSONError' })
})

// Each way of looking at a change finds in it what it finds in an object with ordinary fields.
const looks = {
  'Object.keys': change => Object.keys(change),
  'Object.entries': change => Object.entries(change),
  'for in': change => {
    const names = []
    for (const name in change) names.push(name)
    return names
  },
  spread: change => ({ ...change }),
  'Object.assign': change => Object.assign({}, change),
  rest: ({ id: _id, ...rest }) => rest,
  hasOwn: change => ['key', 'before', 'after', 'update'].map(name => Object.hasOwn(change, name)),
  enumerable: change =>
    ['before', 'after', 'update'].map(name => Object.prototype.propertyIsEnumerable.call(change, name)),
  prototype: change => Object.getPrototypeOf(change),
  structuredClone: change => structuredClone(change),
  'v8.serialize': change => v8.deserialize(v8.serialize(change)),
  'JSON.stringify': change => JSON.stringify(change),
  'JSON.stringify of some': change => JSON.stringify(change, ['after', 'a']),
  'util.inspect': change => util.inspect(change, { depth: 10 }),
  'util.inspect of depth 0': change => util.inspect(change, { depth: 0 }),
  'util.inspect sorted': change => util.inspect({ list: [change] }, { sorted: true, depth: 5 }),
  'util.format': change => util.format('%o %s %j', change.after, change.id, change),
  'through a proxy': change => ({ ...new Proxy(change, {}) }).after,
  'Reflect.get with another receiver': change => Reflect.get(change, 'before', Object.create(change)),
  'Object.create': change => Object.create(change).after,
  frozen: change => Object.isFrozen(Object.freeze(change)) && { ...change },
  delete: change => delete change.after && Object.keys(change),
  assigned: change => {
    change.after = { mine: 1 }
    change.before = null
    change.update = undefined
    return { ...change }
  },
  'assigned bytes': change => {
    change.after = new Uint8Array([1])
    return change.after
  },
  'assigned to an heir': change => {
    const heir = Object.create(change)
    heir.after = 1
    return [Object.keys(heir), heir.after, change.after]
  },
  'assigned when frozen': change => {
    Object.freeze(change)
    try {
      change.after = 1
    } catch (error) {
      return [error.name, change.after]
    }
    return 'nothing was thrown'
  },
  defined: change => {
    Object.defineProperty(change, 'after', { value: 1 })
    return change.after
  },
  mutated: change => {
    change.after.a = 100
    change.key._id = 2
    return [change.after, change.key, change.before]
  },
}

for (const [name, look] of Object.entries(looks)) {
  test(`a change behaves as an ordinary object: ${name}`, () => {
    assert.deepEqual(look(updated()), look(structuredClone(ordinary)))
  })
}

test('two changes are compared by value, in both directions and by both comparisons', () => {
  const loose = require('node:assert')
  assert.deepEqual(updated(), updated())
  assert.deepEqual(ordinary, updated())
  loose.deepEqual(updated(), ordinary)
  const other = { ...ordinary, after: { ...ordinary.after, a: 3 } }
  assert.notDeepEqual(updated(), decode(other)[0])
  assert.notDeepEqual(updated(), other)
  assert.throws(() => assert.deepEqual(updated(), other), /a: 2/)
})

test('a change that is kept does not keep its batch', async () => {
  v8.setFlagsFromString('--expose-gc')
  const collectGarbage = vm.runInNewContext('gc')
  const filler = { _id: 0, bytes: new bson.Binary(Buffer.alloc(4_000_000)) }
  const kept = []
  for (let i = 0; i < 25; i++) {
    const payload = batch([
      { after: filler },
      { after: { _id: i, bytes: new bson.Binary(Buffer.from([i])) } },
    ])
    kept.push(new BatchReader('default', payload, new Shapes(), 'bigint').next(Infinity)[1])
  }
  const areGone = () => {
    collectGarbage()
    return process.memoryUsage().arrayBuffers < 40_000_000
  }
  // 17 MB are a buffer of bson itself. Freed memory is given back by a thread of its own.
  await eventually(areGone, { what: 'the batches to be collected' })
  assert.deepEqual(kept[7].after._id, 7)
})

test('instances are those of the mongodb driver', () => {
  const { ObjectId } = require('mongodb')
  const [{ key }] = decode({ key: { _id: new ObjectId() } })
  assert.ok(key._id instanceof ObjectId)
})

test('without bson, a sentence says what to install', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'streamer-'))
  try {
    fs.cpSync(path.join(__dirname, '../lib'), path.join(folder, 'lib'), { recursive: true })
    const script = `try { require('./lib/documents').loadBson() } catch (e) { console.log(JSON.stringify(e)) }`
    const { stdout } = spawnSync(process.execPath, ['-e', script], { cwd: folder, encoding: 'utf8' })
    const { code, retry, message, details } = JSON.parse(stdout)
    assert.deepEqual(
      [code, retry, details],
      ['ERR_STREAMER_PACKAGE_MISSING', 'operator', { package: 'bson' }]
    )
    assert.match(message, /npm install bson/)
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
})
