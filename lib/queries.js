'use strict'

// Queries and the cache as users see them. Memory is asked in the same turn, without a promise in between; what is not there is
// asked by the engine. Every caller gets rows of its own, decoded from the compact form: one cannot change another's.

const v8 = require('node:v8')
const { Cells, Shape } = require('./shape')
const { argumentInvalid, errorFromNative } = require('./errors')

/** @typedef {import('./addon').Engine} Engine */
/** @typedef {import('./shape').Integers} Integers */
/** @typedef {import('./decode').BatchPayload & { shape: string, count: number }} RowsPayload */
/** @typedef {null | boolean | number | bigint | string | Buffer} Value */

/** Most shapes of answers that are kept. */
const MAX_SHAPES = 1000

/** A parameter in a form that the engine takes. @param {unknown} value @param {number} index @returns {Value} */
function parameter(value, index) {
  switch (typeof value) {
    case 'undefined':
      return null
    case 'boolean':
    case 'bigint':
    case 'string':
      return value
    case 'number':
      if (Number.isFinite(value)) return value
      break
    case 'object':
      if (value === null || Buffer.isBuffer(value)) return value
      if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
      if (value instanceof Date && !Number.isNaN(value.getTime()))
        return value.toISOString().replace('T', ' ').replace('Z', '')
  }
  throw argumentInvalid(
    `params[${index}]: expected null, a boolean, a number, a bigint, a string, a Date or bytes.`
  )
}

/** @param {unknown} sql @param {unknown} params */
function readStatement(sql, params) {
  if (typeof sql !== 'string') throw argumentInvalid('sql: expected a string.')
  if (!Array.isArray(params)) throw argumentInvalid('params: expected an array.')
  return params.map(parameter)
}

/** @param {unknown} ttlMs */
function readTtl(ttlMs) {
  if (ttlMs === undefined) return undefined
  if (typeof ttlMs !== 'number' || !(ttlMs >= 1))
    throw argumentInvalid('ttlMs: expected milliseconds, at least 1.')
  return ttlMs
}

/** A dependency in the engine's form. @param {any} on @returns {[string, [string, string][]]} */
function dependency(on) {
  if (on === null || typeof on !== 'object' || typeof on.table !== 'string')
    throw argumentInvalid('dependsOn: expected objects with a table, and perhaps a key.')
  const { table, key } = on
  if (key === undefined) return [table, []]
  const pairs = key !== null && typeof key === 'object' ? Object.entries(key) : [['', key]]
  // What is no integer cannot be told apart by the log; the whole table is depended on then.
  const whole = pairs.filter(([, value]) => typeof value === 'bigint' || Number.isSafeInteger(value))
  return [table, whole.map(([column, value]) => [column, String(value)])]
}

/** @param {unknown} dependsOn */
function dependenciesJson(dependsOn) {
  if (!Array.isArray(dependsOn)) throw argumentInvalid('dependsOn: expected an array.')
  return JSON.stringify(dependsOn.map(dependency))
}

/**
 * Rejects as soon as a signal fires; the query itself goes on for whoever shares it.
 * @template T @param {Promise<T>} promise @param {AbortSignal | undefined} signal @returns {Promise<T>}
 */
function abortable(promise, signal) {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason)
    if (signal.aborted) return abort()
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}

class Queries {
  #engine
  #integers
  /** @type {Map<string, Shape>} */
  #shapes = new Map()
  /** Loads under way: by source and key. @type {Map<string, { number: number | null, value: Promise<Buffer> }>} */
  #loads = new Map()

  /** @param {Engine} engine @param {Map<string, Integers>} integers */
  constructor(engine, integers) {
    this.#engine = engine
    this.#integers = integers
    this.cache = Object.freeze({
      wrap: this.#wrap.bind(this),
      invalidate: this.#invalidate.bind(this),
      clear: async () => engine.clearCache(),
      stats: () => this.#stats(),
      explain: this.#explain.bind(this),
    })
  }

  /** @param {RowsPayload} payload @param {string | undefined} source */
  #rows(payload, source) {
    const { shape: json, count } = payload
    const integers = this.#integers.get(source ?? 'default') ?? [...this.#integers.values()][0] ?? 'bigint'
    let shape = this.#shapes.get(integers + json)
    if (shape === undefined) {
      shape = new Shape(JSON.parse(json), integers)
      if (this.#shapes.size >= MAX_SHAPES) this.#shapes.clear()
      this.#shapes.set(integers + json, shape)
    }
    const cells = new Cells(payload)
    return Array.from({ length: count }, () => shape.read(cells))
  }

