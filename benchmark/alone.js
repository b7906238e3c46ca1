'use strict'

// Runs one measurement by itself, for whoever works on what it measures: `node benchmark/drain.js --rows 100000 --only batch`.

const { parseArgs } = require('node:util')
const { openKit } = require('../__test__/support/servers')
const { withSpread } = require('./table')

/** Prints rates of contenders. @param {string} title @param {Map<string, any[]>} results */
function print(title, results) {
  console.log(`\n${title}`)
  for (const [name, reports] of results) {
    const rate = withSpread(reports.map(report => (report.rows / report.ms) * 1000))
    const cpu = withSpread(reports.map(report => (report.cpuMs / report.rows) * 1000))
    const whole = withSpread(reports.map(report => report.fromStartMs))
    const memory = withSpread(reports.map(report => report.rss / 1024 ** 2))
    console.log(
      `${name.padEnd(28)} rows/s ${rate.padEnd(34)} CPU s a million ${cpu.padEnd(20)} from start ${whole} ms; ${memory} MB`
    )
  }
}

/**
 * @param {Record<string, string>} defaults
 * @param {(kit: any, values: Record<string, string>, show: typeof print) => Promise<void>} main
 */
async function runAlone(defaults, main) {
  const options = Object.fromEntries(
    Object.entries(defaults).map(([name, value]) => [
      name,
      { type: /** @type {const} */ ('string'), default: value },
    ])
  )
  const { values } = parseArgs({ options })
  const kit = await openKit()
  try {
    await main(kit, /** @type {any} */ (values), print)
  } finally {
    await kit.close()
  }
}

module.exports = { print, runAlone }
