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
