'use strict'

// The process of one measurement: loads the contender that it is told to be, measures, reports, ends.

process.once('message', async (/** @type {any} */ { contender, measure, task }) => {
  try {
    const report = await require(`./contenders/${contender}.js`)[measure](task)
    process.send?.({ report }, () => process.exit(0))
  } catch (error) {
    console.error(`${contender} (${measure}):`, error)
    process.exit(1)
  }
})
