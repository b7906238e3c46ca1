'use strict'

// Queries and the cache as users see them. Memory is asked in the same turn, without a promise in between; what is not there is
// asked by the engine.

const { Answers } = require('./answers')
const { loadBson } = require('./documents')
const { argumentInvalid, errorFromNative } = require('./errors')
const { decodeValue, encodeValue } = require('./values')

/** @typedef {import('./addon').Engine} Engine */
/** @typedef {import('./shape').Integers} Integers */
/** @typedef {import('./answers').Answer} Answer */
/** @typedef {null | boolean | number | bigint | string | Buffer} Value */

/** Values of the application (`values.js`) are shared by processes with the same V8 only. */
const FORMAT = `2, v8 ${process.versions.v8}`

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
        return Date.prototype.toISOString.call(value).replace('T', ' ').replace('Z', '')
  }
  throw argumentInvalid(
    `params[${index}]: expected null, a boolean, a number, a bigint, a string, a Date or bytes.`
  )
}

/** @param {unknown} sql @param {unknown} params */
function readStatement(sql, params) {
  if (typeof sql !== 'string') throw argumentInvalid('sql: expected a string.')
  if (!Array.isArray(params)) throw argumentInvalid('params: expected an array.')
  // An array that is surely plain: nothing of the caller's runs while the engine reads it.
  const values = []
  for (let index = 0; index < params.length; index++) values.push(parameter(params[index], index))
  return values
}

/** @param {unknown} ttlMs */
function readTtl(ttlMs) {
  if (ttlMs === undefined) return undefined
  if (typeof ttlMs !== 'number' || !(ttlMs >= 1))
    throw argumentInvalid('ttlMs: expected milliseconds, at least 1.')
  return ttlMs
}

/** @param {unknown} source */
function readSource(source) {
  if (source !== undefined && typeof source !== 'string')
    throw argumentInvalid('source: expected the name of a source.')
  return source
}

/**
 * How a read is asked; each option is looked at once.
 * @typedef {{ source?: string, cache: boolean, after?: string, signal?: AbortSignal, ttlMs?: number }} ReadOptions
 * @param {any} options @returns {ReadOptions}
 */
function readOptions({ source, cache = true, after, signal, ttlMs }) {
  return { source: readSource(source), cache, after, signal, ttlMs: readTtl(ttlMs) }
}

/** What a value depends on, before it is known for which source. @param {unknown} dependsOn @returns {any[]} */
function readDependencies(dependsOn) {
  if (!Array.isArray(dependsOn)) throw argumentInvalid('dependsOn: expected an array.')
  for (const on of dependsOn)
    if (on === null || typeof on !== 'object' || typeof on.table !== 'string')
      throw argumentInvalid('dependsOn: expected objects with a table, and perhaps a key.')
  return dependsOn
}

/** Whether a value is a plain object: columns, not a value such as an ObjectId. @param {unknown} value */
function isPlain(value) {
  if (value === null || typeof value !== 'object') return false
  const prototype = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype
}

/**
 * A dependency in the engine's form.
 * @param {any} on @param {boolean} isDocument of a collection of MongoDB
 * @returns {[string, [string, unknown][]]}
 */
function dependency(on, isDocument) {
  const { table, key } = on
  if (key === undefined) return [table, []]
  /** @type {[string, unknown][]} */
  const pairs = isPlain(key) ? Object.entries(key) : [['', key]]
  if (isDocument) {
    const { EJSON } = loadBson()
    return [
      table,
      pairs.map(([field, value]) => [field, EJSON.serialize({ value }, { relaxed: false }).value]),
    ]
  }
  // What is no integer cannot be told apart by the log; the whole table is depended on then.
  const whole = pairs.filter(([, value]) => typeof value === 'bigint' || Number.isSafeInteger(value))
  return [table, whole.map(([column, value]) => [column, String(value)])]
}

/** What `find` takes beside the filter. @param {any} options */
function readRequest(options) {
  const request = /** @type {Record<string, unknown>} */ ({})
  for (const name of ['projection', 'sort']) {
    const value = options[name]
    if (value === undefined) continue
    if (value === null || typeof value !== 'object' || Array.isArray(value))
      throw argumentInvalid(`${name}: expected an object.`)
    request[name] = value
  }
  for (const name of ['limit', 'skip']) {
    const value = options[name]
    if (value === undefined) continue
    if (!Number.isSafeInteger(value) || value < 0)
      throw argumentInvalid(`${name}: expected a whole number, at least 0.`)
    request[name] = value
  }
  return request
}

