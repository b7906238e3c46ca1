'use strict'

// `streamer.consume()`: batches to one handler, one at a time, in order.
//
// A batch is done when the handler's promise has resolved. A rejection is answered with the same batch again, after a wait; when the
// retries are used up it goes to `deadLetter`, and where there is none the consumer fails: nothing is passed over. At most one batch
// is gathered while another one is handled, so a slow handler slows the reading.

const { StreamerError, argumentInvalid } = require('./errors')
const { tableMatcher } = require('./tables')

/** @typedef {import('./decode').Change} Change */
/**
 * A part of a batch whose changes were given out; done when `pending` receivers are done with it.
 * @typedef {{ source: string, position: string, sequence: number, pending: number }} Part
 */
/** @typedef {(batch: readonly Change[]) => Promise<void> | void} Handler */
/** @typedef {(batch: readonly Change[], error: unknown) => Promise<void> | void} DeadLetter */
/**
 * @typedef {object} Hooks
 * @property {() => void} wake called when it wants more
 * @property {() => void} settle called when parts became done
 * @property {(error: StreamerError) => void} fail called when the handler failed for good
 * @property {(fields: object, message: string) => void} warn
 */

const FIRST_WAIT_MS = 100
const LONGEST_WAIT_MS = 30_000
const MAX_BATCH = 65_536
const MAX_DELAY_MS = 2 ** 31 - 1

/** @param {unknown} value @param {number} least @param {number} most @param {string} name @param {number} otherwise */
function whole(value, least, most, name, otherwise) {
  if (value === undefined) return otherwise
  const isInfinite = value === Infinity && most === Infinity
  if (!isInfinite && !(Number.isInteger(value) && Number(value) >= least && Number(value) <= most))
    throw argumentInvalid(`${name}: expected a whole number from ${least} to ${most}.`)
  return Number(value)
}

/** @param {unknown} handler @param {any} options */
function readOptions(handler, options) {
  if (typeof handler !== 'function')
    throw argumentInvalid('consume() expects a function that takes a batch of changes.')
  if (options === null || typeof options !== 'object')
    throw argumentInvalid('consume() expects an object of options.')
  const { tables, batchSize, batchBytes, maxWaitMs, retries, deadLetter, ...others } = options
  const [unknown] = Object.keys(others)
  if (unknown !== undefined) {
    throw argumentInvalid(
      `consume() knows the options tables, batchSize, batchBytes, maxWaitMs, retries and deadLetter, found ${JSON.stringify(unknown)}.`
    )
  }
  if (tables !== undefined && !(Array.isArray(tables) && tables.every(table => typeof table === 'string')))
    throw argumentInvalid('tables: expected an array of patterns.')
  if (deadLetter !== undefined && typeof deadLetter !== 'function')
    throw argumentInvalid('deadLetter: expected a function that takes a batch and an error.')
  return {
    handler: /** @type {Handler} */ (handler),
    deadLetter: /** @type {DeadLetter | undefined} */ (deadLetter),
    matches: tables === undefined ? null : tableMatcher(tables),
    batchSize: whole(batchSize, 1, MAX_BATCH, 'batchSize', 256),
    batchBytes: whole(batchBytes, 1, Infinity, 'batchBytes', Infinity),
    maxWaitMs: whole(maxWaitMs, 0, MAX_DELAY_MS, 'maxWaitMs', 0),
    retries: whole(retries, 0, Infinity, 'retries', 5),
  }
}

class Consumer {
  #options
  #hooks
  /**
   * What waits for the handler or is in its hands, with about how many bytes each change takes.
   * @type {{ change: Change, bytes: number, hold: { part: Part, left: number } }[]}
   */
  #waiting = []
  #waitingBytes = 0
  /** It takes nothing more. */
  #isSealed = false
  /** It hands out nothing more. */
  #isEnded = false
  /** @type {Promise<void> | null} */
  #work = null
  /** Ends a wait early. @type {() => void} */
  #interrupt = () => {}

  /** @param {unknown} handler @param {unknown} options @param {Hooks} hooks */
  constructor(handler, options, hooks) {
    this.#options = readOptions(handler, options)
    this.#hooks = hooks
  }

  get batchSize() {
    return this.#options.batchSize
  }

  /** Whether it takes nothing more. */
  get isSealed() {
    return this.#isSealed
  }

  /** @param {Change} change */
  wants({ database, table }) {
    return this.#options.matches === null || this.#options.matches(database, table)
  }

  /** Whether it takes more. */
  get wantsMore() {
    return !this.#isSealed && !this.#isFull
  }

