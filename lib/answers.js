'use strict'

// Answers of the engine become rows. What its memory holds it writes into memory that stands here, in the same turn; so a hit makes no
// garbage but its rows. `src/answers.rs` has the layout. Every caller gets rows of its own: one cannot change another's.

const { readDocuments } = require('./documents')
const { LENGTHS, StandingMemory, piecesOf } = require('./packed')
const { Cells, Shape } = require('./shape')
const { decodeValue } = require('./values')

/** @typedef {import('./addon').Engine} Engine */
/** @typedef {import('./shape').Integers} Integers */

/** Marks an answer from memory that was given while the source is not followed. */
const STALE = Symbol.for('ultimate-streaming.stale')

/** Numbers in front: the number of the columns, rows, flags. */
const HEAD = 3
const HEAD_BYTES = HEAD * Float64Array.BYTES_PER_ELEMENT

const FLAG_STALE = 1
const FLAG_DUE = 2

/** Most shapes of answers that are kept. */
const MAX_SHAPES = 1000

/** What most answers fit into. */
const FIRST_BYTES = 16 * 1024

class Answers {
  #engine
  #standing = new StandingMemory()
  /** By what integers become, and the number of the columns. @type {Record<Integers, Map<number, Shape>>} */
  #shapes = { bigint: new Map(), string: new Map(), 'always-bigint': new Map() }

  /** @param {Engine} engine */
  constructor(engine) {
    this.#engine = engine
    this.#standing.room(FIRST_BYTES)
  }

  /** Memory for the engine to write an answer into; what it says of it goes to one of the two below. */
  get memory() {
    return this.#standing.bytes
  }

  /** The rows that were found; `null` where there are none. @param {number} size @param {Integers} integers */
  rowsFound(size, integers) {
    return size === 0 ? null : this.rows(this.#found(size), integers)
  }

  /**
   * The value of the application that was found, and whether it is to be loaded anew; `null` where there is none.
   * @param {number} size
   */
  valueFound(size) {
    if (size === 0) return null
    const memory = this.#found(size)
    const flags = this.#standing.numbersOf(memory)[HEAD - 1]
    return { value: decodeValue(memory, HEAD_BYTES, Math.abs(size)), isDue: flags >= FLAG_DUE }
  }

  /** Where an answer lies that the engine has found. @param {number} size negative where it did not fit */
  #found(size) {
    if (size > 0) return this.#standing.bytes
    const memory = this.#standing.room(-size)
    this.#engine.found(memory)
    return memory
  }

  /**
   * The rows of an answer.
   * @param {Buffer} memory @param {Integers} integers @param {string} [columns] JSON; of what was found last where it is left out
   */
  rows(memory, integers, columns) {
    const numbers = this.#standing.numbersOf(memory)
    const number = numbers[0]
    const count = numbers[1]
    const isLasting = memory !== this.#standing.bytes
    const { text, wide, bytes } = piecesOf(memory, numbers, HEAD)
    const rows =
      number === 0
        ? readDocuments(isLasting || bytes === undefined ? bytes : Buffer.from(bytes), count)
        : this.#read(
            this.#shape(number, integers, columns),
            new Cells({ numbers, text, wide, bytes, isLasting }),
            count
          )
    if (numbers[2] % FLAG_DUE === FLAG_STALE) Object.defineProperty(rows, STALE, { value: true })
    return rows
  }

  /** @param {Shape} shape @param {Cells} cells @param {number} count */
  #read(shape, cells, count) {
    cells.at = HEAD + LENGTHS
    const rows = []
    for (let row = 0; row < count; row++) rows.push(shape.read(cells))
    return rows
  }

  /** @param {number} number @param {Integers} integers @param {string} [columns] */
  #shape(number, integers, columns) {
    const known = this.#shapes[integers]
    let shape = known.get(number)
    if (shape === undefined) {
      shape = new Shape(JSON.parse(columns ?? this.#engine.foundColumns() ?? ''), integers)
      if (known.size >= MAX_SHAPES) known.clear()
      known.set(number, shape)
    }
    return shape
  }
}

module.exports = { Answers }
