'use strict'

// Batches that the engine's own writer wrote (see crates/streamer-core/tests/sample_batches.rs) become the right changes.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const v8 = require('node:v8')
const vm = require('node:vm')
const { JsonDifference } = require('..')
const { BatchReader, Shapes } = require('../lib/decode')

const lines = fs.readFileSync(path.join(__dirname, 'fixtures/batches.jsonl'), 'utf8').trim().split('\n')
const batches = lines.map(line => {
  const { numbers, text, wide, bytes, shapes } = JSON.parse(line)
  return {
    numbers: Float64Array.from(numbers, Number),
    text: Buffer.from(text, 'latin1'),
    wide: wide.length > 0 ? Buffer.from(wide) : undefined,
    bytes: bytes.length > 0 ? Buffer.from(bytes) : undefined,
    shapes: shapes.length > 0 ? JSON.stringify(shapes) : undefined,
  }
})

function decode(index, integers = 'bigint', shapes = new Shapes()) {
  const reader = new BatchReader('default', batches[index], shapes, integers)
  const changes = reader.next(Infinity)
  assert.equal(reader.isDone, true)
  return changes
}

test('every encoding becomes its JavaScript value', () => {
  const [plain, escaped, empty] = decode(0)
  const document = JSON.parse('{"a":[1,"\\u0000i5"],"__proto__":{"x":1}}')
  assert.deepEqual(plain, {
    id: 'tx:1:0',
    source: 'default',
    op: 'insert',
    database: 'shop',
    table: 'orders',
    key: { id: 1 },
    before: null,
    after: {
      id: 1,
      big: -5,
      name: 'grün 😀',
      raw: Buffer.from([0, 255, 7]),
      at: new Date(1_600_000_000_000),
      doc: document,
      flags: ['a', 'b'],
    },
    changed: null,
    timestamp: 1_700_000_000_123,
    transaction: { id: 'tx:1', index: 0, last: false },
    position: 'before:1+tx:1/1',
  })
  assert.deepEqual(escaped.after, {
    id: 2.5,
    big: 18446744073709551615n,
    name: '',
    raw: Buffer.alloc(0),
    at: '0000-00-00 00:00:00',
    doc: Object.defineProperty({ n: 18446744073709551615n, s: ['\u0000x'] }, '__proto__', {
      value: 7n,
      enumerable: true,
      writable: true,
      configurable: true,
    }),
    flags: [],
  })
  assert.deepEqual(Object.values(empty.after), Array(7).fill(null))
})

test('a change that belongs to no transaction carries its own id, and the position of the one before it where it has none', () => {
  const shape = {
    id: 7,
    database: 'shop',
    table: 'orders',
    columns: [{ name: 'id', encoding: 'number' }],
    key: [0],
    present: [0],
  }
  // Two such changes: commit time, id, position; then rows of one update, without an image before.
  const text = 'onepoll:1two'
  const alone = (time, id, position) => [7, time, id, position, 2, 1, -1, 7, 0, 1]
  const numbers = Float64Array.from([...alone(5, 3, 9), 41, ...alone(6, 12, 12), 42])
  const payload = { numbers, text: Buffer.from(text), shapes: JSON.stringify([shape]) }
  const changes = new BatchReader('default', payload, new Shapes(), 'bigint').next(Infinity)
  const common = {
    source: 'default',
    op: 'update',
    database: 'shop',
    table: 'orders',
    before: null,
    changed: null,
    transaction: null,
    position: 'poll:1',
  }
  assert.deepEqual(changes, [
    { ...common, id: 'one', key: { id: 41 }, after: { id: 41 }, timestamp: 5 },
    { ...common, id: 'two', key: { id: 42 }, after: { id: 42 }, timestamp: 6 },
  ])
})

test('the last change of a transaction carries the position behind it', () => {
  const changes = decode(0)
  assert.deepEqual(
    changes.map(change => [change.transaction.last, change.position]),
    [
      [false, 'before:1+tx:1/1'],
      [false, 'before:1+tx:1/2'],
      [true, 'after:1'],
    ]
  )
})

test('integers arrive as the option says', () => {
  const bigs = integers => decode(0, integers).map(change => change.after.big)
  assert.deepEqual(bigs('string'), [-5, '18446744073709551615', null])
  assert.deepEqual(bigs('always-bigint'), [-5n, 18446744073709551615n, null])
})

test('absent columns are absent, keys are joined from both images, and a difference is a difference', () => {
  const shapes = new Shapes()
  const [update] = decode(1, 'bigint', shapes)
  assert.deepEqual(update.before, { a: 1, b: 2 })
  assert.deepEqual(Object.keys(update.after), ['b', 'doc'])
  assert.deepEqual(update.key, { b: 3, a: 1 })
  assert.deepEqual(update.changed, ['b', 'doc'])
  assert.ok(update.after.doc instanceof JsonDifference)
  assert.deepEqual(update.after.doc.operations, [{ op: 'replace', path: '$.x', value: 1 }])
  const [gone, renamed, truncated] = decode(2, 'bigint', shapes)
  assert.deepEqual(
    [gone.op, gone.id, gone.before, gone.after, gone.key],
    ['delete', 'tx:2:1', { b: 9, doc: null }, null, null]
  )
  assert.deepEqual([renamed.op, renamed.table, renamed.renamedTo], ['rename', 'items', 'shop.things'])
  assert.deepEqual([renamed.transaction, renamed.position], [{ id: 'tx:2', index: 2, last: true }, 'after:2'])
  assert.deepEqual([truncated.op, truncated.database, truncated.table], ['truncate', 'shop', 'things'])
  assert.equal('renamedTo' in truncated, false)
})

