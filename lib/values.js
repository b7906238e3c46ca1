'use strict'

// Values of the application as bytes: as JSON where that gives the very same value back, else in V8's own form, which knows dates, maps,
// bytes, `undefined` and references. Reading a small object takes a third of the time as JSON. The first byte tells which it is: V8's form
// begins with FF, which stands nowhere in UTF-8.

const v8 = require('node:v8')

const V8_TAG = 0xff

/** Deeper values are left to V8, which says so itself where they are too deep. */
const MAX_DEPTH = 100

/**
 * Whether JSON gives a value back as it is. `seen`: what was met already, which JSON would make two of.
 * @param {unknown} value @param {Set<object>} [seen] @param {number} [depth] @returns {boolean}
 */
function isJson(value, seen = new Set(), depth = 0) {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return true
    case 'number':
      return Number.isFinite(value) && !Object.is(value, -0)
    case 'object':
      break
    default:
      return false
  }
  if (value === null) return true
  if (depth >= MAX_DEPTH || seen.has(value)) return false
  seen.add(value)
  const isInside = (/** @type {unknown} */ each) => isJson(each, seen, depth + 1)
  if (Array.isArray(value)) return Object.keys(value).length === value.length && value.every(isInside)
  const prototype = Object.getPrototypeOf(value)
  return (prototype === null || prototype === Object.prototype) && Object.values(value).every(isInside)
}

/** @param {unknown} value */
const encodeValue = value => (isJson(value) ? Buffer.from(JSON.stringify(value)) : v8.serialize(value))

/**
 * The value that stands in `bytes` from `begin` to `end`. Nothing of it refers to them.
 * @param {Buffer} bytes @param {number} [begin] @param {number} [end] @returns {any}
 */
function decodeValue(bytes, begin = 0, end = bytes.length) {
  if (bytes[begin] !== V8_TAG) return JSON.parse(bytes.toString('utf8', begin, end))
  // Bytes within a value are cut out of what it is read from.
  return v8.deserialize(Buffer.from(bytes.subarray(begin, end)))
}

module.exports = { decodeValue, encodeValue }
