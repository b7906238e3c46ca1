'use strict'

// The configuration on its way to the engine, which alone judges it: here it only becomes JSON in which nothing is lost. Values
// that JSON cannot hold become `{ "$unsupported": kind }`, the logger `{ "$logger": true }`; the engine's sentence names them.

const { loadBson } = require('./documents')
const { StreamerError } = require('./errors')

/** @typedef {{ debug(fields: object, message: string): void, info(fields: object, message: string): void, warn(fields: object, message: string): void, error(fields: object, message: string): void }} Logger */
/** @typedef {import('./shape').Integers} Integers */

const LOGGER_METHODS = /** @type {const} */ (['debug', 'info', 'warn', 'error'])

/** Deeper than any option, and far from what recursion can bear. */
const MAX_DEPTH = 32

/** Default of `delivery.batchSize`. */
const DEFAULT_BATCH_SIZE = 256

/** @param {string} sentence */
function unreadable(sentence) {
  return new StreamerError(`1 problem in the configuration: config: ${sentence}`, {
    code: 'ERR_STREAMER_CONFIG_INVALID',
    retry: 'never',
    details: { problems: [{ path: 'config', message: sentence }] },
  })
}

/** @param {string} kind */
const unsupported = kind => ({ $unsupported: kind })

/** The logger's methods that are missing. @param {object} logger */
function missingMethods(logger) {
  return LOGGER_METHODS.filter(name => typeof (/** @type {any} */ (logger)[name]) !== 'function')
}

/** @param {unknown} value */
function isObject(value) {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}

/**
 * Stages of an aggregation as extended JSON: they may hold whatever the driver takes, a date or an ObjectId, say. Small integers stay
 * numbers, as people write them.
 * @param {unknown[]} stages @returns {unknown}
 */
function stagesForm(stages) {
  const extended = loadBson().EJSON.serialize(stages, { relaxed: false })
  return JSON.parse(JSON.stringify(extended), (_, value) =>
    typeof value?.$numberInt === 'string' ? Number(value.$numberInt) : value
  )
}

/** Reads a configuration, each option once: a getter cannot answer twice differently. */
class Reading {
  /** @type {unknown} */
  logger = undefined

  /**
   * A value in the form of JSON.
   * @param {unknown} value
   * @param {object[]} parents The objects around it.
   * @returns {unknown}
   */
  form(value, parents) {
    switch (typeof value) {
      case 'number':
        return Number.isFinite(value) ? value : unsupported(String(value))
      case 'function':
      case 'symbol':
      case 'bigint':
      case 'undefined':
        return unsupported(typeof value)
      case 'object':
        return value === null ? null : this.#objectForm(value, parents)
      default:
        return value
    }
  }

  /** @param {object} value @param {object[]} parents */
  #objectForm(value, parents) {
    const tag = Object.prototype.toString.call(value).slice(8, -1)
    if (tag !== 'Object' && tag !== 'Array') return unsupported(tag)
    if (parents.includes(value))
      throw unreadable('expected a tree of options, found an object that contains itself')
    if (parents.length >= MAX_DEPTH)
      throw unreadable(`expected options at most ${MAX_DEPTH} levels deep, found more`)
    const around = [...parents, value]
    if (Array.isArray(value)) return value.map(item => this.form(item, around))
    const form = Object.create(null)
    const members = Object.entries(value).filter(([, member]) => member !== undefined)
    const hasDocuments = members.some(([key, member]) => key === 'url' && isMongodb(member))
    for (const [key, member] of members) {
      if (parents.length === 0 && key === 'logger') form[key] = this.#loggerForm(member, around)
      else if (hasDocuments && key === 'pipeline' && Array.isArray(member)) form[key] = stagesForm(member)
      else form[key] = this.form(member, around)
    }
    return form
  }

  /** @param {unknown} logger @param {object[]} around */
  #loggerForm(logger, around) {
    if (!isObject(logger) || Array.isArray(logger)) return this.form(logger, around)
    this.logger = logger
    if (missingMethods(/** @type {object} */ (logger)).length === 0) return { $logger: true }
    // The engine refuses an object without methods; which ones are missing is added to its sentence.
    return typeof logger === 'function' ? unsupported('function') : {}
  }
}

/** Everything that this side needs of a configuration. @param {unknown} config */
function readConfig(config) {
  const reading = new Reading()
  /** @type {any} */
  let form
  /** @type {string[]} */
  let missing
  try {
    form = reading.form(config, [])
    missing = reading.logger === undefined ? [] : missingMethods(/** @type {object} */ (reading.logger))
  } catch (error) {
    if (error instanceof StreamerError) throw error
    throw unreadable('expected options that can be read, found a getter or a proxy that throws')
  }
  const { logger } = /** @type {{ logger: Logger }} */ (reading)
  const batchSize = form?.delivery?.batchSize
  return {
    json: JSON.stringify(form),
    /** The user's logger, where it has all its methods. */
    logger: logger !== undefined && missing.length === 0 ? logger : null,
    integers: integersBySource(form),
    /** Whether a source delivers BSON. */
    readsDocuments: sourcesOf(form).some(([, source]) => isMongodb(source?.url ?? source)),
    /** Sources that deliver BSON. */
    documents: new Set(
      sourcesOf(form)
        .filter(([, source]) => isMongodb(source?.url ?? source))
        .map(([name]) => name)
    ),
    /** Most changes in one `batch` event. */
    batchSize: typeof batchSize === 'number' ? batchSize : DEFAULT_BATCH_SIZE,
    /** Whether positions outlive the process. */
    isKept: (form?.checkpoint ?? false) !== false,
    /** The logger's methods that are missing. */
    missing,
  }
}

/** Each source with its name. @param {any} form @returns {[string, any][]} */
function sourcesOf(form) {
  return isObject(form?.sources) ? Object.entries(form.sources) : [['default', form?.source ?? form]]
}

/** @param {unknown} url */
function isMongodb(url) {
  return typeof url === 'string' && /^mongodb(\+srv)?:/i.test(url)
}

/** How each source wants its 64-bit integers. @param {any} form @returns {Map<string, Integers>} */
function integersBySource(form) {
  return new Map(sourcesOf(form).map(([name, source]) => [name, source?.integers ?? 'bigint']))
}

/**
 * The engine's refusal, with the logger's missing methods named.
 * @param {StreamerError} error @param {string[]} missing
 */
function nameMissingMethods(error, missing) {
  if (missing.length === 0 || error.code !== 'ERR_STREAMER_CONFIG_INVALID') return error
  const sentence = 'expected an object with the methods debug, info, warn and error, found an object'
  const named = `${sentence} without ${missing.join(', ')}`
  const problems = /** @type {{ path: string, message: string }[]} */ (error.details.problems ?? [])
  return new StreamerError(error.message.replace(`logger: ${sentence}`, `logger: ${named}`), {
    code: error.code,
    retry: error.retry,
    details: {
      ...error.details,
      problems: problems.map(problem =>
        problem.message === sentence ? { ...problem, message: named } : problem
      ),
    },
  })
}

module.exports = { nameMissingMethods, readConfig }
