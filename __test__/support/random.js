'use strict'

/**
 * A random generator with a seed, so that a failing run can be repeated (mulberry32).
 * @param {number} seed
 */
function random(seed) {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  return {
    next,
    /** @param {number} n */
    below: n => Math.floor(next() * n),
    /** @param {readonly any[]} list */
    pick: list => list[Math.floor(next() * list.length)],
  }
}

module.exports = { random }
