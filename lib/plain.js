'use strict'

// Decodes documents that hold nothing but what JSON has, dates and ObjectIds, in half the time that `bson` takes; whatever else is met,
// or looks broken, is left to `bson`, which also has the last word on what is an error.
//
// Guarantees: what is returned equals what `deserialize` of the given package returns, in its defaults without a search for text that
// is not UTF-8. Where that cannot be promised, nothing is returned: a name with `$` in front (it may be a DBRef), `__proto__`, a whole number that is
// not safe (`Long`), any other type. `__test__/plain.test.js` compares both on random documents.
//
// Why it is quicker: names are met again and again, so that they are compared with what is known instead of being made anew, and V8 need not look up
// which one a new text is.

/** Node's own, which its types leave out. @typedef {Buffer & Record<'latin1Slice' | 'utf8Slice', (begin: number, end: number) => string>} Bytes */
/** @typedef {{ deserialize: (bytes: Uint8Array, options?: object) => any, ObjectId?: any }} Bson */

/** Types of BSON (https://bsonspec.org/spec.html). */
const [DOUBLE, STRING, DOCUMENT, ARRAY, OBJECT_ID, BOOLEAN, DATE, NULL, INT32, INT64] = [
  1, 2, 3, 4, 7, 8, 9, 10, 16, 18,
]

/** Text is not searched for what is not UTF-8. */
const OPTIONS = { validation: { utf8: false } }

/** What is nested deeper is left to `bson`, which does not use the stack. */
const DEEPEST = 32

/** Longest name that is remembered, and how many are. */
const NAME_BYTES = 64
const NAMES = 1024

/** Up to this many characters, text is put together here; beyond, a call of Node's costs less. */
const SHORT_TEXT = 12

/** Most documents that are left to `bson` unseen after one that had to be. */
const LONGEST_REST = 256

/** Of a document that is left to `bson`. */
const UNPLAIN = Symbol('unplain')

const TWO_32 = 2 ** 32

const NONE = /** @type {Bytes} */ (Buffer.alloc(0))

class PlainDocuments {
  #bson
  #ObjectId
  /** Whether an ObjectId keeps the bytes that it is made of. */
  #keepsBytes = true
  #id = Buffer.alloc(12)
  /** @type {(string | undefined)[]} */
  #names = new Array(NAMES).fill(undefined)
  #float = new Float64Array(1)
  #floatBytes = new Uint8Array(this.#float.buffer)
  /** How many of the next documents are left to `bson`, and how many after the next failure. */
  #rest = 0
  #nextRest = 1
  #bytes = NONE
  #at = 0

