'use strict'

// Values of the application as bytes, and back.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const v8 = require('node:v8')
const { decodeValue, encodeValue } = require('../lib/values')

/** @param {Buffer} bytes */
const isJson = bytes => bytes[0] !== 0xff

test('what JSON gives back as it is, is kept as JSON', () => {
  const own = JSON.parse('{"__proto__": 1, "toString": null}')
  for (const value of [
    null,
    true,
    '',
    'grüße €😀 \ud800',
    0,
    -1.5,
    2 ** 53 + 2,
    5e-324,
    [],
    {},
    own,
    [1, [2, { a: 'b', '': [null] }]],
  ]) {
    const bytes = encodeValue(value)
    assert.ok(isJson(bytes), JSON.stringify(value))
    assert.deepEqual(decodeValue(bytes), value)
  }
  assert.deepEqual(Object.keys(decodeValue(encodeValue(own))), ['__proto__', 'toString'])
})

test('what JSON would change comes back unchanged', () => {
  const shared = { n: 1 }
  class Point {
    constructor() {
      this.x = 1
    }
  }
  const holes = [1, , 3] // eslint-disable-line no-sparse-arrays
  for (const value of [
    undefined,
    NaN,
    Infinity,
    -0,
    5n,
    new Date(7),
    new Map([[1, new Set('a')]]),
    Buffer.from('bytes'),
    new Error('an error'),
    /pattern/g,
    { a: undefined },
    [undefined],
    holes,
    Object.assign([1], { extra: true }),
    { deep: [{ big: 1n }] },
    { one: shared, two: shared },
  ]) {
    const bytes = encodeValue(value)
    assert.ok(!isJson(bytes))
    assert.deepEqual(decodeValue(bytes), v8.deserialize(v8.serialize(value)))
  }
  const { one, two } = decodeValue(encodeValue({ one: shared, two: shared }))
  assert.equal(one, two)
  assert.deepEqual(decodeValue(encodeValue(new Point())), { x: 1 })
  assert.deepEqual(decodeValue(encodeValue({ toJSON: 'no function' })), { toJSON: 'no function' })
  assert.throws(() => encodeValue({ toJSON() {} }), { message: /could not be cloned/ })
})

test('what pretends to be plain is left to V8', () => {
  class Collection extends Array {
    toJSON() {
      return 'a collection'
    }

    every() {
      return true
    }
  }
  const named = Object.assign([, 1], { x: 5 }) // eslint-disable-line no-sparse-arrays
  const hidden = Object.defineProperty([1], 'toJSON', { value: () => 'hidden' })
  const tagged = { [Symbol.toStringTag]: 'Tagged', a: 1 }
  let calls = 0
  const counted = {
    get calls() {
      return ++calls
    },
  }
  for (const value of [
    named,
    Collection.from([1, 2]),
    Object.setPrototypeOf(new Date(5), Object.prototype),
    Object.setPrototypeOf(new Map([[1, 2]]), null),
    Object(1),
    tagged,
  ]) {
    assert.deepEqual(decodeValue(encodeValue(value)), v8.deserialize(v8.serialize(value)))
  }
  assert.deepEqual(decodeValue(encodeValue(hidden)), [1])
  assert.deepEqual(decodeValue(encodeValue(Object.setPrototypeOf([1, 2], null))), [1, 2])
  assert.deepEqual(decodeValue(encodeValue(counted)), { calls: 1 })
  assert.throws(() => encodeValue(new Proxy({}, {})), { message: /could not be cloned/ })
})

test('a toJSON that somebody gave to everything changes nothing', t => {
  for (const prototype of [Array.prototype, Object.prototype, String.prototype]) {
    t.after(() => Reflect.deleteProperty(prototype, 'toJSON'))
    Object.defineProperty(prototype, 'toJSON', { value: () => undefined, configurable: true })
  }
  const bytes = encodeValue({ list: [1, 'text'], of: {} })
  assert.ok(isJson(bytes))
  assert.deepEqual(decodeValue(bytes), { list: [1, 'text'], of: {} })
})

test('large values are left to V8, and bytes within a value lie in memory of their own', () => {
  for (const large of [
    Array.from({ length: 300 }, (_, n) => n),
    'x'.repeat(5000),
    { ['y'.repeat(5000)]: 1 },
  ]) {
    assert.ok(!isJson(encodeValue(large)))
    assert.deepEqual(decodeValue(encodeValue(large)), large)
  }
  const { x } = decodeValue(encodeValue({ x: Uint8Array.of(1, 2) }))
  assert.ok(x.buffer.byteLength < 100)
})

test('a value is cut out of memory that is used again', () => {
  for (const value of [{ text: 'ä' }, { bytes: Buffer.from('ab') }]) {
    const bytes = encodeValue(value)
    const memory = Buffer.concat([Buffer.alloc(3), bytes, Buffer.alloc(2, 7)])
    const read = decodeValue(memory, 3, 3 + bytes.length)
    memory.fill(0)
    assert.deepEqual(read, value)
  }
})

test('a value that is as deep as V8 takes it, or deeper, ends as with V8', () => {
  const deep = levels => {
    let value = {}
    for (let level = 0; level < levels; level++) value = { value }
    return value
  }
  assert.deepEqual(decodeValue(encodeValue(deep(1000))), deep(1000))
  assert.throws(() => encodeValue(deep(1e6)), RangeError)
})
