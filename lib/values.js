'use strict'

// Values of the application as bytes: small ones as JSON where that gives the very same value back, all others in V8's own form, which
// knows dates, maps, bytes, `undefined` and references. A small object is read sooner as JSON, a large one in V8's form. The first byte
// tells which it is: V8's form begins with FF, which stands nowhere in UTF-8.

const { types } = require('node:util')
const v8 = require('node:v8')
const { ownCopy } = require('./packed')

const V8_TAG = 0xff

/** Most values in one, and most characters of its texts, that are kept as JSON. */
const MAX_VALUES = 200
const MAX_CHARACTERS = 4096

const isOther = (/** @type {object} */ value) =>
  types.isProxy(value) ||
  types.isMap(value) ||
  types.isSet(value) ||
  types.isAnyArrayBuffer(value) ||
  ArrayBuffer.isView(value) ||
  // Dates, errors, boxed values, `arguments`, and what calls itself something.
  !/^\[object (Object|Array)\]$/.test(Object.prototype.toString.call(value))

/**
 * Writes a value as JSON, without calling anything of it: what has accessors, a prototype of its own, holes, or stands in it twice, is not
 * what JSON would give back.
 */
class JsonWriter {
  #values = 0
  #characters = 0
  /** @type {Set<object>} */
  #seen = new Set()

  /** `undefined` where JSON would not give it back, or it is too large. @param {unknown} value @returns {string | undefined} */
  write(value) {
    if (++this.#values > MAX_VALUES) return undefined
    switch (typeof value) {
      case 'string':
        return this.#text(value)
      case 'boolean':
        return String(value)
      case 'number':
        return Number.isFinite(value) && !Object.is(value, -0) ? String(value) : undefined
      case 'object':
        return value === null ? 'null' : this.#object(value)
    }
    return undefined
  }

  /** @param {string} text */
  #text(text) {
    this.#characters += text.length
    return this.#characters <= MAX_CHARACTERS ? JSON.stringify(text) : undefined
  }

  /** @param {object} value */
  #object(value) {
    if (isOther(value) || this.#seen.has(value)) return undefined
    this.#seen.add(value)
    const prototype = Object.getPrototypeOf(value)
    if (Array.isArray(value)) return prototype === Array.prototype ? this.#array(value) : undefined
    if (prototype !== null && prototype !== Object.prototype) return undefined
    const parts = []
    for (const name of Object.keys(value)) {
      const text = this.#text(name)
      const part = this.#property(value, name)
      if (text === undefined || part === undefined) return undefined
      parts.push(`${text}:${part}`)
    }
    return `{${parts.join()}}`
  }

  /** @param {unknown[]} array */
  #array(array) {
    if (array.length > MAX_VALUES || Object.keys(array).length !== array.length) return undefined
    const parts = []
    for (let index = 0; index < array.length; index++) {
      const part = this.#property(array, index)
      if (part === undefined) return undefined
      parts.push(part)
    }
    return `[${parts.join()}]`
  }

  /** @param {object} value @param {string | number} name */
  #property(value, name) {
    const property = Object.getOwnPropertyDescriptor(value, name)
    return property !== undefined && 'value' in property ? this.write(property.value) : undefined
  }
}

/** @param {unknown} value */
function encodeValue(value) {
  const json = new JsonWriter().write(value)
  return json === undefined ? v8.serialize(value) : Buffer.from(json)
}

/**
 * The value that stands in `bytes` from `begin` to `end`. Nothing of it refers to them.
 * @param {Buffer} bytes @param {number} [begin] @param {number} [end] @returns {any}
 */
function decodeValue(bytes, begin = 0, end = bytes.length) {
  if (bytes[begin] !== V8_TAG) return JSON.parse(bytes.toString('utf8', begin, end))
  // Bytes within a value are cut out of what it is read from.
  return v8.deserialize(ownCopy(bytes.subarray(begin, end)))
}

module.exports = { decodeValue, encodeValue }
