'use strict'

// Documents that are decoded without `bson`: equal to what it makes of them, on random documents and on broken ones.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { inspect } = require('node:util')
const bson = require('bson')
const { OPTIONS, PlainDocuments } = require('../lib/plain')
const { random } = require('./support/random')

const SEED = Number(process.env.STREAMER_SEED ?? Date.now() % 1e9)

/** A decoder, and how many documents it has left to `bson`. @param {any} [library] */
function counted(library = bson) {
  let left = 0
  const deserialize = (/** @type {any[]} */ ...given) => {
    left++
    return library.deserialize(...given)
  }
  const plain = new PlainDocuments({ ...library, deserialize, ObjectId: library.ObjectId })
  return { read: (/** @type {Buffer} */ bytes) => plain.read(bytes), left: () => left }
}

/** @param {object} document */
const bytesOf = document => Buffer.from(bson.serialize(document))

const PLAIN = [
  ({ next }) => next() * 1e6 - 5e5,
  ({ below }) => below(2 ** 31) - 2 ** 30,
  ({ below }) => below(2 ** 53) - 2 ** 52,
  ({ below }) => 'x'.repeat(below(40)),
  ({ below }) => 'zoë 😀 '.repeat(below(8)),
  () => 'a\u0000b',
  ({ below }) => new Date(below(4e12) - 1e12),
  () => new bson.ObjectId(),
  ({ next }) => next() < 0.5,
  () => null,
  () => -0,
  () => NaN,
]

const OTHERS = [
  () => bson.Long.fromString('9223372036854775807'),
  () => bson.Decimal128.fromString('1.10'),
  () => new bson.Binary(Buffer.from([1, 2])),
  () => /a/i,
  () => new bson.DBRef('c', new bson.ObjectId()),
  () => new bson.Timestamp({ t: 1, i: 2 }),
  () => ({ $set: 1 }),
  () => JSON.parse('{"__proto__": {"a": 1}}'),
]

const NAMES = [
  '_id',
  'a',
  'b',
  'naïve',
  'x'.repeat(80),
  '0',
  '',
  'constructor',
  'toString',
  'a.b',
  'hasOwnProperty',
]

/** A random value, plain up to `strangeness`. */
function value(dice, depth, strangeness) {
  if (dice.next() < strangeness) return dice.pick(OTHERS)(dice)
  const kind = dice.below(PLAIN.length + (depth > 0 ? 3 : 0))
  if (kind < PLAIN.length) return PLAIN[kind](dice)
  if (kind === PLAIN.length)
    return Array.from({ length: dice.below(5) }, () => value(dice, depth - 1, strangeness))
  return document(dice, depth - 1, strangeness)
}

function document(dice, depth, strangeness) {
  const made = {}
  for (let count = dice.below(8); count > 0; count--) {
    const name = dice.next() < 0.8 ? dice.pick(NAMES) : `n${dice.below(3000)}`
    made[name] = value(dice, depth, strangeness)
  }
  return made
}

test('random plain documents equal those of bson, and none is left to it', t => {
  t.diagnostic(`seed ${SEED}`)
  const dice = random(SEED)
  const { read, left } = counted()
  for (let round = 0; round < 3000; round++) {
    const bytes = bytesOf(document(dice, 4, 0))
    const expected = bson.deserialize(bytes, OPTIONS)
    const found = read(bytes)
    assert.deepStrictEqual(found, expected)
    assert.deepEqual(Object.keys(found), Object.keys(expected))
    assert.ok(Buffer.from(bson.serialize(found)).equals(bytes))
  }
  assert.equal(left(), 0)
})

test('random documents with any type in them equal those of bson', t => {
  t.diagnostic(`seed ${SEED}`)
  const dice = random(SEED)
  for (let round = 0; round < 3000; round++) {
    // One that has met nothing yet reads every document itself.
    const bytes = bytesOf(document(dice, 4, 0.1))
    assert.deepStrictEqual(counted().read(bytes), bson.deserialize(bytes, OPTIONS))
  }
})

/** What a decoder makes of bytes: a value, or a sentence. */
function outcome(decode) {
  try {
    // As it is printed: dates that are none are not equal to one another.
    return { value: inspect(decode(), { depth: Infinity, maxArrayLength: null }) }
  } catch (error) {
    return { message: /** @type {Error} */ (error).message }
  }
}

test('of broken documents bson has the last word', t => {
  t.diagnostic(`seed ${SEED}`)
  const dice = random(SEED)
  let refused = 0
  for (let round = 0; round < 20000; round++) {
    const bytes = bytesOf(document(dice, 3, 0.02))
    for (let count = 1 + dice.below(3); count > 0; count--) bytes[dice.below(bytes.length)] = dice.below(256)
    const cut = dice.next() < 0.1 ? bytes.subarray(0, dice.below(bytes.length)) : bytes
    const expected = outcome(() => bson.deserialize(cut, OPTIONS))
    assert.deepStrictEqual(
      outcome(() => counted().read(cut)),
      expected
    )
    if ('message' in expected) refused++
  }
  assert.ok(refused > 1000, `${refused} documents were refused`)
})

test('what is nested very deep is left to bson', () => {
  let deep = {}
  for (let depth = 0; depth < 5000; depth++) deep = { deep }
  const bytes = bytesOf(deep)
  const { read, left } = counted()
  const expected = bson.deserialize(bytes, OPTIONS)
  assert.ok(Buffer.from(bson.serialize(read(bytes))).equals(Buffer.from(bson.serialize(expected))))
  assert.equal(left(), 1)
})

test('documents like one that had to be left to bson are not begun in vain for long', () => {
  const { read, left } = counted()
  const strange = bytesOf({ a: 1, amount: bson.Decimal128.fromString('1.10') })
  const plain = bytesOf({ a: 1 })
  for (let round = 0; round < 5000; round++) read(strange)
  assert.equal(left(), 5000)
  // At most as many as it rests after a failure.
  for (let round = 0; round < 256; round++) read(plain)
  const before = left()
  for (let round = 0; round < 100; round++) assert.deepStrictEqual(read(plain), { a: 1 })
  assert.equal(left(), before)
})

test('an ObjectId is its own, whether its class keeps the bytes or not', () => {
  // As bson 6 does it, with `ObjectId.cacheHexString`.
  class Keeping {
    constructor(bytes) {
      this.id = bytes
      this.text = bytes.toString('hex')
    }
    toString() {
      return this.text
    }
  }
  const ids = [new bson.ObjectId(), new bson.ObjectId()]
  for (const library of [bson, { ...bson, ObjectId: Keeping }]) {
    const { read, left } = counted(library)
    const found = ids.map(_id => read(bytesOf({ _id }))._id)
    assert.deepEqual(found.map(String), ids.map(String))
    assert.deepEqual(
      found.map(({ id }) => Buffer.from(id).toString('hex')),
      ids.map(String)
    )
    assert.ok(found.every(id => id instanceof library.ObjectId))
    assert.equal(left(), 0)
  }
})
