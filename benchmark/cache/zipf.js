'use strict'

// Keys as people ask for them: the one of rank k with a probability proportional to 1 / k^0.99, ranks scattered over the keys.

const { random } = require('../../__test__/support/random')

const EXPONENT = 0.99

/** A generator of keys from 1 to `count`. @param {number} count @param {number} seed */
function zipf(count, seed) {
  const { next } = random(seed)
  const sums = new Float64Array(count)
  let sum = 0
  for (let rank = 1; rank <= count; rank++) sums[rank - 1] = sum += 1 / rank ** EXPONENT
  // The same for every seed: readers and writers agree about which keys are hot.
  const keys = Uint32Array.from({ length: count }, (_, index) => index + 1)
  const shuffle = random(1)
  for (let last = count - 1; last > 0; last--) {
    const other = shuffle.below(last + 1)
    const key = keys[last]
    keys[last] = keys[other]
    keys[other] = key
  }
  return () => {
    const target = next() * sum
    let [low, high] = [0, count - 1]
    while (low < high) {
      const middle = (low + high) >> 1
      if (sums[middle] < target) low = middle + 1
      else high = middle
    }
    return keys[low]
  }
}

module.exports = { zipf }
