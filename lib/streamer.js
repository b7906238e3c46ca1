'use strict'

// The class that users see: lifecycle, events, loops. What it may say and do stands in `index.d.ts`.
//
// Lifetimes: the engine holds its callback, and the callback holds the streamer weakly, so that a streamer which was never started
// is collected with its engine. A timer holds a started one, and with it the process, until it is stopped or `unref()` is called.

const addon = require('./addon')
const { Changes } = require('./changes')
const { nameMissingMethods, readConfig } = require('./config')
const { Delivery } = require('./delivery')
const { SteadyEmitter, dispatch, rejection, surface } = require('./dispatch')
const { loadBson } = require('./documents')
const { Queries } = require('./queries')
const { Snapshots } = require('./snapshots')
const { StreamerError, argumentInvalid, errorFrom, errorFromNative, stopped } = require('./errors')

/** @typedef {import('./addon').Engine} Engine */
/** @typedef {import('./config').Logger} Logger */

/** Events whose first listener starts the streamer. */
const CHANGE_EVENTS = new Set([
  'change',
  'insert',
  'update',
  'replace',
  'delete',
  'read',
  'batch',
  'schema',
  'gap',
])

/** Default of `stop({ timeoutMs })`. */
const STOP_TIMEOUT_MS = 5000

/** Longest delay of a timer. */
const MAX_DELAY_MS = 2 ** 31 - 1

/** Reads the options of `stop`. @param {unknown} options */
function stopTimeout(options) {
  if (options === null || typeof options !== 'object')
    throw argumentInvalid('stop() expects an object of options.')
  const { timeoutMs = STOP_TIMEOUT_MS } = /** @type {{ timeoutMs?: unknown }} */ (options)
  if (typeof timeoutMs !== 'number' || !(timeoutMs >= 0 && timeoutMs <= MAX_DELAY_MS)) {
    throw argumentInvalid(`timeoutMs: expected milliseconds from 0 to ${MAX_DELAY_MS}.`)
  }
  return timeoutMs
}

/** Health with errors as errors. @param {any} health */
function healthFrom(health) {
  for (const source of Object.values(health.sources)) {
    if (source.lastError !== null) source.lastError = errorFrom(source.lastError)
  }
  return health
}

class Streamer extends SteadyEmitter {
  /** @type {Engine} */
  #engine
  #delivery
  /** @type {Queries} */
  #queries
  #snapshots = new Snapshots()
  /** @type {Logger | null} */
  #logger
  /** @type {Promise<this> | null} */
  #starting = null
  /** Rejects the start that is under way. @type {(error: unknown) => void} */
  #interruptStart = () => {}
  /** @type {Promise<void> | null} */
  #stopping = null
  /** Resolved when the engine's last item has been delivered. */
  #drained
  /** @type {() => void} */
  #setDrained = () => {}
  /** @type {NodeJS.Timeout | null} */
  #keepAlive = null
  #isReferenced = true
  #isStartPlanned = false
  /** The failure of a start that `consume()` began has been told. */
  #isReported = false