  get #isFull() {
    return this.#waiting.length >= this.#options.batchSize || this.#waitingBytes >= this.#options.batchBytes
  }

  /** Hands over a part of a batch. @param {readonly Change[]} changes @param {Part} part @param {number} bytes */
  give(changes, part, bytes) {
    if (this.#isSealed) return
    const each = bytes / Math.max(1, changes.length)
    const hold = { part, left: 0 }
    for (const change of changes) {
      if (!this.wants(change)) continue
      this.#waiting.push({ change, bytes: each, hold })
      this.#waitingBytes += each
      hold.left++
    }
    if (hold.left === 0) return
    part.pending++
    if (this.#isFull || this.#options.maxWaitMs === 0) this.#interrupt()
    this.#work ??= this.#run()
  }

  /** Hands out nothing more; resolves when the batch in hand is done, or has failed once more. */
  async seal() {
    this.#isSealed = true
    this.#isEnded = true
    this.#interrupt()
    await this.#work
  }

  /** Takes nothing more; resolves when all that was given is done, or a batch has failed once more. */
  async drain() {
    this.#isSealed = true
    this.#interrupt()
    await this.#work
  }

  /** What was given and is not done, in pieces that each keep their part pending; after `seal()` or `drain()`. */
  leftover() {
    /** @type {Map<object, { part: Part, changes: Change[] }>} */
    const pieces = new Map()
    for (const { change, hold } of this.#waiting) {
      const piece = pieces.get(hold)
      if (piece === undefined) pieces.set(hold, { part: hold.part, changes: [change] })
      else piece.changes.push(change)
    }
    return [...pieces.values()]
  }

  async #run() {
    // Not on the caller's stack: the handler is the application's.
    await null
    while (!this.#isEnded && this.#waiting.length > 0) {
      if (!this.#isFull && !this.#isSealed && this.#options.maxWaitMs > 0)
        await this.#pause(this.#options.maxWaitMs)
      if (this.#isEnded) break
      const batch = this.#next()
      if (!(await this.#handle(batch))) break
      this.#finish(batch.length)
    }
    this.#work = null
  }

  /** The next batch; it stays waiting until it is done. */
  #next() {
    const { batchSize, batchBytes } = this.#options
    const batch = []
    let bytes = 0
    for (const { change, bytes: size } of this.#waiting) {
      if (batch.length === batchSize || (batch.length > 0 && bytes + size > batchBytes)) break
      batch.push(change)
      bytes += size
    }
    return batch
  }

  /** @param {number} count */
  #finish(count) {
    for (const { bytes, hold } of this.#waiting.splice(0, count)) {
      this.#waitingBytes -= bytes
      if (--hold.left === 0) hold.part.pending--
    }
    if (this.#waiting.length === 0) this.#waitingBytes = 0
    this.#hooks.settle()
    this.#hooks.wake()
  }

  /** Returns false where the batch is not done. @param {readonly Change[]} batch */
  async #handle(batch) {
    const { handler, deadLetter, retries } = this.#options
    for (let attempt = 1; ; attempt++) {
      let failure
      try {
        // A copy each time: what the handler does to its array is its own affair.
        await handler(batch.slice())
        return true
      } catch (error) {
        failure = error
      }
      if (attempt > retries)
        return deadLetter === undefined ? this.#fail(failure) : this.#bury(batch, failure)
      const waitMs = Math.random() * Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(attempt, 20))
      this.#hooks.warn(
        { attempt, retryInMs: Math.round(waitMs), changes: batch.length },
        'The handler of consume() failed; the batch is tried again.'
      )
      if (this.#isSealed) return false
      await this.#pause(waitMs, true)
      if (this.#isSealed) return false
    }
  }

  /** @param {readonly Change[]} batch @param {unknown} failure */
  async #bury(batch, failure) {
    try {
      await this.#options.deadLetter?.(batch.slice(), failure)
      return true
    } catch (error) {
      return this.#fail(error)
    }
  }

  /** @param {unknown} cause */
  #fail(cause) {
    this.#isSealed = true
    this.#isEnded = true
    // Its message may hold values of rows; they stay in the cause.
    const error = new StreamerError(
      'The handler of consume() failed for good; the cause says with what. The batch will be delivered again at the next start.',
      { code: 'ERR_STREAMER_HANDLER_FAILED', retry: 'operator', details: { event: 'consume' }, cause }
    )
    this.#hooks.fail(error)
    return false
  }

  /** @param {number} ms @param {boolean} [isBackoff] A wait that only the end of the consumer cuts short. */
  #pause(ms, isBackoff = false) {
    return new Promise(resolve => {
      const timer = setTimeout(resolve, ms)
      this.#interrupt = () => {
        if (isBackoff && !this.#isSealed) return
        clearTimeout(timer)
        resolve(undefined)
      }
    })
  }
}

module.exports = { Consumer }