test('columns with names that mean something in JavaScript are ordinary own properties', async () => {
  const [{ before, after, changed, key }] = decode(3)
  assert.equal(Object.getPrototypeOf(after), Object.prototype)
  for (const [index, name] of [
    '__proto__',
    'constructor',
    'toString',
    '1',
    '0',
    '',
    'then',
    'toJSON',
  ].entries()) {
    const property = { value: 100 + index, writable: true, enumerable: true, configurable: true }
    assert.deepEqual(Object.getOwnPropertyDescriptor(after, name), property, name)
    assert.equal(before[name], index)
  }
  assert.equal(Object.keys(after).length, 50)
  assert.deepEqual(changed, ['__proto__', 'c47', 'c48', 'c49'])
  assert.equal(key, null)
  assert.equal({}.polluted, undefined)
  assert.equal(await after, after)
})

test('a setter on Object.prototype gets nothing of a row', () => {
  const taken = []
  Object.defineProperty(Object.prototype, 'big', {
    set(value) {
      taken.push(value)
    },
    configurable: true,
  })
  try {
    assert.equal(decode(0)[0].after.big, -5)
  } finally {
    delete Object.prototype.big
  }
  assert.deepEqual(taken, [])
})

test('changes survive structuredClone and do not share what can be changed', () => {
  const [first, second] = decode(0)
  // Of a Buffer, the clone is a Uint8Array: so Node clones it.
  const clone = structuredClone(first)
  assert.deepEqual({ ...clone, after: { ...clone.after, raw: Buffer.from(clone.after.raw) } }, first)
  first.after.raw.fill(9)
  assert.equal(second.after.raw.length, 0)
  assert.deepEqual([...batches[0].bytes], [0, 255, 7])
})

test('rows of one shape share a hidden class', () => {
  v8.setFlagsFromString('--allow-natives-syntax')
  const sameMap = vm.runInThisContext('((a, b) => %HaveSameMap(a, b))')
  const numbers = [1, 1, 1, 2, 0, 2, 0, -1, 0, 0, 3, 1, 4, 2, NaN, 3, 7]
  const columns = [
    { name: 'id', encoding: 'number' },
    { name: 'name', encoding: 'text' },
  ]
  const shape = { id: 0, database: 'd', table: 't', columns, key: [0], present: [0, 1] }
  const text = Buffer.from('tpabcdefgh')
  const payload = { numbers: Float64Array.from(numbers), text, shapes: JSON.stringify([shape]) }
  const changes = new BatchReader('default', payload, new Shapes(), 'bigint').next(10)
  assert.deepEqual(
    changes.map(change => change.after),
    [
      { id: 1, name: 'ab' },
      { id: 2, name: null },
      { id: 3, name: 'cde' },
    ]
  )
  assert.ok(sameMap(changes[0].after, changes[2].after))
  assert.ok(sameMap(changes[0], changes[1]))
})

test('a batch can be read in parts, and none of its changes ends a transaction too early', () => {
  const reader = new BatchReader('default', batches[0], new Shapes(), 'bigint')
  const lasts = []
  while (!reader.isDone) for (const change of reader.next(1)) lasts.push(change.transaction.last)
  assert.deepEqual(lasts, [false, false, true])
  const late = new BatchReader('default', batches[0], new Shapes(), 'bigint')
  assert.equal(late.next(2, performance.now() - 1).length, 2)
})

test('text that an application keeps does not keep its whole batch', () => {
  v8.setFlagsFromString('--expose-gc')
  const gc = vm.runInNewContext('gc')
  const columns = [{ name: 'note', encoding: 'text' }]
  const shape = JSON.stringify([{ id: 0, database: 'd', table: 't', columns, key: [], present: [0] }])
  const kept = []
  gc()
  const before = process.memoryUsage().heapUsed
  for (let n = 0; n < 40; n++) {
    const text = `tp${String(n).padStart(40, 'note ')}`.padEnd(1_000_000, 'x')
    const numbers = Float64Array.from([1, 1, 1, 2, 0, 2, 0, -1, 0, 0, 1, 42])
    const payload = { numbers, text: Buffer.from(text), shapes: shape }
    kept.push(new BatchReader('default', payload, new Shapes(), 'bigint').next(1)[0])
  }
  gc()
  const grown = process.memoryUsage().heapUsed - before
  assert.equal(kept.length, 40)
  assert.ok(grown < 4_000_000, `40 kept rows hold ${grown} bytes`)
})

test('JSON that is no JSON stays text, and deep JSON is revived', () => {
  const { parseJson, parseSpecialJson } = require('../lib/json')
  assert.equal(parseJson('{broken'), '{broken')
  const depth = 5000
  let value = parseSpecialJson('['.repeat(depth) + '"\\u0000i12345678901234567890"' + ']'.repeat(depth))
  for (let n = 0; n < depth; n++) value = value[0]
  assert.equal(value, 12345678901234567890n)
})

test('a batch that is not understood is refused', () => {
  const read = numbers =>
    new BatchReader('default', { numbers: Float64Array.from(numbers) }, new Shapes(), 'bigint').next(1)
  assert.throws(() => read([9]), /unknown record 9/)
  assert.throws(() => read([2, 0, -1, 7, 0, 1]), /shape 7/)
})
