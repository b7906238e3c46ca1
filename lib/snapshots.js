'use strict'

// Snapshots that `streamer.snapshot()` asked for, until they are read.

const { argumentInvalid, errorFromNative } = require('./errors')

/** @typedef {{ source: string | undefined, resolve: () => void, reject: (error: unknown) => void }} Waiting */

/** @param {unknown} tables @returns {string[]} */
function patternsOf(tables) {
  if (tables === undefined) return []
  const patterns = typeof tables === 'string' ? [tables] : tables
  if (!Array.isArray(patterns) || !patterns.every(pattern => typeof pattern === 'string')) {
    throw argumentInvalid('snapshot() expects a pattern or an array of patterns such as "database.table".')
  }
  return patterns
}

/** @param {any} options @returns {string | undefined} */
function sourceOf(options = {}) {
  const source = options === null || typeof options !== 'object' ? null : options.source
  if (source !== undefined && typeof source !== 'string') {
    throw argumentInvalid('snapshot() expects the name of a source in its option "source".')
  }
  return source
}

class Snapshots {
  /** By their ids. @type {Map<string, Waiting>} */
  #waiting = new Map()

  /**
   * Resolves when every row was handed over.
   * @param {import('./addon').Engine} engine @param {unknown} tables @param {unknown} options @returns {Promise<void>}
   */
  async ask(engine, tables, options) {
    const patterns = patternsOf(tables)
    const source = sourceOf(options)
    let id
    try {
      id = engine.snapshot(source, patterns)
    } catch (error) {
      throw errorFromNative(error)
    }
    await new Promise((resolve, reject) => {
      this.#waiting.set(id, { source, resolve: () => resolve(undefined), reject })
    })
  }

  /** A snapshot has come further. @param {{ id: string, done: boolean, remaining: number }} progress */
  told({ id, done, remaining }) {
    if (!done || remaining > 0) return
    this.#waiting.get(id)?.resolve()
    this.#waiting.delete(id)
  }

  /** Nothing is read any more. @param {unknown} error */
  fail(error) {
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }

  /** A source is not read any more. @param {string} name @param {unknown} error */
  failSource(name, error) {
    for (const [id, { source, reject }] of this.#waiting) {
      if (source !== undefined && source !== name) continue
      this.#waiting.delete(id)
      reject(error)
    }
  }
}

module.exports = { Snapshots }
