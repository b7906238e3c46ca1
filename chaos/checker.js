'use strict'

// Holds what a reader delivered against what the writer committed: nothing lost, doubled, out of order, or invented.

class Checker {
  /** @param {(change: any) => boolean} hasRightShape */
  constructor(hasRightShape) {
    this.hasRightShape = hasRightShape
    this.changes = 0
    this.doubled = 0
    this.wrong = 0
    this.repeated = 0
    /** The newest number of the truth table that came. */
    this.newest = 0
    this.missing = 0
    /** @type {Set<string>} */
    this.ids = new Set()
    /** @type {Map<string, Map<unknown, any>>} */
    this.tables = new Map()
    /** @type {string[]} */
    this.notes = []
  }

  /** Takes a change in. Where `mayRepeat`, the same id may come again, and is passed over. @param {any} change @param {boolean} mayRepeat */
  take(change, mayRepeat) {
    this.changes++
    if (this.ids.has(change.id)) {
      if (mayRepeat) this.repeated++
      else {
        this.doubled++
        this.note(`doubled ${change.id}`)
      }
      return
    }
    this.ids.add(change.id)
    if (!this.hasRightShape(change)) {
      this.wrong++
      this.note(`wrong columns in ${change.id}: ${Object.keys(change.after)}`)
    }
    if (change.table === 'truth') this.#truth(change)
    else if (change.key !== null) this.#row(change)
  }

  #truth(change) {
    const n = change.after.n ?? change.after._id
    if (n !== this.newest + 1) {
      this.missing += Math.max(0, n - this.newest - 1)
      this.note(`${n} came behind ${this.newest}`)
      if (n <= this.newest) this.wrong++
    }
    this.newest = Math.max(this.newest, n)
  }

  #row({ id, op, table, key, before, after }) {
    let rows = this.tables.get(table)
    if (rows === undefined) this.tables.set(table, (rows = new Map()))
    const at = key.id ?? key._id
    const known = rows.get(at)
    const fits = op === 'insert' ? known === undefined : known !== undefined
    const hasBefore = before === null || before === undefined || known?.v === before.v
    if (!fits || !hasBefore) {
      this.wrong++
      this.note(`${op} of ${table} ${at} in ${id} does not follow what came before`)
    }
    if (op === 'delete') rows.delete(at)
    else rows.set(at, { ...after })
  }

  /** @param {string} text */
  note(text) {
    if (this.notes.length < 20) this.notes.push(text)
  }

  /** How many rows differ from what the source holds. @param {Map<string, Map<unknown, any>>} contents */
  differences(contents) {
    let differences = 0
    for (const [table, rows] of contents) {
      const ours = this.tables.get(table) ?? new Map()
      const keys = new Set([...rows.keys(), ...ours.keys()])
      for (const key of keys) {
        const [theirs, mine] = [rows.get(key), ours.get(key)]
        if (JSON.stringify(theirs) === JSON.stringify(mine)) continue
        differences++
        this.note(`${table} ${key}: source ${JSON.stringify(theirs)}, rebuilt ${JSON.stringify(mine)}`)
      }
    }
    return differences
  }
}

module.exports = { Checker }