  /** @param {unknown} sql @param {unknown} [params] @param {any} [options] */
  async query(sql, params = [], options = {}) {
    const values = readStatement(sql, params)
    const { source, cache = true, after, signal } = options
    const ttlMs = readTtl(options.ttlMs)
    signal?.throwIfAborted()
    try {
      if (cache && after === undefined) {
        const found = this.#engine.lookup(source, /** @type {string} */ (sql), values)
        if (found !== null) return this.#rows(found, source)
      }
      const asked = this.#engine.query(source, /** @type {string} */ (sql), values, !cache, ttlMs, after)
      return this.#rows(await abortable(asked, signal), source)
    } catch (error) {
      throw signal?.aborted ? error : errorFromNative(error)
    }
  }

  /** @param {unknown} sql @param {unknown} [params] @param {any} [options] */
  async execute(sql, params = [], { source } = /** @type {any} */ ({})) {
    const values = readStatement(sql, params)
    try {
      const done = JSON.parse(await this.#engine.execute(source, /** @type {string} */ (sql), values))
      const id = done.insertId === null ? null : BigInt(done.insertId)
      return { ...done, insertId: id !== null && id <= Number.MAX_SAFE_INTEGER ? Number(id) : id }
    } catch (error) {
      throw errorFromNative(error)
    }
  }

  /** @param {string} key @param {() => Promise<unknown>} load @param {any} [options] */
  async #wrap(key, load, options = {}) {
    if (typeof key !== 'string') throw argumentInvalid('key: expected a string.')
    if (typeof load !== 'function') throw argumentInvalid('load: expected a function.')
    const { source, dependsOn = [] } = options
    const ttlMs = readTtl(options.ttlMs)
    const json = dependenciesJson(dependsOn)
    try {
      const found = this.#engine.wrapped(source, key)
      if (found !== null) return v8.deserialize(found)
    } catch (error) {
      throw errorFromNative(error)
    }
    const flights = JSON.stringify([source, key, json])
    const flight = this.#loads.get(flights)
    // A load that began before a change that this caller may know of is not shared.
    if (flight !== undefined && (flight.number === null || this.#engine.isLoadCurrent(flight.number)))
      return v8.deserialize(await flight.value)
    const own = { number: /** @type {number | null} */ (null), value: /** @type {any} */ (null) }
    own.value = this.#load(own, source, key, load, json, ttlMs).finally(() => {
      if (this.#loads.get(flights) === own) this.#loads.delete(flights)
    })
    this.#loads.set(flights, own)
    return v8.deserialize(await own.value)
  }

  /**
   * @param {{ number: number | null }} own @param {string | undefined} source @param {string} key
   * @param {() => Promise<unknown>} load @param {string} json @param {number | undefined} ttlMs
   */
  async #load(own, source, key, load, json, ttlMs) {
    try {
      own.number = await this.#engine.beginLoad(source, json)
    } catch (error) {
      throw errorFromNative(error)
    }
    /** @type {Buffer | undefined} */
    let bytes
    try {
      bytes = v8.serialize(await load())
      return bytes
    } finally {
      this.#engine.endLoad(own.number, key, bytes, ttlMs)
    }
  }

  /** @param {unknown} target @param {{ source?: string }} [options] */
  async #invalidate(target, { source } = {}) {
    try {
      if (typeof target === 'string') return this.#engine.dropKey(source, target) ? 1 : 0
      await this.#engine.invalidate(source, dependenciesJson([target]))
      return 1
    } catch (error) {
      throw errorFromNative(error)
    }
  }

  #stats() {
    const stats = JSON.parse(this.#engine.cacheStats())
    const asked = stats.hits + stats.misses
    return { ...stats, hitRatio: asked === 0 ? 0 : stats.hits / asked, redisHits: 0 }
  }

  /** @param {string} sql @param {{ source?: string }} [options] */
  async #explain(sql, { source } = {}) {
    try {
      return JSON.parse(await this.#engine.explain(source, sql))
    } catch (error) {
      throw errorFromNative(error)
    }
  }
}

module.exports = { Queries }
