'use strict'

// What it costs to have: memory above a bare process while it streams and while it drains, the time to load it, its size on disk.

const fs = require('node:fs')
const path = require('node:path')
const { freshDatabase } = require('../__test__/support/servers')
const { SERVER, longLog } = require('./drain')
const { ROOT } = require('./machine')
const { measure } = require('./run')
const { COLUMNS, rowOf } = require('./workload')

/** Writes `rate` rows a second until told to stop. */
function writer(connection, rate) {
  let next = 0
  let isRunning = true
  const done = (async () => {
    const began = Date.now()
    while (isRunning) {
      const due = Math.floor(((Date.now() - began) / 1000) * rate)
      const rows = []
      while (next < due && rows.length < 100) rows.push(Object.values(rowOf(next++)))
      if (rows.length > 0) await connection.query('INSERT INTO t VALUES ?', [rows])
      else await new Promise(resolve => setTimeout(resolve, 5))
    }
  })()
  return {
    stop() {
      isRunning = false
      return done
    },
  }
}

/** Resident memory above that of a bare process, in bytes, while 1,000 rows a second are streamed. */
async function streaming(server, { runs, seconds }) {
  const above = []
  for (let run = 0; run < runs; run++) {
    const database = await freshDatabase(server)
    const connection = await database.connect()
    await connection.query(`CREATE TABLE t (${COLUMNS})`)
    const bare = await measure('bare', 'idle', {})
    /** @type {ReturnType<typeof writer> | undefined} */
    let writing
    const task = { url: database.url, tables: ['t'], ms: seconds * 1000 }
    const report = await measure('ultimate', 'idle', task, () => (writing = writer(connection, 1000)))
    await writing?.stop()
    above.push(report.rss - bare.rss)
    await connection.end()
    await database.drop()
  }
  return above
}

/** @param {any} report @param {any} task @param {number} [times] */
function check(report, { rows, sum }, times = 1) {
  if (report.rows !== rows * times || report.sum !== (Math.imul(sum, times) | 0))
    throw new Error(`${report.rows} rows add up to ${report.sum}, not ${rows * times} and ${sum} each time`)
  return report
}

/** Resident memory above that of a bare process, in bytes, after each million rows of a drain, and at most. */
async function draining(server, { runs, rows }) {
  const { database, task } = await longLog(server, rows)
  const reports = []
  for (let run = 0; run < runs; run++) {
    const bare = await measure('bare', 'idle', {})
    const { held, rss } = check(await measure('ultimate', 'drainFar', task), task)
    reports.push({
      held: held.map((/** @type {number} */ bytes) => bytes - bare.rss),
      most: rss - bare.rss,
      bare: bare.rss,
    })
  }
  await database.drop()
  return reports
}

/** Several streamers in one process that read the same log: their reports, by number. */
async function manyStreamers(server, { runs, rows, numbers }) {
  const { database, task } = await longLog(server, rows)
  const results = new Map()
  for (const streamers of numbers) {
    const reports = []
    for (let run = 0; run < runs; run++)
      reports.push(check(await measure('ultimate', 'drainMany', { ...task, streamers }), task, streamers))
    results.set(streamers, reports)
  }
  await database.drop()
  return results
}

/** How long loading takes, in ms, and what it adds, in bytes. @param {{ runs: number }} options */
async function loading({ runs }) {
  const reports = []
  for (let run = 0; run < runs; run++) reports.push(await measure('bare', 'load', {}))
  return reports
}

/** The largest addon that lies here, in bytes: the one that was built last with `npm run build`. */
function addonBytes() {
  const addons = fs.readdirSync(ROOT).filter(name => name.endsWith('.node'))
  return Math.max(...addons.map(name => fs.statSync(path.join(ROOT, name)).size))
}

module.exports = { addonBytes, draining, loading, manyStreamers, streaming }

if (require.main === module) {
  const { runAlone } = require('./alone')
  const { withSpread } = require('./table')
  const defaults = { runs: '3', seconds: '20', rows: '10000000', parts: 'cost,drain,many' }
  runAlone(defaults, async (kit, values) => {
    const server = await kit.mariadb({ args: SERVER })
    const runs = Number(values.runs)
    const rows = Number(values.rows)
    const inMb = (/** @type {number[]} */ list) => withSpread(list.map(bytes => bytes / 1024 ** 2))
    if (values.parts.includes('cost')) {
      const above = await streaming(server, { runs, seconds: Number(values.seconds) })
      const loads = await loading({ runs })
      console.log(`MB above a bare process, streaming: ${inMb(above)}`)
      console.log(`load: ${withSpread(loads.map(({ ms }) => ms))} ms; addon: ${inMb([addonBytes()])} MB`)
    }
    if (values.parts.includes('drain')) {
      const reports = await draining(server, { runs, rows })
      console.log(
        `MB above a bare process of ${inMb(reports.map(({ bare }) => bare))}, draining ${rows} rows:`
      )
      reports[0].held.forEach((_, million) =>
        console.log(`  after million ${million + 1}: ${inMb(reports.map(({ held }) => held[million]))}`)
      )
      console.log(`  at most: ${inMb(reports.map(({ most }) => most))}`)
    }
    if (values.parts.includes('many')) {
      const results = await manyStreamers(server, { runs, rows: 200_000, numbers: [1, 4, 16] })
      for (const [streamers, reports] of results) {
        const cpu = withSpread(reports.map(report => (report.cpuMs / report.rows) * 1000))
        console.log(`${streamers} streamers: CPU µs a row ${cpu}; ${inMb(reports.map(({ rss }) => rss))} MB`)
      }
    }
    await server.remove()
  })
}
