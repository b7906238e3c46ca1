'use strict'

// The process of one measurement: loads the contender that it is told to be, measures, reports, ends.

process.once('message', async (/** @type {any} */ { contender, measure, task }) => {
  try {
    // Loaded before anything is measured; only what measures loading loads later.
    const measures = require(`./contenders/${contender}.js`)
    const once = () => measures[measure](task)
    const report = await (task.watch ? require('./watch').watched(once) : once())
    process.send?.({ report }, () => process.exit(0))
  } catch (error) {
    console.error(`${contender} (${measure}):`, error)
    process.exit(1)
  }
})
