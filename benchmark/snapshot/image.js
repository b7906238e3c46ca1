'use strict'

// What a sink would have of a table: for each id the version of its row and the hashes of its two other columns, in memory or in a
// file that outlives the process.

const fs = require('node:fs')

/** Bytes of a row: version, hash of `a`, hash of `b`. */
const BYTES = 12

/** The version of a row that is not there. */
const GONE = -1

/** FNV-1a of a text, 32 bits; 0 of null. @param {unknown} value */
function hash(value) {
  if (value === null || value === undefined) return 0
  const text = String(value)
  let sum = 0x811c9dc5
  for (let at = 0; at < text.length; at++) sum = Math.imul(sum ^ text.charCodeAt(at), 0x01000193)
  return sum | 0
}

class Image {
  #file
  /** Cells of rows that lie side by side, to be written at once. */
  #run = Buffer.alloc(BYTES * 4096)
  #first = 0
  #length = 0

  /** @param {string} file @param {number} [rows] makes it anew, for so many ids */
  constructor(file, rows) {
    if (rows !== undefined) fs.writeFileSync(file, Buffer.alloc(rows * BYTES, 0xff))
    this.#file = fs.openSync(file, 'r+')
  }

  /** Applies a change; an update may hold some of the columns only. @param {import('../..').Change} change */
  apply({ key, after }) {
    const id = Number(key?.id ?? key?._id)
    if (this.#length === 4096 || id !== this.#first + this.#length) this.flush()
    if (this.#length === 0) this.#first = id
    const at = this.#length * BYTES
    this.#run.writeInt32LE(after === null ? GONE : Number(after.v), at)
    this.#run.writeInt32LE(hash(after?.a), at + 4)
    if (after === null || after.b !== undefined) {
      this.#run.writeInt32LE(hash(after?.b), at + 8)
      this.#length++
      return
    }
    this.flush()
    fs.writeSync(this.#file, this.#run, at, 8, id * BYTES)
  }

  /** Writes what was applied. */
  flush() {
    if (this.#length > 0) fs.writeSync(this.#file, this.#run, 0, this.#length * BYTES, this.#first * BYTES)
    this.#length = 0
  }
}

/**
 * How many rows differ from the table.
 * @param {string} file @param {AsyncIterable<{ id: number, v: number, a: unknown, b: unknown }> | Iterable<any>} rows all of the table
 */
async function differences(file, rows) {
  const image = fs.readFileSync(file)
  const ids = new Set()
  let [count, wrong] = [0, 0]
  for await (const { id, v, a, b } of rows) {
    const at = id * BYTES
    const cells = [v, hash(a), hash(b)]
    if (cells.some((cell, index) => image.readInt32LE(at + index * 4) !== cell)) wrong++
    ids.add(id)
    count++
  }
  for (let id = 0; id * BYTES < image.length; id++)
    if (image.readInt32LE(id * BYTES) !== GONE && !ids.has(id)) wrong++
  return { count, wrong }
}

module.exports = { Image, differences }
