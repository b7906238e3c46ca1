'use strict'

// A process that does not know this library, or that loads it and does nothing.

/** What a process holds that does nothing. */
function idle() {
  return { rows: 0, rss: process.memoryUsage.rss() }
}

/** Does nothing until it is told to end. */
async function wait() {
  await new Promise(resolve => process.once('message', resolve))
  return { rows: 0 }
}

/** How long it takes to load the library with its addon, and what the process holds more then. */
function load() {
  const before = process.memoryUsage.rss()
  const began = performance.now()
  require('../..')
  require('../../lib/addon').loadEngine()
  return { ms: performance.now() - began, rss: process.memoryUsage.rss() - before }
}

module.exports = { idle, load, wait }
