'use strict'

// MongoDB's documents: raw BSON on its way through the engine, objects here.
//
// Guarantees: values are exactly what `deserialize` of the user's own `bson` package makes with its defaults, where that does not end
// at text that is not UTF-8 (`lib/plain.js` decodes what is simple). `before`, `after` and `update` are decoded on first use: a listener
// that never looks at them pays nothing. They are own, enumerable and assignable, so that copying, comparing,
// cloning, printing and `JSON.stringify` see their values; only `Object.getOwnPropertyDescriptor` shows the difference. What a
// change holds is a copy: one that is kept does not keep its batch.

const { createRequire } = require('node:module')
const path = require('node:path')
const { inspect } = require('node:util')
const { StreamerError } = require('./errors')
const { ownCopy } = require('./packed')
const { PlainDocuments } = require('./plain')

/** @typedef {Record<string, unknown>} Document */
/** @typedef {{ serialize: (value: object) => Uint8Array, deserialize: (bytes: Uint8Array, options?: object) => Document, EJSON: { serialize: (value: any, options?: object) => any } }} Bson */
/** @typedef {{ updatedFields: Document, removedFields: string[], truncatedArrays: { field: string, newSize: number }[] }} Update */
/** @typedef {import('./decode').Change} Change */

/** @type {Bson | undefined} */
let loaded
/** @type {PlainDocuments | undefined} */
let plain

/**
 * The `bson` that the application's `mongodb` uses, so that `instanceof ObjectId` holds; else the one that is installed. Looks from
 * this package, then from the working directory: `npx` installs elsewhere.
 * @returns {Bson}
 */
function loadBson() {
  if (loaded !== undefined) return loaded
  /** @type {unknown} */
  let cause
  for (const from of [__filename, path.join(process.cwd(), 'package.json')]) {
    const near = createRequire(from)
    for (const find of [() => createRequire(near.resolve('mongodb')), () => near]) {
      try {
        return (loaded = /** @type {Bson} */ (find()('bson')))
      } catch (error) {
        cause = error
      }
    }
  }
  throw new StreamerError(
    'MongoDB sources need the package "bson", which was not found. Run: npm install bson (an installed "mongodb" brings it along).',
    { code: 'ERR_STREAMER_PACKAGE_MISSING', retry: 'operator', details: { package: 'bson' }, cause }
  )
}

/**
 * A document. Servers store text that is not UTF-8, at which the driver's stream ends; here its broken characters become U+FFFD.
 * @param {Uint8Array} bytes @returns {Document}
 */
function readDocument(bytes) {
  plain ??= new PlainDocuments(loadBson())
  return plain.read(bytes)
}

/** Documents that stand one after the other. @param {Buffer | null | undefined} bytes @param {number} count */
function readDocuments(bytes, count) {
  const documents = []
  for (let at = 0; documents.length < count && bytes;) {
    const end = at + bytes.readInt32LE(at)
    documents.push(readDocument(bytes.subarray(at, end)))
    at = end
  }
  return documents
}

/** @param {Uint8Array} bytes @returns {Update} */
function readUpdate(bytes) {
  const { updatedFields, removedFields, truncatedArrays } = /** @type {any} */ (readDocument(bytes))
  return {
    updatedFields: updatedFields ?? {},
    removedFields: removedFields ?? [],
    truncatedArrays: truncatedArrays ?? [],
  }
}

/**
 * What an update without an image tells of the document: its `_id`, and the fields that were set whole. A dot may be a path or part
 * of a name; such a field stays absent.
 * @param {Uint8Array} key @param {Uint8Array} update
 */
function readPartial(key, update) {
  const { _id } = readDocument(key)
  /** @type {Document} */
  const partial = { _id }
  for (const [name, value] of Object.entries(readUpdate(update).updatedFields)) {
    if (!name.includes('.')) Object.defineProperty(partial, name, { value, ...ORDINARY })
  }
  return partial
}

const ORDINARY = { writable: true, enumerable: true, configurable: true }

/** Where a change keeps its documents. */
const DOCUMENTS = Symbol('documents')

/** A document that nobody has looked at. */
class Unread {
  /** @param {(first: Uint8Array, second: Uint8Array) => unknown} read @param {Uint8Array} first @param {Uint8Array} second */
  constructor(read, first, second) {
    this.read = read
    this.first = first
    this.second = second
  }
}

/**
 * An accessor that behaves as a field. One pair of functions for all changes: they share a hidden class.
 * @param {'before' | 'after' | 'update'} name
 * @returns {PropertyDescriptor & ThisType<any>}
 */
