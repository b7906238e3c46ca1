'use strict'

// Batches of the engine become changes. The format stands in the header of `crates/streamer-core/src/event/mod.rs`.
//
// Guarantees: changes come in the order of the batch; each is an object of its own, writable by its receiver without effect on
// another (only `changed` is shared, and frozen). Relies on the engine: a batch never ends between a transaction's last row and
// its commit record, so that the last change of a transaction is known before it is handed out.

const { readDocumentChange } = require('./documents')
const { Cells, Shape } = require('./shape')

/** @typedef {import('./shape').Integers} Integers */
/**
 * The pieces of a batch, and the shapes that it uses first. Memory that is not lasting is used again for the next batch.
 * @typedef {{ numbers: Float64Array, text?: Buffer, wide?: Buffer, bytes?: Buffer, shapes?: string, isLasting?: boolean }} BatchPayload
 */
/** @typedef {{ id: string, committed: number, idBegin: string, positionBegin: string }} Transaction */

/**
 * A change as it is built; `index.d.ts` shows it to users.
 * @typedef {object} Change
 * @property {string} id
 * @property {string} source
 * @property {string} op
 * @property {string} database
 * @property {string} table
 * @property {Record<string, unknown> | null} key
 * @property {Record<string, unknown> | null} before
 * @property {Record<string, unknown> | null} after
 * @property {readonly string[] | null} changed
 * @property {number} timestamp
 * @property {{ id: string, index: number, last: boolean } | null} transaction
 * @property {string} position
 * @property {string} [renamedTo]
 * @property {true} [synthetic]
 * @property {true} [uncommitted]
 * @property {import('./documents').Update} [update]
 */

const RECORD_TRANSACTION = 1
const RECORD_ROWS = 2
const RECORD_COMMIT = 3
const RECORD_TABLE = 4
const RECORD_DOCUMENT = 5
const RECORD_NUMBERED = 6
const RECORD_ALONE = 7
const RECORD_READS = 8

const OPERATIONS = ['insert', 'update', 'delete', 'read', 'replace', 'truncate', 'drop', 'rename']

/**
 * Rows of a table changed, and the log does not hold which: a truncate as far as a reader can tell. Where its row is known, what
 * stands as the image before is its key.
 */
const DERIVED = 8

/** Added to the operation of a table that a failover may still take back. */
const UNCOMMITTED = 16

/** After how many changes the clock is looked at. */
const CLOCK_EVERY = 16

/** Shapes that the engine has described; a batch names them by number. */
class Shapes {
  /** @type {Map<number, Shape>} */
  #known = new Map()

  /** @param {string} json @param {Integers} integers */
  learn(json, integers) {
    for (const description of JSON.parse(json))
      this.#known.set(description.id, new Shape(description, integers))
  }

  /** @param {number} id @returns {Shape | null} */
  get(id) {
    if (id < 0) return null
    const shape = this.#known.get(id)
    if (shape === undefined) throw new Error(`A batch names the shape ${id}, which was not described before`)
    return shape
  }
}

/** Reads one batch, a part at a time. */
class BatchReader {
  #source
  #shapes
  #documents
  #cells
  /** @type {Transaction} */
  #transaction = { id: '', committed: 0, idBegin: '', positionBegin: '' }
  #index = 0
  /** The next change belongs to no transaction. @type {{ id: string, committed: number, position: string } | null} */
  #alone = null
  /** The number in the id of the change with index 0. */
  #number = 0
  // The record of rows that is being read.
  #rows = 0
  #op = ''
  /** @type {Shape | null} */
  #before = null
  /** @type {Shape | null} */
  #after = null
  #words = 0
  /** Rows of a snapshot. @type {{ idBegin: string, position: string, at: number } | null} */
  #reads = null

