'use strict'

// An engine that does what the test says, in the place of the native one. Everything else is the library's own code.

const addon = require('../../lib/addon')

/** @type {ScriptedEngine | undefined} */
let newest

class ScriptedEngine {
  acknowledged = []
  /** Positions of progress inside a batch. */
  progressed = []
  settles = 0
  stops = []
  starts = 0
  #sequence = 0
  /** Batches that were announced: numbers and text. */
  #announced = new Map()
  #nextShape = 0
  constructor(json, onItem) {
    this.config = JSON.parse(json)
    if (ScriptedEngine.refusal !== null) throw new Error(JSON.stringify(ScriptedEngine.refusal))
    this.onItem = onItem
    this.started = withResolvers()
    newest = this
  }

  start() {
    this.starts++
    return this.started.promise
  }

  async stop(timeoutMs) {
    this.stops.push(timeoutMs)
    if (this.stopResult !== undefined) await this.stopResult
    this.notice({ type: 'stop' })
  }

  acknowledge(sequence) {
    this.acknowledged.push(sequence)
  }

  progress(source, position) {
    this.progressed.push(position)
  }

  async settle() {
    this.settles++
    if (this.settleRefusal !== undefined) throw new Error(JSON.stringify(this.settleRefusal))
  }

  health() {
    const lastError = { code: 'ERR_STREAMER_TIMEOUT', retry: 'automatic', message: 'No answer.', details: {} }
    return JSON.stringify({ status: 'healthy', sources: { default: { state: 'streaming', lastError } } })
  }

  metrics() {
    return 'streamer_up 1\n'
  }

  /** Delivers a notice. */
  notice(notice, source = '') {
    this.onItem(1, ++this.#sequence, source, JSON.stringify(notice))
    return this.#sequence
  }

  /**
   * Delivers a batch: one transaction of inserts with these ids.
   * @param {number[]} ids @param {{ table?: string, op?: number }} [options]
   */
  rows(ids, { table = 'orders', op = 0 } = {}) {
    const shape = this.#nextShape++
    const columns = [{ name: 'id', encoding: 'number' }]
    const layout = { id: shape, database: 'shop', table, columns, key: [0], present: [0] }
    const text = `t:${shape}p${shape}q${shape}`
    const cut = text.indexOf('p')
    const end = text.indexOf('q')
    const isDelete = op === 2
    const numbers = [1, 1000, cut, end, 0, 2, op, isDelete ? shape : -1, isDelete ? -1 : shape, 0, ids.length]
    numbers.push(...ids, 3, text.length)
    const shapes = JSON.stringify([layout])
    return this.batch(numbers, text, shapes)
  }

  /** Announces a batch. @param {number[]} numbers @param {string} text @param {string} [shapes] */
  batch(numbers, text, shapes) {
    this.#announced.set(++this.#sequence, { numbers, text })
    this.onItem(0, this.#sequence, 'default', { size: (4 + numbers.length) * 8 + text.length, shapes })
    return this.#sequence
  }

  fetch(sequence, into) {
    const { numbers, text } = this.#announced.get(sequence)
    this.#announced.delete(sequence)
    const all = [numbers.length, text.length, 0, 0, ...numbers]
    all.forEach((number, index) => into.writeDoubleLE(number, index * 8))
    into.write(text, all.length * 8, 'latin1')
  }
}
/** What the constructor throws, or null. */
ScriptedEngine.refusal = null

function withResolvers() {
  let resolve, reject
  const promise = new Promise((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}

addon.loadEngine = () => ScriptedEngine

/** The engine of a new streamer. @param {ConstructorParameters<typeof import('../..').Streamer>[0]} [config] */
function scripted(config = 'mysql://h/shop') {
  const { Streamer } = require('../..')
  const streamer = new Streamer(config)
  made.push(new WeakRef(streamer))
  return { streamer, engine: newest }
}

/** Streamers that a test made, as long as `stopAll` is called after each. */
/** @type {WeakRef<import('../..').Streamer>[]} */
const made = []

/** Stops what a test has left, also one that failed: a started streamer would keep its process alive. */
async function stopAll() {
  await Promise.allSettled(made.splice(0).map(weak => weak.deref()?.stop({ timeoutMs: 0 })))
}

/** Resolves when the condition holds; delivery may take several turns, and a busy machine makes them more. */
async function until(condition) {
  const end = performance.now() + 10_000
  while (!condition()) {
    if (performance.now() > end) throw new Error(`Waited in vain for ${condition}`)
    await new Promise(resolve => setImmediate(resolve))
  }
}

/** Lets everything happen that is due. */
async function settled() {
  for (let turn = 0; turn < 3; turn++) await new Promise(resolve => setImmediate(resolve))
}

module.exports = { ScriptedEngine, scripted, settled, stopAll, until }
