'use strict'

// `streamer.changes()`: changes one by one, at the loop's pace.
//
// A loop that asks for a change shows that it is done with the one before. So an item of the engine is acknowledged, and the next
// one decoded, only when every loop has asked beyond what it was given: at most one part of a batch waits here.

const { argumentInvalid } = require('./errors')
const { tableMatcher } = require('./tables')

/** @typedef {import('./decode').Change} Change */

const OPERATIONS = ['insert', 'update', 'replace', 'delete', 'read', 'truncate', 'drop', 'rename']

/** @param {unknown} value @returns {value is string[]} */
function isTexts(value) {
  return Array.isArray(value) && value.every(item => typeof item === 'string')
}

/**
 * Refuses what `changes()` cannot understand.
 * @param {any} options
 * @returns {{ wants: (change: Change) => boolean, signal: AbortSignal | undefined }}
 */
function readOptions(options) {
  if (options === null || typeof options !== 'object')
    throw argumentInvalid('changes() expects an object of options.')
  const { tables, ops, signal, ...others } = options
  const [unknown] = Object.keys(others)
  if (unknown !== undefined) {
    throw argumentInvalid(
      `changes() knows the options tables, ops and signal, found ${JSON.stringify(unknown)}.`
    )
  }
  if (tables !== undefined && !isTexts(tables))
    throw argumentInvalid('tables: expected an array of patterns.')
  if (ops !== undefined && !(isTexts(ops) && ops.every(op => OPERATIONS.includes(op)))) {
    throw argumentInvalid(`ops: expected an array of ${OPERATIONS.join(', ')}.`)
  }
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw argumentInvalid('signal: expected an AbortSignal.')
  const matches = tables === undefined ? null : tableMatcher(tables)
  const operations = ops === undefined ? null : new Set(ops)
  return {
    wants: change =>
      (operations === null || operations.has(change.op)) &&
      (matches === null || matches(change.database, change.table)),
    signal,
  }
}

/** @typedef {{ resolve: (result: IteratorResult<Change, undefined>) => void, reject: (reason: unknown) => void }} Waiting */

/**
 * One loop.
 * @implements {AsyncIterableIterator<Change>}
 */
class Changes {
  #wants
  #signal
  #wake
  #release
  /** @type {Change[]} */
  #ready = []
  #next = 0
  /** @type {Waiting[]} */
  #waiting = []
  #isEnded = false
  /** @type {{ reason: unknown } | null} */
  #failure = null
  /** What the loop has in hand: it has not asked for more since. @type {Change[]} */
  #inHand = []
  /** The newest change that it is done with. @type {Change | null} */
  #done = null

  /**
   * @param {any} options
   * @param {() => void} wake Called when this loop wants more.
   * @param {(changes: Changes) => void} release Called when it wants nothing any more.
   */
  constructor(options, wake, release) {
    const { wants, signal } = readOptions(options)
    this.#wants = wants
    this.#wake = wake
    this.#release = release
    this.#signal = signal
    if (signal?.aborted) this.#abort()
    else signal?.addEventListener('abort', this.#abort)
  }

  #abort = () => {
    Changes.fail(this, this.#signal?.reason)
    this.#ready = []
    this.#next = 0
  }

  /** Whether the loop is done with all that it was given. @param {Changes} changes */
  static wantsMore(changes) {
    return changes.#isEnded || changes.#waiting.length > 0
  }

  /** The newest change that the loop is done with. @param {Changes} changes */
  static done(changes) {
    return changes.#done
  }

  /** What it was given and is not done with. @param {Changes} changes */
  static leftover(changes) {
    return [...changes.#inHand, ...changes.#ready.slice(changes.#next)]
  }

  /** @param {Changes} changes @param {Change} change */
  static wants(changes, change) {
    return !changes.#isEnded && changes.#wants(change)
  }

  /** Hands over a part of a batch. @param {Changes} changes @param {readonly Change[]} part */
  static give(changes, part) {
    if (changes.#isEnded) return
    for (const change of part) {
      if (!changes.#wants(change)) continue
      const waiting = changes.#waiting.shift()
      if (waiting === undefined) changes.#ready.push(change)
      else {
        changes.#inHand.push(change)
        waiting.resolve({ value: change, done: false })
      }
    }
  }

  /** The last change has been given: the loop ends behind it. @param {Changes} changes */
  static end(changes) {
    if (changes.#isEnded) return
    changes.#isEnded = true
    changes.#signal?.removeEventListener('abort', changes.#abort)
    for (const waiting of changes.#waiting.splice(0)) waiting.resolve({ value: undefined, done: true })
    changes.#release(changes)
  }

  /** The loop fails behind what it was given. @param {Changes} changes @param {unknown} reason */
  static fail(changes, reason) {
    if (changes.#isEnded) return
    const waiting = changes.#waiting.shift()
    if (waiting === undefined) changes.#failure = { reason }
    else waiting.reject(reason)
    Changes.end(changes)
  }

  /** @returns {Promise<IteratorResult<Change, undefined>>} */
  next() {
    this.#done = this.#inHand.shift() ?? this.#done
    if (this.#next < this.#ready.length) {
      const value = this.#ready[this.#next++]
      if (this.#next === this.#ready.length) {
        this.#ready = []
        this.#next = 0
      }
      this.#inHand.push(value)
      return Promise.resolve({ value, done: false })
    }
    if (this.#failure !== null) {
      const { reason } = this.#failure
      this.#failure = null
      return Promise.reject(reason)
    }
    if (this.#isEnded) return Promise.resolve({ value: undefined, done: true })
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      this.#wake()
    })
  }

  /** @param {any} [value] @returns {Promise<IteratorResult<Change, any>>} */
  return(value) {
    // Whoever is told of the end asks what is left.
    Changes.end(this)
    this.#ready = []
    this.#next = 0
    this.#failure = null
    return Promise.resolve({ value, done: true })
  }

  /** @param {unknown} [reason] @returns {Promise<IteratorResult<Change, undefined>>} */
  throw(reason) {
    this.return()
    return Promise.reject(reason)
  }

  [Symbol.asyncIterator]() {
    return this
  }
}

module.exports = { Changes }