  /** @param {string} source @param {BatchPayload} payload @param {Shapes} shapes @param {Integers} integers */
  constructor(source, payload, shapes, integers) {
    if (payload.shapes !== undefined) shapes.learn(payload.shapes, integers)
    this.#source = source
    this.#shapes = shapes
    this.#documents = {
      source,
      operations: OPERATIONS,
      shapeOf: (/** @type {number} */ id) => /** @type {Shape} */ (shapes.get(id)),
    }
    this.#cells = new Cells(payload)
  }

  /** True where every change has been read. */
  get isDone() {
    return this.#rows === 0 && this.#cells.at >= this.#cells.numbers.length
  }

  /** How far it has read, in bytes of the batch. */
  get bytesRead() {
    const { at, textAt, wideAt, bytesAt } = this.#cells
    return at * Float64Array.BYTES_PER_ELEMENT + textAt + wideAt * 2 + bytesAt
  }

  /**
   * The next changes: at most `limit`, and no more once `deadline` (of `performance.now()`) has passed, but at least one where
   * there is one.
   * @param {number} limit
   * @param {number} [deadline]
   */
  next(limit, deadline = Infinity) {
    /** @type {Change[]} */
    const changes = []
    while (changes.length < limit && !this.isDone) {
      const change = this.#rows > 0 ? this.#readRow() : this.#readRecord()
      if (change === null) continue
      changes.push(change)
      if (changes.length % CLOCK_EVERY === 0 && performance.now() >= deadline) break
    }
    return changes
  }

  /** Reads a record's head; a change only where the record is one. @returns {Change | null} */
  #readRecord() {
    const cells = this.#cells
    const { numbers } = cells
    const record = numbers[cells.at++]
    switch (record) {
      case RECORD_TRANSACTION: {
        const committed = numbers[cells.at++]
        const id = cells.takeText()
        const before = cells.takeText()
        // The place before the transaction and how much of it is done: reading goes on behind such a change.
        this.#transaction = { id, committed, idBegin: `${id}:`, positionBegin: `${before}+${id}/` }
        this.#alone = null
        this.#number = 0
        this.#index = numbers[cells.at++]
        return null
      }
      case RECORD_NUMBERED:
        this.#number = numbers[cells.at++]
        this.#transaction.idBegin = `${cells.takeText()}:`
        return null
      case RECORD_ALONE: {
        const committed = numbers[cells.at++]
        const id = cells.takeText()
        const position = cells.takeText() || (this.#alone?.position ?? '')
        this.#alone = { id, committed, position }
        return null
      }
      case RECORD_READS: {
        const at = numbers[cells.at++]
        this.#reads = { at, idBegin: cells.takeText(), position: cells.takeText() }
        this.#after = this.#shapes.get(numbers[cells.at++])
        this.#rows = numbers[cells.at++]
        return null
      }
      case RECORD_ROWS:
        this.#reads = null
        this.#op = operationOf(numbers[cells.at++])
        this.#before = this.#shapes.get(numbers[cells.at++])
        this.#after = this.#shapes.get(numbers[cells.at++])
        this.#words = numbers[cells.at++]
        this.#rows = numbers[cells.at++]
        return null
      case RECORD_COMMIT:
        cells.takeText()
        return null
      case RECORD_TABLE:
        return this.#readTable()
      case RECORD_DOCUMENT:
        return readDocumentChange(cells, this.#documents)
      default:
        throw new Error(`A batch holds an unknown record ${record} at ${cells.at - 1}`)
    }
  }

  /** A row of a snapshot. @param {{ idBegin: string, position: string, at: number }} reads @returns {Change} */
  #readSnapshotRow({ idBegin, position, at }) {
    const shape = /** @type {Shape} */ (this.#after)
    const id = idBegin + this.#cells.takeText()
    const after = shape.read(this.#cells)
    this.#rows--
    return {
      id,
      source: this.#source,
      op: 'read',
      database: shape.database,
      table: shape.table,
      key: shape.keyOf(null, after),
      before: null,
      after,
      changed: null,
      timestamp: at,
      transaction: null,
      position,
    }
  }

  /** @returns {Change} */
  #readRow() {
    if (this.#reads !== null) return this.#readSnapshotRow(this.#reads)
    const cells = this.#cells
    const shape = /** @type {Shape} */ (this.#after ?? this.#before)
    const changed = this.#words > 0 ? shape.readChanged(this.#words, cells) : null
    const before = this.#before === null ? null : this.#before.read(cells)
    const after = this.#after === null ? null : this.#after.read(cells)
    this.#rows--
    const key = shape.keyOf(before, after)
    const image = this.#op === 'truncate' ? null : before
    const change = this.#change(this.#op, shape.database, shape.table, key, image, after, changed)
    if (shape.isSynthetic) change.synthetic = true
    return change
  }

  /** @returns {Change} */
  #readTable() {
    const cells = this.#cells
    const flagged = cells.numbers[cells.at++]
    const operation = flagged % UNCOMMITTED
    const op = operationOf(operation)
    const database = cells.takeText()
    const table = cells.takeText()
    const renamedTo = cells.takeText()
    const change = this.#change(op, database, table, null, null, null, null)
    if (renamedTo !== '') change.renamedTo = renamedTo
    if (operation === DERIVED) change.synthetic = true
    if (flagged >= UNCOMMITTED) change.uncommitted = true
    return change
  }

  /**
   * @param {string} op @param {string} database @param {string} table @param {Record<string, unknown> | null} key
   * @param {Record<string, unknown> | null} before @param {Record<string, unknown> | null} after
   * @param {readonly string[] | null} changed
   * @returns {Change}
   */
  #change(op, database, table, key, before, after, changed) {
    if (this.#alone !== null) {
      const { id, committed: timestamp, position } = this.#alone
      const source = this.#source
      const transaction = null
      return {
        id,
        source,
        op,
        database,
        table,
        key,
        before,
        after,
        changed,
        timestamp,
        transaction,
        position,
      }
    }
    const transaction = this.#transaction
    const index = this.#index++
    const cells = this.#cells
    const last = this.#rows === 0 && cells.numbers[cells.at] === RECORD_COMMIT
    if (last) cells.at++
    return {
      id: transaction.idBegin + textOf(this.#number + index),
      source: this.#source,
      op,
      database,
      table,
      key,
      before,
      after,
      changed,
      timestamp: transaction.committed,
      transaction: { id: transaction.id, index, last },
      position: last ? cells.takeText() : transaction.positionBegin + textOf(index + 1),
    }
  }
}

/** @param {number} operation */
const operationOf = operation => (operation === DERIVED ? 'truncate' : OPERATIONS[operation])

/** The numbers that nearly every index is one of, as text. */
const INDICES = Array.from({ length: 1024 }, (_, index) => String(index))

/** @param {number} index */
const textOf = index => (index < INDICES.length ? INDICES[index] : String(index))

module.exports = { BatchReader, Shapes }
