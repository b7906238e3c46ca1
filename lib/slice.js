'use strict'

// How a slice of the event loop's time is shared: reading makes the changes that listeners then take, and both count. Without that, a
// slice lasts as long as reading may, and as long again as listeners need for what was read.

/** How much of what is known of the share the newest slice replaces. */
const LEARNING = 1 / 8

/**
 * Reading has at least this much of a slice: listeners that need long for each call (a transaction, a request) would need longer for
 * more and smaller batches.
 */
const LEAST = 0.5

class Slice {
  /** The part of the time that reading takes. */
  #share = LEAST

  /** Until when to read, so that listeners are done at `deadline` (ms of `performance.now()`). @param {number} now @param {number} deadline */
  readUntil(now, deadline) {
    return now + (deadline - now) * this.#share
  }

  /** Learns how long reading took, and listeners with what was read. @param {number} readMs @param {number} listenersMs */
  learn(readMs, listenersMs) {
    const all = readMs + listenersMs
    if (all <= 0) return
    const share = Math.max(readMs / all, LEAST)
    this.#share += (share - this.#share) * LEARNING
  }
}

module.exports = { Slice }
