'use strict'

// One kind of row image, and how its cells become a plain object.
//
// Names of columns come from the database. They are never code, and a row with a name that stands on Object.prototype
// (`__proto__`, `constructor`, `toString`) is built by defining properties instead of assigning them, so that each is an ordinary
// own property. All rows of a shape share one hidden class: two rows that are made first and kept give each of its fields the
// most general representation, from which no later value moves it. Measured with 20 shapes (Node 20, one of 2 cores), in million
// cells a second for rows of 10, 30 and 100 columns: assigning to {} 79, 58, 28; copying a template 41, 34, 17.

const { parseDifference, parseJson, parseSpecialJson } = require('./json')

/** @typedef {'bigint' | 'string' | 'always-bigint'} Integers */
/** @typedef {'number' | 'integer' | 'text' | 'bytes' | 'date' | 'json' | 'set' | 'dynamic'} Encoding */
/**
 * As the engine describes it; see `crates/streamer-core/src/event/layout.rs`.
 * @typedef {{ id: number, database: string, table: string, columns: { name: string, encoding: Encoding }[], key: number[], present: number[], synthetic?: true }} ShapeDescription
 */
/** @typedef {Record<string, unknown>} Row */

const NUMBER = 0
const INTEGER = 1
const ALWAYS_BIGINT = 2
const TEXT = 3
const BYTES = 4
const DATE = 5
const JSON_TEXT = 6
const SET = 7
const DYNAMIC = 8

const KINDS = {
  number: NUMBER,
  integer: INTEGER,
  text: TEXT,
  bytes: BYTES,
  date: DATE,
  json: JSON_TEXT,
  set: SET,
  dynamic: DYNAMIC,
}

/** Bits of a changed set in one number. */
const CHANGED_BITS = 48

/** Most changed sets that are kept for a shape. */
const MAX_KEPT_SETS = 1024

/** V8 copies slices that are shorter; longer ones keep the text that they were cut from alive. */
const COPIED_LENGTH = 13

/** A batch whose text is no longer than this may be kept alive by a value. */
const SMALL_TEXT = 4096

const NO_BYTES = Buffer.alloc(0)

/** Walks the numbers of a batch; text and bytes fields follow one another. */
class Cells {
  /** @param {Float64Array} numbers @param {string} text @param {Buffer | undefined} bytes */
  constructor(numbers, text, bytes) {
    this.numbers = numbers
    this.text = text
    this.bytes = bytes ?? NO_BYTES
    this.at = 0
    this.textAt = 0
    this.bytesAt = 0
  }

  /** The text field whose end is the next number. */
  takeText() {
    return this.textTo(this.numbers[this.at++])
  }

  /**
   * A text field. Of a large batch it is a copy: one string that an application keeps must not keep a megabyte.
   * @param {number} end
   */
  textTo(end) {
    const { text, textAt } = this
    this.textAt = end
    const part = text.slice(textAt, end)
    // A slice of the joined string is a slice of a text as long as itself: V8 flattens before it cuts.
    return part.length < COPIED_LENGTH || text.length <= SMALL_TEXT || part.length * 2 > text.length
      ? part
      : (' ' + part).slice(1)
  }

  /** @param {number} end */
  bytesTo(end) {
    const begin = this.bytesAt
    this.bytesAt = end
    const copy = Buffer.allocUnsafe(end - begin)
    this.bytes.copy(copy, 0, begin, end)
    return copy
  }
}

/** @param {Row} row @param {string} name @param {unknown} value */
function define(row, name, value) {
  Object.defineProperty(row, name, { value, writable: true, enumerable: true, configurable: true })
}

/** Whether assigning these names makes own properties, whatever Object.prototype holds. @param {string[]} names */
function areOrdinary(names) {
  return names.every(name => !(name in Object.prototype))
}

/** Rows that settle the hidden class of all that follow. @param {string[]} names @param {boolean} isOrdinary */
function seeds(names, isOrdinary) {
  return [null, 0].map(value => {
    /** @type {Row} */
    const row = {}
    for (const name of names) {
      if (isOrdinary) row[name] = value
      else define(row, name, value)
    }
    return row
  })
}

