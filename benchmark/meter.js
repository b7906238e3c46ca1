'use strict'

// Counts the rows that a contender hands out, adds them up, and keeps the time: from the first row to the last, and the CPU time
// of the whole process (all threads) from the start to the last row.

const { touch } = require('./workload')

class Meter {
  #left
  #sum = 0
  #begin = performance.now()
  #first = 0
  #cpu = process.cpuUsage()
  /** @type {(report: object) => void} */
  #end = () => {}
  #total

  /** @param {number} rows */
  constructor(rows) {
    this.#left = rows
    this.#total = rows
    this.done = new Promise(resolve => {
      this.#end = resolve
    })
  }

  /** A row of the workload. @param {any} row */
  row(row) {
    if (this.#first === 0) this.#first = performance.now()
    this.#sum = (this.#sum + touch(row)) | 0
    if (--this.#left === 0) this.#finish()
  }

  /** A row of any table: all its values are looked at and counted. @param {any} row */
  values(row) {
    if (this.#first === 0) this.#first = performance.now()
    let values = 0
    for (const name in row) if (row[name] !== undefined) values++
    this.#sum += values
    if (--this.#left === 0) this.#finish()
  }

  /** Rows of another kind, or bytes: counted, not added up. @param {number} count */
  count(count) {
    if (this.#first === 0) {
      this.#first = performance.now()
    }
    this.#left -= count
    if (this.#left <= 0) this.#finish()
  }

  #finish() {
    const now = performance.now()
    const { user, system } = process.cpuUsage(this.#cpu)
    this.#end({
      rows: this.#total - this.#left,
      sum: this.#sum,
      ms: now - this.#first,
      fromStartMs: now - this.#begin,
      cpuMs: (user + system) / 1000,
      // The most that it ever was, in bytes.
      rss: process.resourceUsage().maxRSS * 1024,
    })
  }
}

module.exports = { Meter }
