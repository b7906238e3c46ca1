'use strict'

// Commits numbered transactions all the while. A server that dies leaves open whether the last one was committed; so it is asked.

const { setTimeout: sleep } = require('node:timers/promises')

class Writer {
  #side
  #rng
  #isEnded = false
  #newest = 0
  /** When each number was known to be committed. @type {Map<number, number>} */
  #committedAt = new Map()
  /** @type {any} */
  #connection = null
  /** @type {Promise<unknown>} */
  #turn = Promise.resolve()
  #work

  /** @param {any} side @param {any} rng */
  constructor(side, rng) {
    this.#side = side
    this.#rng = rng
    this.#work = this.#run()
  }

  async #connected() {
    if (this.#connection !== null) return this.#connection
    const connection = await this.#side.connect()
    connection.on?.('error', () => {})
    this.#connection = connection
    this.#newest = Math.max(this.#newest, await this.#side.newest(connection))
    return connection
  }

  #drop() {
    try {
      this.#connection?.destroy?.()
    } catch {
      // It is broken already.
    }
    this.#connection = null
  }

  /** Nothing of a server that does not answer is waited for. @param {Promise<any>} work */
  async #bounded(work) {
    let timer
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error('the server does not answer')), 3000)
    })
    try {
      return await Promise.race([work, late])
    } finally {
      clearTimeout(timer)
    }
  }

  /** In turn, so that a transaction is never interrupted by something else. @param {() => Promise<any>} work */
  #inTurn(work) {
    const next = this.#turn.then(work, work)
    this.#turn = next.catch(() => {})
    return next
  }

  async #run() {
    while (!this.#isEnded) {
      try {
        await this.#inTurn(async () => {
          const connection = await this.#bounded(this.#connected())
          const n = this.#newest + 1
          await this.#bounded(this.#side.transact(connection, n, this.#rng))
          this.#newest = n
          this.#committedAt.set(n, performance.now())
        })
        // A thousand a second would only show how fast the checker is.
        await sleep(5)
      } catch {
        this.#drop()
        await sleep(50)
      }
    }
  }

  /** Work between two transactions; tried again until it succeeds. @param {(connection: any) => Promise<any>} work */
  async aside(work) {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#inTurn(async () => work(await this.#bounded(this.#connected())))
      } catch (error) {
        if (attempt > 200) throw error
        this.#drop()
        await sleep(50)
      }
    }
  }

  /** The next number that is committed from now on. */
  async next() {
    const before = this.#newest
    while (this.#newest <= before) await sleep(1)
    return this.#newest
  }

  /** Since when there is something committed behind `n`; `null` where there is nothing. @param {number} n */
  committedSince(n) {
    for (const known of this.#committedAt.keys()) {
      if (known > n) break
      this.#committedAt.delete(known)
    }
    const [first] = this.#committedAt.values()
    return first ?? null
  }

  /** Ends the writing; resolves with the newest number. */
  async end() {
    this.#isEnded = true
    await this.#work
    return this.aside(connection => this.#side.newest(connection))
  }

  async close() {
    await this.#connection?.end?.()
  }
}

module.exports = { Writer }
