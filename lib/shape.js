'use strict'

// One kind of row image, and how its cells become a plain object.
//
// Names of columns come from the database. They are never code, and a row with a name that stands on Object.prototype
// (`__proto__`, `constructor`, `toString`) is built by defining properties instead of assigning them, so that each is an ordinary
// own property. All rows of a shape share one hidden class: the rows that are made first give each of its fields the most general
// representation, from which no later value moves it. An object literal has room for four properties and grows by three, which
// copies; a constructor makes objects with room for as many as its first ones had. CPU time for a row, in ns, of 10, 30 and 100
// columns (Node 20): assigning to {} 140, 1530, 5190; to what the constructor made 140, 445, 2990; copying a template is slower.

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

/**
 * Text is made a page at a time and cut from there: one call out of JavaScript for many fields. A value that an application keeps
 * keeps its page alive and nothing else; a text that is longer than half a page is a string of its own.
 */
const PAGE = 4096

const NO_BYTES = Buffer.alloc(0)

/** Walks the numbers of a batch; text and bytes fields follow one another. */
class Cells {
  /** @param {import('./decode').BatchPayload} payload */
  constructor({ numbers, text, wide, bytes, isLasting }) {
    this.numbers = numbers
    this.text = text ?? NO_BYTES
    this.wide = wide ?? NO_BYTES
    this.bytes = bytes ?? NO_BYTES
    this.isLasting = isLasting === true
    this.at = 0
    this.textAt = 0
    this.wideAt = 0
    this.bytesAt = 0
    this.page = ''
    this.pageBegin = 0
    this.pageEnd = 0
    // The same of bytes; see `documents.js`.
    /** @type {Buffer} */
    this.bytesPage = NO_BYTES
    this.bytesPageBegin = 0
    this.bytesPageEnd = 0
  }

  /** The text field whose end is the next number. */
  takeText() {
    return this.textTo(this.numbers[this.at++])
  }

  /** A text field. @param {number} end */
  textTo(end) {
    const begin = this.textAt
    // What lies before 0 lies in the wide text.
    if (end < 0 || end > this.pageEnd) return this.elsewhere(end)
    this.textAt = end
    return this.page.slice(begin - this.pageBegin, end - this.pageBegin)
  }

  /** A text field that does not lie in the present page. @param {number} end */
  elsewhere(end) {
    if (end < 0) {
      const wideBegin = this.wideAt
      this.wideAt = -end
      return this.wide.toString('utf16le', wideBegin * 2, -end * 2)
    }
    const begin = this.textAt
    this.textAt = end
    if ((end - begin) * 2 > PAGE) return this.text.toString('latin1', begin, end)
    this.pageBegin = begin
    this.pageEnd = Math.min(begin + PAGE, this.text.length)
    this.page = this.text.toString('latin1', begin, this.pageEnd)
    return this.page.slice(0, end - begin)
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

/**
 * A constructor whose objects have room for many properties, and, once some have been made, for as many as those had. The engine
 * counts the assignments, which never run. Its objects are plain: their prototype is Object.prototype.
 * @returns {new () => Row}
 */
function rowClass() {
  /** @this {any} */
  function Row() {
    if (new.target !== undefined) return
    // prettier-ignore
    this.a0 = this.a1 = this.a2 = this.a3 = this.a4 = this.a5 = this.a6 = this.a7 = this.a8 = this.a9 = this.b0 = this.b1 =
    this.b2 = this.b3 = this.b4 = this.b5 = this.b6 = this.b7 = this.b8 = this.b9 = this.c0 = this.c1 = this.c2 = this.c3 =
    this.c4 = this.c5 = this.c6 = this.c7 = this.c8 = this.c9 = this.d0 = this.d1 = this.d2 = this.d3 = this.d4 = this.d5 =
    this.d6 = this.d7 = this.d8 = this.d9 = this.e0 = this.e1 = this.e2 = this.e3 = this.e4 = this.e5 = this.e6 = this.e7 =
    this.e8 = this.e9 = this.f0 = this.f1 = this.f2 = this.f3 = this.f4 = this.f5 = this.f6 = this.f7 = this.f8 = this.f9 =
    this.g0 = this.g1 = this.g2 = this.g3 = this.g4 = this.g5 = this.g6 = this.g7 = this.g8 = this.g9 = this.h0 = this.h1 =
    this.h2 = this.h3 = this.h4 = this.h5 = this.h6 = this.h7 = this.h8 = this.h9 = this.i0 = this.i1 = this.i2 = this.i3 =
    this.i4 = this.i5 = this.i6 = this.i7 = this.i8 = this.i9 = this.j0 = this.j1 = this.j2 = this.j3 = this.j4 = this.j5 =
    this.j6 = this.j7 = this.j8 = this.j9 = this.k0 = this.k1 = this.k2 = this.k3 = this.k4 = this.k5 = this.k6 = this.k7 = 0
  }
  Row.prototype = Object.prototype
  return /** @type {any} */ (Row)
}

/** After how many objects V8 settles how much room those of a constructor have. */
const SETTLING = 8

/** Rows that settle the hidden class of all that follow. @param {string[]} names @param {new () => Row} Row */
function seeds(names, Row) {
  return Array.from({ length: SETTLING }, (_, n) => {
    const row = new Row()
    for (const name of names) row[name] = n % 2 === 0 ? null : 0
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
    this.Row = rowClass()
    this.seeds = this.isOrdinary ? seeds(this.names, this.Row).slice(0, 2) : []
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
    const row = new this.Row()
    for (let i = 0; i < names.length; i++) {
      const number = numbers[cells.at++]
      const kind = kinds[i]
      let value
      // Neither NaN nor infinite.
      if (number - number === 0) value = kind === TEXT ? cells.textTo(number) : plain(kind, number, cells)
      else value = Number.isNaN(number) ? null : this.escaped(kind, number, cells)
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