  /** @param {Bson} bson */
  constructor(bson) {
    this.#bson = bson
    this.#ObjectId = bson.ObjectId
    if (this.#ObjectId === undefined) return
    // Its text may be remembered, its bytes are not.
    const made = new this.#ObjectId(this.#id)
    this.#id[0] = 1
    const { id } = made
    this.#keepsBytes = !(id instanceof Uint8Array && id[0] === 0)
  }

  /** A document. @param {Uint8Array} bytes @returns {any} */
  read(bytes) {
    if (this.#rest > 0 || this.#ObjectId === undefined || !Buffer.isBuffer(bytes)) {
      this.#rest--
      return this.#bson.deserialize(bytes, OPTIONS)
    }
    this.#bytes = /** @type {Bytes} */ (bytes)
    this.#at = 0
    const document = bytes.length >= 5 ? this.#document(bytes.length, 0) : UNPLAIN
    // What is idle keeps no batch alive.
    this.#bytes = NONE
    if (document !== UNPLAIN) {
      this.#nextRest = 1
      return document
    }
    // Of documents like this one none is begun in vain for long.
    this.#rest = this.#nextRest
    this.#nextRest = Math.min(this.#nextRest * 2, LONGEST_REST)
    return this.#bson.deserialize(bytes, OPTIONS)
  }

  #int32() {
    const bytes = this.#bytes
    const at = this.#at
    this.#at = at + 4
    return bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)
  }

  /** The end of the document that begins here, or -1. @param {number} limit where it ends at the latest */
  #end(limit) {
    const begin = this.#at
    const end = begin + this.#int32()
    return end - begin >= 5 && end <= limit && this.#bytes[end - 1] === 0 ? end : -1
  }

  /** @param {number} limit @param {number} depth @returns {any} */
  #document(limit, depth) {
    const end = this.#end(limit)
    if (end < 0 || depth > DEEPEST || (depth === 0 && end !== limit)) return UNPLAIN
    /** @type {Record<string, unknown>} */
    const document = {}
    while (this.#at < end - 1) {
      const type = this.#bytes[this.#at++]
      const name = this.#name(end)
      if (name === undefined) return UNPLAIN
      const value = this.#value(type, end, depth)
      if (value === UNPLAIN) return UNPLAIN
      document[name] = value
    }
    return this.#at++ === end - 1 ? document : UNPLAIN
  }

  /** @param {number} limit @param {number} depth @returns {any} */
  #array(limit, depth) {
    const end = this.#end(limit)
    if (end < 0 || depth > DEEPEST) return UNPLAIN
    const bytes = this.#bytes
    const array = []
    while (this.#at < end - 1) {
      const type = bytes[this.#at++]
      // What its elements are called says nothing.
      while (this.#at < end && bytes[this.#at] !== 0) this.#at++
      this.#at++
      const value = this.#value(type, end, depth)
      if (value === UNPLAIN) return UNPLAIN
      array.push(value)
    }
    return this.#at++ === end - 1 ? array : UNPLAIN
  }

  /** @param {number} end of the document */
  #name(end) {
    const bytes = this.#bytes
    const begin = this.#at
    let hash = 0
    let at = begin
    for (; bytes[at] !== 0; at++) {
      if (at >= end) return undefined
      hash = (hash * 31 + bytes[at]) | 0
    }
    this.#at = at + 1
    const slot = hash & (NAMES - 1)
    const known = this.#names[slot]
    if (known !== undefined && known.length === at - begin) {
      let same = 0
      while (same < known.length && known.charCodeAt(same) === bytes[begin + same]) same++
      if (same === known.length) return known
    }
    return this.#newName(begin, at, slot)
  }

  /** @param {number} begin @param {number} end @param {number} slot */
  #newName(begin, end, slot) {
    const name = this.#bytes.utf8Slice(begin, end)
    if (name.startsWith('$') || name === '__proto__') return undefined
    // One beyond ASCII is longer in bytes than in characters, and never found.
    if (end - begin <= NAME_BYTES) this.#names[slot] = name
    return name
  }

  /** @param {number} type @param {number} end of the document @param {number} depth @returns {any} */
  #value(type, end, depth) {
    switch (type) {
      case DOUBLE:
        return this.#double()
      case STRING:
        return this.#text(end)
      case DOCUMENT:
        return this.#document(end, depth + 1)
      case ARRAY:
        return this.#array(end, depth + 1)
      case OBJECT_ID:
        return this.#objectId()
      case BOOLEAN: {
        const byte = this.#bytes[this.#at++]
        return byte > 1 ? UNPLAIN : byte === 1
      }
      case DATE: {
        const low = this.#int32() >>> 0
        return new Date(this.#int32() * TWO_32 + low)
      }
      case NULL:
        return null
      case INT32:
        return this.#int32()
      case INT64: {
        const low = this.#int32() >>> 0
        const number = this.#int32() * TWO_32 + low
        return Number.isSafeInteger(number) ? number : UNPLAIN
      }
      default:
        return UNPLAIN
    }
  }

  #double() {
    const bytes = this.#bytes
    const into = this.#floatBytes
    const at = this.#at
    for (let index = 0; index < 8; index++) into[index] = bytes[at + index]
    this.#at = at + 8
    return this.#float[0]
  }

  #objectId() {
    const bytes = this.#bytes
    const at = this.#at
    this.#at = at + 12
    const id = this.#keepsBytes ? Buffer.alloc(12) : this.#id
    for (let index = 0; index < 12; index++) id[index] = bytes[at + index]
    return new this.#ObjectId(id)
  }

  /** @param {number} limit */
  #text(limit) {
    const bytes = this.#bytes
    const size = this.#int32()
    const begin = this.#at
    const end = begin + size - 1
    if (size < 1 || end >= limit || bytes[end] !== 0) return UNPLAIN
    this.#at = end + 1
    let at = begin
    if (size <= SHORT_TEXT) {
      let text = ''
      for (; at < end && bytes[at] < 128; at++) text += String.fromCharCode(bytes[at])
      if (at === end) return text
    } else {
      while (at < end && bytes[at] < 128) at++
      if (at === end) return bytes.latin1Slice(begin, end)
    }
    return bytes.utf8Slice(begin, end)
  }
}

module.exports = { OPTIONS, PlainDocuments }