/** The columns that an image holds. */
class Shape {
  /** @param {ShapeDescription} description @param {Integers} integers */
  constructor(description, integers) {
    const { id, database, table, columns, key, present } = description
    this.id = id
    this.isSynthetic = description.synthetic === true
    this.database = database
    this.table = table
    this.columnNames = columns.map(column => column.name)
    this.names = present.map(index => columns[index].name)
    this.kinds = Uint8Array.from(present, index => {
      const kind = KINDS[columns[index].encoding]
      return kind === INTEGER && integers === 'always-bigint' ? ALWAYS_BIGINT : kind
    })
    this.largeAsText = integers === 'string'
    this.isOrdinary = areOrdinary(this.names)
    this.seeds = seeds(this.names, this.isOrdinary)
    this.key = key.map(index => columns[index].name)
    this.isKeyOrdinary = areOrdinary(this.key)
    const isPresent = new Set(present)
    this.hasKey = key.length > 0 && key.every(index => isPresent.has(index))
    /** @type {Map<number, readonly string[]>} */
    this.changedSets = new Map()
  }

  /** The next row. @param {Cells} cells */
  read(cells) {
    const { names, kinds, isOrdinary } = this
    const { numbers } = cells
    /** @type {Row} */
    const row = {}
    for (let i = 0; i < names.length; i++) {
      const number = numbers[cells.at++]
      let value
      if (Number.isNaN(number)) value = null
      else if (number === Infinity || number === -Infinity) value = this.escaped(kinds[i], number, cells)
      else value = plain(kinds[i], number, cells)
      if (isOrdinary) row[names[i]] = value
      else define(row, names[i], value)
    }
    return row
  }

  /** @param {number} kind @param {number} mark @param {Cells} cells */
  escaped(kind, mark, cells) {
    if (kind === DYNAMIC) return dynamic(cells)
    const text = cells.takeText()
    if (mark < 0) return parseDifference(text)
    if (kind === JSON_TEXT) return parseSpecialJson(text)
    if (kind === ALWAYS_BIGINT || (kind === INTEGER && !this.largeAsText)) return BigInt(text)
    return text
  }

  /**
   * The key of a change with these images: a column's newest value. `null` where the table has no key, or a column of it is in
   * neither image.
   * @param {Row | null} before @param {Row | null} after
   */
  keyOf(before, after) {
    const { key } = this
    if (key.length === 0) return null
    /** @type {Row} */
    const values = {}
    const newest = after ?? before
    for (let i = 0; i < key.length; i++) {
      const name = key[i]
      let image = newest
      if (!this.hasKey && (newest === null || !Object.hasOwn(newest, name))) image = before
      if (image === null || !(this.hasKey || Object.hasOwn(image, name))) return null
      if (this.isKeyOrdinary) values[name] = image[name]
      else define(values, name, image[name])
    }
    return values
  }

  /** The names of a changed set. @param {number} words @param {Cells} cells */
  readChanged(words, cells) {
    if (words !== 1) return this.namesOf(words, cells)
    const set = cells.numbers[cells.at]
    let names = this.changedSets.get(set)
    if (names === undefined) {
      names = this.namesOf(words, cells)
      if (this.changedSets.size < MAX_KEPT_SETS) this.changedSets.set(set, names)
    } else {
      cells.at++
    }
    return names
  }

  /** @param {number} words @param {Cells} cells @returns {readonly string[]} */
  namesOf(words, cells) {
    const names = []
    for (let word = 0; word < words; word++) {
      let bits = cells.numbers[cells.at++]
      for (let column = word * CHANGED_BITS; bits > 0; column++) {
        if (bits % 2 === 1) names.push(this.columnNames[column])
        bits = Math.floor(bits / 2)
      }
    }
    // Shared by all changes with this set.
    return Object.freeze(names)
  }
}

/** What is no number in a column that holds values of any type. @param {Cells} cells */
function dynamic(cells) {
  switch (cells.numbers[cells.at++]) {
    case 0:
      return cells.takeText()
    case 1:
      return cells.bytesTo(cells.numbers[cells.at++])
    case 2:
      return BigInt(cells.takeText())
    case 3:
      return Infinity
    default:
      return -Infinity
  }
}

/** A cell that is no escape. @param {number} kind @param {number} number @param {Cells} cells */
function plain(kind, number, cells) {
  switch (kind) {
    case TEXT:
      return cells.textTo(number)
    case DATE:
      return new Date(number)
    case BYTES:
      return cells.bytesTo(number)
    case JSON_TEXT:
      return parseJson(cells.textTo(number))
    case SET: {
      const labels = cells.textTo(number)
      return labels === '' ? [] : labels.split(',')
    }
    case ALWAYS_BIGINT:
      return BigInt(number)
    default:
      return number
  }
}

module.exports = { Cells, Shape }
