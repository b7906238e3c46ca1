'use strict'

// Calls listeners so that one of them cannot harm the others.
//
// `EventEmitter.emit` ends at the first listener that throws: the listeners behind it, and whoever called `emit`, would never know.
// Here each listener is called on its own. What it throws surfaces as Node surfaces what a callback throws, as an uncaught
// exception, in the next tick; what its promise is rejected with becomes an `error` event.

const { EventEmitter } = require('node:events')

/** Called with what listeners threw, in the next tick, so that nothing of ours stands on the stack. @param {unknown} error */
function surface(error) {
  process.nextTick(() => {
    throw error
  })
}

const rejection = Symbol.for('nodejs.rejection')

/**
 * Calls the listeners of an event. Returns false where one of them threw.
 * @type {(emitter: SteadyEmitter, event: string | symbol, ...values: unknown[]) => boolean}
 */
let dispatch

/** Grows whenever a listener is added or removed. @type {(emitter: SteadyEmitter) => number} */
let revisionOf

/** An emitter whose lists of listeners are kept between events. */
class SteadyEmitter extends EventEmitter {
  /** @type {Map<string | symbol, Function[]>} */
  #lists = new Map()

  constructor() {
    super({ captureRejections: true })
  }

  #revision = 0

  #change() {
    this.#revision++
    this.#lists.clear()
  }

  // Every way of adding and removing goes through one of these.

  /** @param {any} event @param {any} listener */
  addListener(event, listener) {
    this.#change()
    return super.addListener(event, listener)
  }

  /** @param {any} event @param {any} listener */
  on(event, listener) {
    this.#change()
    return super.on(event, listener)
  }

  /** @param {any} event @param {any} listener */
  prependListener(event, listener) {
    this.#change()
    return super.prependListener(event, listener)
  }

  /** @param {any} event @param {any} listener */
  removeListener(event, listener) {
    this.#change()
    return super.removeListener(event, listener)
  }

  /** @param {any} event @param {any} listener */
  off(event, listener) {
    this.#change()
    return super.off(event, listener)
  }

  /** @param {any[]} event */
  removeAllListeners(...event) {
    this.#change()
    return super.removeAllListeners(...event)
  }

  static {
    revisionOf = emitter => emitter.#revision
    dispatch = (emitter, event, ...values) => {
      let listeners = emitter.#lists.get(event)
      if (listeners === undefined) {
        listeners = emitter.rawListeners(event)
        emitter.#lists.set(event, listeners)
      }
      let isClean = true
      // One listener may change its array under another's eyes.
      const isCopied = listeners.length > 1 && Array.isArray(values[0])
      for (let i = 0; i < listeners.length; i++) {
        try {
          const result = listeners[i].apply(
            emitter,
            isCopied ? [/** @type {unknown[]} */ (values[0]).slice()] : values
          )
          if (result !== undefined && result !== null) emitter.#watch(result, event, values)
        } catch (error) {
          isClean = false
          surface(error)
        }
      }
      return isClean
    }
  }

  /** @param {any} result @param {string | symbol} event @param {unknown[]} values */
  #watch(result, event, values) {
    const { then } = result
    if (typeof then !== 'function') return
    then.call(result, undefined, (/** @type {unknown} */ reason) => {
      // Out of the promise, in which an exception would be one more rejection.
      process.nextTick(() => /** @type {any} */ (this)[rejection](reason, event, ...values))
    })
  }
}

module.exports = { SteadyEmitter, dispatch, rejection, revisionOf, surface }
