'use strict'

// The error class, and the list of codes. `crates/streamer-core/src/code.rs`, `index.d.ts` and `docs/errors.md` list the same
// codes; `__test__/codes.test.js` compares them.

/** Every code that a `StreamerError` can carry. */
const errorCodes = Object.freeze(
  /** @type {const} */ ([
    'ERR_STREAMER_CONFIG_INVALID',
    'ERR_STREAMER_HOST_UNKNOWN',
    'ERR_STREAMER_CONNECT_FAILED',
    'ERR_STREAMER_CONNECTION_LOST',
    'ERR_STREAMER_TIMEOUT',
    'ERR_STREAMER_PROTOCOL_UNEXPECTED',
    'ERR_STREAMER_TLS_UNAVAILABLE',
    'ERR_STREAMER_TLS_CERTIFICATE_REJECTED',
    'ERR_STREAMER_TLS_FAILED',
    'ERR_STREAMER_AUTH_REJECTED',
    'ERR_STREAMER_DATABASE_UNKNOWN',
    'ERR_STREAMER_DATABASE_INVALID',
    'ERR_STREAMER_DATABASE_READ_ONLY',
    'ERR_STREAMER_TABLE_UNKNOWN',
    'ERR_STREAMER_TABLE_UNPOLLABLE',
    'ERR_STREAMER_GRANT_MISSING',
    'ERR_STREAMER_SERVER_SETTING_UNSUITABLE',
    'ERR_STREAMER_SERVER_UNSUPPORTED',
    'ERR_STREAMER_SERVER_BUSY',
    'ERR_STREAMER_SERVER_ID_TAKEN',
    'ERR_STREAMER_REPLICA_STALLED',
    'ERR_STREAMER_POSITION_INVALID',
    'ERR_STREAMER_POSITION_LOST',
    'ERR_STREAMER_CHECKPOINT_FAILED',
    'ERR_STREAMER_CHECKPOINT_INVALID',
    'ERR_STREAMER_CHECKPOINT_LOCKED',
    'ERR_STREAMER_LOG_UNDECODABLE',
    'ERR_STREAMER_LOG_CORRUPT',
    'ERR_STREAMER_SERVER_REFUSED',
    'ERR_STREAMER_LIMIT_EXCEEDED',
    'ERR_STREAMER_STOPPED',
    'ERR_STREAMER_HANDLER_FAILED',
    'ERR_STREAMER_ARGUMENT_INVALID',
    'ERR_STREAMER_ADDON_MISSING',
    'ERR_STREAMER_ADDON_MISMATCHED',
    'ERR_STREAMER_PACKAGE_MISSING',
    'ERR_STREAMER_INTERNAL',
  ])
)

/** @typedef {typeof errorCodes[number]} ErrorCode */
/** @typedef {'automatic' | 'operator' | 'never'} Retry */

/** What every failure of this library is. */
class StreamerError extends Error {
  /**
   * @param {string} message
   * @param {{ code: ErrorCode, retry: Retry, details?: Record<string, unknown>, cause?: unknown }} facts
   */
  constructor(message, { code, retry, details, ...rest }) {
    super(message, 'cause' in rest ? { cause: rest.cause } : undefined)
    this.code = code
    this.retry = retry
    this.details = Object.freeze(details ?? {})
  }

  /** The fields that logs keep; an `Error` alone would become `{}`. */
  toJSON() {
    const { name, code, retry, message, details } = this
    return { name, code, retry, message, details }
  }
}
// Where Node's own errors have their name: on the prototype, so that it is no field of each error.
Object.defineProperty(StreamerError.prototype, 'name', {
  value: 'StreamerError',
  writable: true,
  enumerable: false,
  configurable: true,
})

/**
 * The error of the form in which the engine writes errors.
 * @param {{ code: ErrorCode, retry: Retry, message: string, details?: Record<string, unknown> }} facts
 */
function errorFrom({ code, retry, message, details }) {
  return new StreamerError(message, { code, retry, details })
}

/**
 * The error that the addon threw: its message is JSON. Anything else is a defect.
 * @param {unknown} thrown
 * @returns {StreamerError}
 */
function errorFromNative(thrown) {
  if (thrown instanceof StreamerError) return thrown
  const text = thrown instanceof Error ? thrown.message : String(thrown)
  try {
    const facts = JSON.parse(text)
    if (typeof facts?.code === 'string' && typeof facts.message === 'string') return errorFrom(facts)
  } catch {
    // Not ours: told below.
  }
  return new StreamerError(`The engine failed in an unexpected way: ${text}`, {
    code: 'ERR_STREAMER_INTERNAL',
    retry: 'never',
    cause: thrown,
  })
}

/** @param {string} message @param {Record<string, unknown>} [details] */
function argumentInvalid(message, details) {
  return new StreamerError(message, { code: 'ERR_STREAMER_ARGUMENT_INVALID', retry: 'never', details })
}

function stopped() {
  return new StreamerError('The streamer has been stopped. Make a new one to stream again.', {
    code: 'ERR_STREAMER_STOPPED',
    retry: 'never',
  })
}

module.exports = { StreamerError, argumentInvalid, errorCodes, errorFrom, errorFromNative, stopped }