/** A `find` as BSON. @param {unknown} namespace @param {unknown} filter @param {any} options */
function readFind(namespace, filter, options) {
  if (typeof namespace !== 'string') throw argumentInvalid('namespace: expected a string.')
  if (filter === null || typeof filter !== 'object' || Array.isArray(filter))
    throw argumentInvalid('filter: expected an object.')
  const bytes = loadBson().serialize({ filter, ...readRequest(options) })
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/**
 * Rejects as soon as a signal fires, and says so.
 * @template T @param {Promise<T>} promise @param {AbortSignal} signal @param {() => void} giveUp @returns {Promise<T>}
 */
function abortable(promise, signal, giveUp) {
  return new Promise((resolve, reject) => {
    const abort = () => {
      giveUp()
      reject(signal.reason)
    }
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}

class Queries {
  #engine
  #integers
  #answers
  /** Loads under way: by source and key. @type {Map<string, { number: number, value: Promise<Buffer> }>} */
  #loads = new Map()
  /** Number of the last question that may be given up. */
  #tickets = 0
  #documents

  /** @param {Engine} engine @param {Map<string, Integers>} integers @param {Set<string>} documents sources of MongoDB */
  constructor(engine, integers, documents) {
    this.#engine = engine
    this.#answers = new Answers(engine)
    this.#integers = integers
    this.#documents = documents
    this.cache = Object.freeze({
      wrap: this.#wrap.bind(this),
      invalidate: this.#invalidate.bind(this),
      clear: async () => engine.clearCache(),
      stats: () => this.#stats(),
      explain: this.#explain.bind(this),
    })
  }

  /** Whether a source holds documents; the only one where no name is given. @param {string | undefined} source */
  #isDocument(source) {
    return source === undefined
      ? this.#documents.size > 0 && this.#integers.size === 1
      : this.#documents.has(source)
  }

  /** @param {any[]} dependsOn @param {string | undefined} source */
  #dependenciesJson(dependsOn, source) {
    const isDocument = this.#isDocument(source)
    return JSON.stringify(dependsOn.map(on => dependency(on, isDocument)))
  }

  /** What integers of a source become. @param {string | undefined} source */
  #integersOf(source) {
    return this.#integers.get(source ?? 'default') ?? [...this.#integers.values()][0] ?? 'bigint'
  }

  /** @param {unknown} sql @param {unknown} [params] @param {any} [options] */
  async query(sql, params = [], options = {}) {
    const values = readStatement(sql, params)
    const text = /** @type {string} */ (sql)
    const how = readOptions(options)
    const { source, ttlMs } = how
    const found = this.#remembered(how, into => this.#engine.lookup(source, text, values, ttlMs, into))
    return found ?? this.#ask(how, (source, ...how) => this.#engine.query(source, text, values, ...how))
  }

  /** @param {unknown} namespace @param {unknown} [filter] @param {any} [options] */
  async find(namespace, filter = {}, options = {}) {
    const request = readFind(namespace, filter, options)
    const name = /** @type {string} */ (namespace)
    const how = readOptions(options)
    const { source, ttlMs } = how
    const found = this.#remembered(how, into => this.#engine.lookupFind(source, name, request, ttlMs, into))
    return found ?? this.#ask(how, (source, ...how) => this.#engine.find(source, name, request, ...how))
  }

  /**
   * What memory holds; `null` where the source is to be asked.
   * @param {ReadOptions} options @param {(into: Buffer) => number} lookup
   */
  #remembered({ source, cache, after, signal }, lookup) {
    signal?.throwIfAborted()
    if (!cache || after !== undefined) return null
    const { memory } = this.#answers
    try {
      return this.#answers.rowsFound(memory, lookup(memory), this.#integersOf(source))
    } catch (error) {
      throw errorFromNative(error)
    }
  }

  /**
   * @param {ReadOptions} options
   * @param {(source: string | undefined, bypasses: boolean, ttlMs: number | undefined, after: string | undefined, ticket: number | undefined) => Promise<Answer>} ask
   */
  async #ask({ source, cache, after, signal, ttlMs }, ask) {
    try {
      const ticket = signal === undefined ? undefined : ++this.#tickets
      let asked = ask(source, !cache, ttlMs, after, ticket)
      if (signal !== undefined && ticket !== undefined)
        asked = abortable(asked, signal, () => this.#engine.giveUp(ticket))
      return this.#answers.rows(await asked, this.#integersOf(source))
    } catch (error) {
      throw signal?.aborted ? error : errorFromNative(error)
    }
  }

  /** @param {unknown} sql @param {unknown} [params] @param {any} [options] */
  async execute(sql, params = [], { source } = /** @type {any} */ ({})) {
    const values = readStatement(sql, params)
    try {
      const done = JSON.parse(
        await this.#engine.execute(readSource(source), /** @type {string} */ (sql), values)
      )
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
    const source = readSource(options.source)
    const dependsOn = readDependencies(options.dependsOn === undefined ? [] : options.dependsOn)
    const ttlMs = readTtl(options.ttlMs)
    const found = this.#wrapped(source, key)
    if (found !== null && !found.isDue) return found.value
    const json = this.#dependenciesJson(dependsOn, source)
    if (found !== null) {
      // What ends soon is loaded anew meanwhile; where that fails, nothing is lost.
      this.#startLoad(source, key, load, json, ttlMs, true).catch(() => {})
      return found.value
    }
    const flights = JSON.stringify([source, key, json])
    const flight = this.#loads.get(flights)
    // A load that began before a change that this caller may know of is not shared.
    if (flight !== undefined && this.#engine.isLoadCurrent(flight.number))
      return decodeValue(await flight.value)
    return decodeValue(await this.#startLoad(source, key, load, json, ttlMs, false))
  }

  /** A value of the application that memory holds. @param {string | undefined} source @param {string} key */
  #wrapped(source, key) {
    const { memory } = this.#answers
    try {
      return this.#answers.valueFound(memory, this.#engine.wrapped(source, key, memory))
    } catch (error) {
      throw errorFromNative(error)
    }
  }

  /**
   * Others may share it until something touches what it depends on.
   * @param {string | undefined} source @param {string} key @param {() => Promise<unknown>} load @param {string} json
   * @param {number | undefined} ttlMs @param {boolean} renews @returns {Promise<Buffer>}
   */
  #startLoad(source, key, load, json, ttlMs, renews) {
    const flights = JSON.stringify([source, key, json])
    const number = this.#engine.announceLoad(source)
    const value = this.#load(number, source, key, load, json, ttlMs, renews).finally(() => {
      if (this.#loads.get(flights) === own) this.#loads.delete(flights)
    })
    const own = { number, value }
    this.#loads.set(flights, own)
    return value
  }

  /**
   * @param {number} number @param {string | undefined} source @param {string} key
   * @param {() => Promise<unknown>} load @param {string} json @param {number | undefined} ttlMs @param {boolean} renews
   */
  async #load(number, source, key, load, json, ttlMs, renews) {
    /** @type {Buffer | undefined} */
    let bytes
    try {
      const begun = this.#engine.beginLoad(number, source, key, FORMAT, json, ttlMs, renews)
      const found = await begun.catch(error => {
        throw errorFromNative(error)
      })
      if (found !== null) return found
      bytes = encodeValue(await load())
      return bytes
    } finally {
      this.#engine.endLoad(number, key, FORMAT, bytes, ttlMs)
    }
  }

  /** @param {unknown} target @param {{ source?: string }} [options] */
  async #invalidate(target, { source } = {}) {
    try {
      if (typeof target === 'string') return this.#engine.dropKey(readSource(source), target, FORMAT) ? 1 : 0
      await this.#engine.invalidate(
        readSource(source),
        this.#dependenciesJson(readDependencies([target]), source)
      )
      return 1
    } catch (error) {
      throw errorFromNative(error)
    }
  }

  /** @param {string | undefined} source @returns {string | null} */
  position(source) {
    try {
      return this.#engine.position(readSource(source))
    } catch (error) {
      throw errorFromNative(error)
    }
  }

  #stats() {
    const stats = JSON.parse(this.#engine.cacheStats())
    const asked = stats.hits + stats.misses
    return { ...stats, hitRatio: asked === 0 ? 0 : stats.hits / asked }
  }

  /** @param {string} target @param {any} [options] */
  async #explain(target, options = {}) {
    const { source, filter, ...rest } = options
    try {
      if (filter === undefined) return JSON.parse(await this.#engine.explain(readSource(source), target))
      const request = readFind(target, filter, rest)
      return JSON.parse(await this.#engine.explainFind(readSource(source), target, request))
    } catch (error) {
      throw errorFromNative(error)
    }
  }
}

module.exports = { Queries }
