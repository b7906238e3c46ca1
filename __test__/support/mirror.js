'use strict'

// Tables in memory, to which changes and rows of snapshots are applied in the order in which they come.

const { isDeepStrictEqual } = require('node:util')

/** What is equal has one text. @param {unknown} value */
const text = value =>
  JSON.stringify(value, (_, part) => {
    if (typeof part === 'bigint') return { integer: String(part) }
    return part
  })

/** @param {object} row */
const rowText = row => text(Object.fromEntries(Object.entries(row).sort(([a], [b]) => (a < b ? -1 : 1))))

class Mirror {
  /** Rows by table and key; of a table without a key, how often each is there. @type {Map<string, Map<string, any>>} */
  tables = new Map()
  /** Ids of everything that was applied. */
  ids = new Set()
  reads = 0
  repeats = 0
  /** What did not fit what was there. @type {string[]} */
  misfits = []

  /** @param {string} name @returns {Map<string, any>} */
  table(name) {
    let rows = this.tables.get(name)
    if (rows === undefined) this.tables.set(name, (rows = new Map()))
    return rows
  }

  /** @param {import('../..').Change} change */
  apply(change) {
    if (this.ids.has(change.id) && change.op !== 'read') {
      this.repeats++
      return
    }
    this.ids.add(change.id)
    const name = `${change.database}.${change.table}`
    const rows = this.table(name)
    if (change.op === 'read') this.reads++
    switch (change.op) {
      case 'truncate':
      case 'drop':
        rows.clear()
        return
      case 'rename':
        this.tables.set(change.renamedTo ?? '', rows)
        this.tables.delete(name)
        return
    }
    if (change.key === null) {
      const add = (row, by) => {
        const key = rowText(row)
        const count = (rows.get(key)?.count ?? 0) + by
        if (count === 0) rows.delete(key)
        else rows.set(key, { count, row })
      }
      if (change.before !== null) add(change.before, -1)
      if (change.after !== null) add(change.after, 1)
      return
    }
    const key = text(change.key)
    const present = rows.get(key)?.row
    const { before, after } = change
    const isExpected =
      before === null ? change.op === 'read' || present === undefined : isDeepStrictEqual(present, before)
    // What lies before the chunk that will hold the row is not there yet.
    if (!isExpected && present !== undefined)
      this.misfits.push(`${change.op} ${name} ${key}: ${rowText(present)}, before ${text(before)}`)
    if (after === null) rows.delete(key)
    else if (change.op === 'read' || present !== undefined || before === null)
      rows.set(key, { count: 1, row: after })
    else rows.set(key, { count: 1, row: after })
  }

  /** A table without a key is read from its beginning. @param {{ table: string | null, rows: number, done: boolean }} progress @param {boolean} isKeyless */
  begin({ table, rows, done }, isKeyless) {
    if (isKeyless && table !== null && rows === 0 && !done) this.table(table).clear()
  }

  /** The rows of a table as sorted texts. @param {string} name */
  rows(name) {
    const rows = []
    for (const { count, row } of this.table(name).values())
      for (let i = 0; i < count; i++) rows.push(rowText(row))
    return rows.sort()
  }
}

module.exports = { Mirror, rowText }