function fieldOf(name) {
  return {
    get() {
      const documents = this[DOCUMENTS]
      const value = documents[name]
      return value instanceof Unread ? (documents[name] = value.read(value.first, value.second)) : value
    },
    set(value) {
      if (!Object.hasOwn(this, DOCUMENTS)) {
        // An object that inherits from the change.
        Object.defineProperty(this, name, { value, ...ORDINARY })
      } else if (Object.isFrozen(this)) {
        throw new TypeError(`Cannot assign to read only property '${name}' of a frozen change`)
      } else {
        this[DOCUMENTS][name] = value
      }
    },
    enumerable: true,
    configurable: true,
  }
}

const BEFORE = fieldOf('before')
const AFTER = fieldOf('after')
const UPDATE = fieldOf('update')

/** Prints the values instead of `[Getter/Setter]`. */
const PRINTED = {
  /** @this {object} */
  value() {
    return { ...this }
  },
  writable: true,
  enumerable: false,
  configurable: true,
}

/** Flags of a change. */
const LAST = 1
const UNCOMMITTED = 2

const ABSENT = new Uint8Array(0)

/** @param {Uint8Array} bytes */
const isPresent = bytes => bytes.length > 0

/**
 * A place of the batch's bytes in a copy. What is small is copied a page at a time: a change that is kept keeps its page and nothing
 * else.
 * @param {import('./shape').Cells} cells @param {number} begin @param {number} end
 */
function turnBytesPage(cells, begin, end) {
  const { bytes } = cells
  let pageEnd = end
  if ((end - begin) * 2 <= BYTES_PAGE) pageEnd = Math.min(begin + BYTES_PAGE, bytes.length)
  const page = bytes.subarray(begin, pageEnd)
  // Shared with the batch only where it is most of it.
  const isShared = cells.isLasting && page.length * 2 >= bytes.buffer.byteLength
  cells.bytesPage = isShared ? page : ownCopy(page)
  cells.bytesPageBegin = begin
  cells.bytesPageEnd = pageEnd
}

const BYTES_PAGE = 4096

/**
 * A bytes field, whose end is the next number; all that a change has lie in one page.
 * @param {import('./shape').Cells} cells
 */
function takePart(cells) {
  const begin = cells.bytesAt
  const end = cells.numbers[cells.at++]
  if (begin === end) return ABSENT
  cells.bytesAt = end
  return cells.bytesPage.subarray(begin - cells.bytesPageBegin, end - cells.bytesPageBegin)
}

/**
 * Reads a document's change from behind its record's number.
 * @param {import('./shape').Cells} cells
 * @param {{ source: string, operations: readonly string[], shapeOf: (id: number) => import('./shape').Shape }} context
 * @returns {Change}
 */
function readDocumentChange(cells, { source, operations, shapeOf }) {
  const { numbers } = cells
  const timestamp = numbers[cells.at++]
  const id = cells.takeText()
  const position = cells.takeText()
  const transaction = cells.takeText()
  const index = numbers[cells.at++]
  const flags = numbers[cells.at++]
  const op = operations[numbers[cells.at++]]
  const { database, table } = shapeOf(numbers[cells.at++])
  const end = numbers[cells.at + 3]
  if (end > cells.bytesPageEnd) turnBytesPage(cells, cells.bytesAt, end)
  const key = takePart(cells)
  const before = takePart(cells)
  const after = takePart(cells)
  const update = takePart(cells)
  const changed = cells.takeText()
  /** @type {any} */
  const change = { id, source, op, database, table, key: isPresent(key) ? readDocument(key) : null }
  const documents = {
    before: isPresent(before) ? new Unread(readDocument, before, ABSENT) : null,
    after: isPresent(after)
      ? new Unread(readDocument, after, ABSENT)
      : isPresent(update)
        ? new Unread(readPartial, key, update)
        : null,
    update: isPresent(update) ? new Unread(readUpdate, update, ABSENT) : null,
  }
  if (documents.before === null) change.before = null
  else Object.defineProperty(change, 'before', BEFORE)
  if (documents.after === null) change.after = null
  else Object.defineProperty(change, 'after', AFTER)
  change.changed = changed === '' ? null : Object.freeze(JSON.parse(changed))
  change.timestamp = timestamp
  change.transaction = transaction === '' ? null : { id: transaction, index, last: (flags & LAST) !== 0 }
  change.position = position
  if ((flags & UNCOMMITTED) !== 0) change.uncommitted = true
  if (documents.update !== null) Object.defineProperty(change, 'update', UPDATE)
  // Without a prototype of its own: `deepStrictEqual` compares prototypes.
  Object.defineProperty(change, DOCUMENTS, { value: documents, configurable: true })
  return Object.defineProperty(change, inspect.custom, PRINTED)
}

module.exports = { loadBson, readDocumentChange, readDocuments }
