'use strict'

// Answers of the engine become rows. What its cache holds, it writes into memory that stands here, in the same turn; so a hit makes no
// garbage but its rows. `src/answers.rs` has the layout. Every caller gets rows of its own: one cannot change another's.

const { readDocuments } = require('./documents')
const { LENGTHS, StandingMemory, ownCopy, piecesOf } = require('./packed')
const { Cells, Shape } = require('./shape')
const { decodeValue } = require('./values')

/** @typedef {import('./addon').Engine} Engine */
/** @typedef {import('./shape').Integers} Integers */
/** @typedef {{ bytes: Buffer, columns?: string }} Answer */

/** Marks an answer from memory that was given while the source is not followed. */
const STALE = Symbol.for('ultimate-streaming.stale')

/** Numbers in front: the number of the columns, rows, flags. */
const HEAD = 3
const HEAD_BYTES = HEAD * Float64Array.BYTES_PER_ELEMENT

/** Where the flags stand, and what they are. */
const FLAGS = 2
const FLAG_STALE = 1
const FLAG_DUE = 2

/** Most shapes of answers that are kept. */
const MAX_SHAPES = 1000

class Answers {
  #engine
  #standing = new StandingMemory()
  /** By what integers become, and the number of the columns. @type {Record<Integers, Map<number, Shape>>} */
  #shapes = { bigint: new Map(), string: new Map(), 'always-bigint': new Map() }

  /** @param {Engine} engine */
  constructor(engine) {
    this.#engine = engine
  }

  /** Memory for the engine to write an answer into; goes, with what the engine says, to one of the two below. */
  get memory() {
    return this.#standing.room(1)
  }

  /** The rows that were found; `null` where there are none. @param {Buffer} memory @param {number} size @param {Integers} integers */
  rowsFound(memory, size, integers) {
    return size === 0 ? null : this.#rows(this.#found(memory, size), integers)
  }

  /**
   * The value of the application that was found, and whether it is to be loaded anew; `null` where there is none.
   * @param {Buffer} memory @param {number} size
   */
  valueFound(memory, size) {
    if (size === 0) return null
    const found = this.#found(memory, size)
    const isDue = (this.#standing.numbersOf(found)[FLAGS] & FLAG_DUE) !== 0
    return { value: decodeValue(found, HEAD_BYTES, Math.abs(size)), isDue }
  }

  /** Where an answer lies that the engine has found. @param {Buffer} memory @param {number} size negative where it did not fit */
  #found(memory, size) {
    if (size > 0) return memory
    const larger = this.#standing.room(-size)
    if (this.#engine.found(larger) !== -size) throw new Error('An answer of memory is gone.')
    return larger
  }

  /** The rows of an answer of the source. @param {Answer} answer @param {Integers} integers */
  rows({ bytes, columns }, integers) {
    return this.#rows(bytes, integers, columns)
  }

  /** @param {Buffer} memory @param {Integers} integers @param {string} [columns] JSON; of what was found last where it is left out */
  #rows(memory, integers, columns) {
    const numbers = this.#standing.numbersOf(memory)
    const number = numbers[0]
    const count = numbers[1]
    const isLasting = memory !== this.#standing.bytes
    const { text, wide, bytes } = piecesOf(memory, numbers, HEAD)
    const rows =
      number === 0
        ? readDocuments(isLasting || bytes === undefined ? bytes : ownCopy(bytes), count)
        : this.#read(
            this.#shape(number, integers, columns),
            new Cells({ numbers, text, wide, bytes, isLasting }),
            count
          )
    if ((numbers[FLAGS] & FLAG_STALE) !== 0) Object.defineProperty(rows, STALE, { value: true })
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
      const json = columns ?? this.#engine.foundColumns()
      if (json === null) throw new Error('The columns of an answer are gone.')
      shape = new Shape(JSON.parse(json), integers)
      if (known.size >= MAX_SHAPES) known.clear()
      known.set(number, shape)
    }
    return shape
  }
}

module.exports = { Answers }
