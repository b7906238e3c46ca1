'use strict'

// What it costs to have: memory above a bare process while it streams and while it drains, the time to load it, its size on disk.

const fs = require('node:fs')
const path = require('node:path')
const { freshDatabase } = require('../__test__/support/servers')
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

module.exports = { addonBytes, loading, streaming }

if (require.main === module) {
  const { runAlone } = require('./alone')
  const { withSpread } = require('./table')
  runAlone({ runs: '3', seconds: '20' }, async (kit, values) => {
    const server = await kit.mariadb()
    const runs = Number(values.runs)
    const above = await streaming(server, { runs, seconds: Number(values.seconds) })
    const loads = await loading({ runs })
    console.log(`MB above a bare process, streaming: ${withSpread(above.map(bytes => bytes / 1024 ** 2))}`)
    console.log(
      `load: ${withSpread(loads.map(({ ms }) => ms))} ms; addon: ${(addonBytes() / 1024 ** 2).toFixed(1)} MB`
    )
  })
}
