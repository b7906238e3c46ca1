'use strict'

// What the writers in JavaScript share: when they begin and end.

const { setTimeout: sleep } = require('node:timers/promises')

const PRODUCTS = ['tea', 'coffee', 'cocoa', 'maté', 'chai']
/** @param {number} n */
const below = n => Math.floor(Math.random() * n)

/** A product as it is put on the shelf. @param {number} id */
function product(id) {
  return { id, product: PRODUCTS[below(5)], pieces: below(100), price: below(1000) / 100, at: Date.now() }
}

/**
 * Says "ready", begins with a line of input, calls `write` until the input ends, and prints what `contents` returns.
 * @param {(id: number) => Promise<void>} write @param {() => Promise<object[]>} contents
 */
async function work(write, contents) {
  console.log('ready')
  await new Promise(resolve => process.stdin.once('data', resolve))
  let hasEnded = false
  process.stdin.once('end', () => (hasEnded = true))
  for (let id = 1; !hasEnded; id++) {
    await write(id)
    await sleep(20)
  }
  console.log(JSON.stringify(await contents()))
}

module.exports = { below, product, work }
