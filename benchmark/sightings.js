'use strict'

// When each row was seen by a handler, by the clock that all processes of a machine share.

/** ms of the monotonic clock. */
const now = () => Number(process.hrtime.bigint() / 1000n) / 1000

class Sightings {
  #seen
  #left
  #end = () => {}
  #done

  /** Rows 0 to `rows` - 1 are expected. @param {{ rows: number }} task */
  constructor({ rows }) {
    this.#seen = new Float64Array(rows)
    this.#left = rows
    this.#done = new Promise(resolve => {
      this.#end = () => resolve(undefined)
    })
  }

  /** @param {number} id */
  see(id) {
    this.#seen[id] = now()
    if (--this.#left === 0) this.#end()
  }

  /** Says that writing may begin, and resolves when all rows were seen. */
  async report() {
    const cpu = process.cpuUsage()
    process.send?.({ ready: true })
    await this.#done
    const { user, system } = process.cpuUsage(cpu)
    return {
      seen: Array.from(this.#seen),
      rss: process.memoryUsage.rss(),
      cpuMs: (user + system) / 1000,
    }
  }
}

module.exports = { Sightings, now }