  /** @param {unknown} config */
  constructor(config) {
    super()
    const { json, logger, integers, batchSize, isKept, missing, readsDocuments, documents } =
      readConfig(config)
    const Engine = addon.loadEngine()
    try {
      this.#engine = new Engine(json, Streamer.#receiver(this))
    } catch (error) {
      throw nameMissingMethods(errorFromNative(error), missing)
    }
    if (readsDocuments) loadBson()
    this.#queries = new Queries(this.#engine, integers, documents)
    this.#logger = logger
    this.#drained = new Promise(resolve => {
      this.#setDrained = () => resolve(undefined)
    })
    this.#delivery = new Delivery(this, {
      batchSize,
      integers,
      isKept,
      progress: (source, position) => this.#engine.progress(source, position),
      fetch: (sequence, into) => this.#engine.fetch(sequence, into),
      acknowledge: sequence => this.#engine.acknowledge(sequence),
      onNotice: json => this.#notice(json),
      onDefect: error => this.#endWith(errorFromNative(error)),
      warn: (fields, message) => {
        this.#log({ level: 'warn', message, fields })
      },
    })
  }

  /**
   * The engine's callback. In a function of its own: a closure of the constructor would hold the streamer strongly.
   * @param {Streamer} streamer @returns {import('./addon').OnItem}
   */
  static #receiver(streamer) {
    const weak = new WeakRef(streamer)
    return (kind, sequence, source, payload) => {
      const held = weak.deref()
      if (held !== undefined) held.#delivery.receive({ kind, sequence, source, payload })
    }
  }

  /** @param {any} event @param {any} listener */
  addListener(event, listener) {
    super.addListener(event, listener)
    return this.#planStart(event)
  }

  /** @param {any} event @param {any} listener */
  on(event, listener) {
    super.on(event, listener)
    return this.#planStart(event)
  }

  /** @param {any} event @param {any} listener */
  prependListener(event, listener) {
    super.prependListener(event, listener)
    return this.#planStart(event)
  }

  /** Starts after the code that is running, so that all listeners that it adds are there. @param {any} event */
  #planStart(event) {
    if (CHANGE_EVENTS.has(event)) this.#delivery?.wake()
    if (!CHANGE_EVENTS.has(event) || this.#isStartPlanned || this.#starting || this.#stopping) return this
    this.#isStartPlanned = true
    process.nextTick(() => {
      this.#isStartPlanned = false
      if (this.#starting || this.#stopping) return
      this.start().catch(error => {
        if (this.#stopping === null) this.#report(error)
      })
    })
    return this
  }

  start() {
    if (this.#stopping !== null) return Promise.reject(stopped())
    this.#starting ??= this.#begin()
    return this.#starting
  }

  /** @returns {Promise<this>} */
  async #begin() {
    this.#hold()
    const interrupted = new Promise((_, reject) => {
      this.#interruptStart = reject
    })
    try {
      await Promise.race([this.#engine.start(), interrupted])
      return this
    } catch (thrown) {
      const error = errorFromNative(thrown)
      this.#release()
      if (this.#stopping === null) for (const loop of this.#delivery.loops) Changes.fail(loop, error)
      throw error
    }
  }

  /** @param {{ timeoutMs?: number }} [options] */
  stop(options = {}) {
    if (this.#stopping === null) {
      let timeoutMs
      try {
        timeoutMs = stopTimeout(options)
      } catch (error) {
        return Promise.reject(error)
      }
      this.#stopping = this.#end(timeoutMs)
    }
    return this.#stopping
  }

  /** @param {number} timeoutMs */
  async #end(timeoutMs) {
    /** @type {NodeJS.Timeout | undefined} */
    let timer
    // Keeps the process alive, too: who awaits stop() is answered.
    const deadline = new Promise(resolve => {
      timer = setTimeout(resolve, timeoutMs)
    })
    const handled = this.#delivery.flush()
    try {
      const ended = this.#engine.stop(timeoutMs)
      this.#interruptStart(stopped())
      await Promise.race([Promise.all([ended, this.#drained, handled]), deadline])
      this.#delivery.close()
      await this.#engine.settle()
    } catch (error) {
      throw errorFromNative(error)
    } finally {
      clearTimeout(timer)
      this.#delivery.close()
      for (const loop of this.#delivery.loops) Changes.end(loop)
      this.#snapshots.fail(stopped())
      this.#release()
      dispatch(this, 'stop')
    }
  }

  [Symbol.asyncDispose]() {
    return this.stop()
  }

  ref() {
    this.#isReferenced = true
    this.#keepAlive?.ref()
    return this
  }

  unref() {
    this.#isReferenced = false
    this.#keepAlive?.unref()
    return this
  }

  #hold() {
    // Keeps this object alive as well.
    this.#keepAlive = setInterval(() => this.#isReferenced, MAX_DELAY_MS)
    if (!this.#isReferenced) this.#keepAlive.unref()
  }

  #release() {
    if (this.#keepAlive !== null) clearInterval(this.#keepAlive)
    this.#keepAlive = null
  }

  /** @param {unknown} [options] */
  changes(options = {}) {
    const loop = this.#delivery.openLoop(options)
    if (this.#stopping !== null) Changes.fail(loop, stopped())
    else this.start().catch(error => Changes.fail(loop, error))
    return loop
  }

  /** @param {unknown} handler @param {unknown} [options] */
  consume(handler, options = {}) {
    const consumer = this.#delivery.openConsumer(handler, options, {
      fail: error => this.#endWith(error, STOP_TIMEOUT_MS),
      warn: (fields, message) => {
        this.#log({ level: 'warn', message, fields })
      },
    })
    if (this.#stopping !== null) {
      this.#delivery.closeConsumer(consumer)
      throw stopped()
    }
    this.start().catch(error => {
      if (this.#stopping === null && !this.#isReported) this.#report(error)
      this.#isReported = true
    })
    return { stop: () => this.#delivery.closeConsumer(consumer) }
  }

  /** @param {unknown} [tables] @param {unknown} [options] */
  snapshot(tables, options) {
    if (this.#stopping !== null) return Promise.reject(stopped())
    const read = this.#snapshots.ask(this.#engine, tables, options)
    this.start().catch(error => this.#snapshots.fail(error))
    return read
  }

  get cache() {
    return this.#queries.cache
  }

  /** @param {string} sql @param {unknown[]} [params] @param {object} [options] */
  query(sql, params, options) {
    return this.#queries.query(sql, params, options)
  }

  /** @param {string} namespace @param {object} [filter] @param {object} [options] */
  find(namespace, filter, options) {
    return this.#queries.find(namespace, filter, options)
  }

  /** @param {string} sql @param {unknown[]} [params] @param {object} [options] */
  execute(sql, params, options) {
    return this.#queries.execute(sql, params, options)
  }

  /** @param {string} [source] */
  position(source) {
    return this.#queries.position(source)
  }

  health() {
    return healthFrom(JSON.parse(this.#engine.health()))
  }

  metrics() {
    return this.#engine.metrics()
  }

  /** Delivers a notice of the engine. Returns false where a listener threw. @param {string} json */
  #notice(json) {
    const { type, ...event } = JSON.parse(json)
    switch (type) {
      case 'ready':
        return dispatch(this, 'ready')
      case 'stop':
        this.#setDrained()
        return true
      case 'log':
        return this.#log(event)
      case 'error': {
        const error = errorFrom(event.error)
        const { loops } = this.#delivery
        for (const loop of loops) Changes.fail(loop, error)
        this.#snapshots.failSource(event.source, error)
        // A loop that failed with it has told it already.
        if (loops.length > 0 && this.listenerCount('error') === 0) return true
        return this.#report(error)
      }
      case 'health':
        return dispatch(this, 'health', healthFrom(event.health))
      case 'snapshot':
        this.#snapshots.told(event)
        return dispatch(this, type, event)
      case 'disconnect':
        return dispatch(this, 'disconnect', { ...event, error: errorFrom(event.error) })
      default:
        return dispatch(this, type, event)
    }
  }

  /** @param {{ level: 'debug' | 'info' | 'warn' | 'error', message: string, fields: object }} record */
  #log({ level, message, fields }) {
    try {
      this.#logger?.[level](fields, message)
      return true
    } catch (error) {
      surface(error)
      return false
    }
  }

  /** Tells an error; without a listener it is an uncaught exception, as with every emitter. @param {StreamerError} error */
  #report(error) {
    dispatch(this, SteadyEmitter.errorMonitor, error)
    if (this.listenerCount('error') > 0) return dispatch(this, 'error', error)
    surface(error)
    return false
  }

  /** Nothing can go on: what follows cannot be read, or cannot be handled. @param {StreamerError} error @param {number} [timeoutMs] */
  #endWith(error, timeoutMs = 0) {
    for (const loop of this.#delivery.loops) Changes.fail(loop, error)
    this.stop({ timeoutMs }).catch(() => {})
    this.#report(error)
  }

  /**
   * What a listener's promise was rejected with becomes an `error` event; of a listener for `error`, an uncaught exception.
   * @param {unknown} reason @param {string | symbol} event
   */
  [rejection](reason, event) {
    if (event === 'error') return surface(reason)
    this.#report(
      // Its message may hold values of rows; they stay in the cause.
      new StreamerError(
        `The promise of a listener for "${String(event)}" was rejected; the cause says with what.`,
        {
          code: 'ERR_STREAMER_HANDLER_FAILED',
          retry: 'operator',
          details: { event: String(event) },
          cause: reason,
        }
      )
    )
  }
}

module.exports = { Streamer }
