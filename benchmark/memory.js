'use strict'

// Memory of a Node process that streams 1,000 changes a second, beside the same process without the library. Starts a MariaDB of
// its own. Prints machine, versions, runs and spread.
//   node benchmark/memory.js [--runs 3] [--seconds 20] [--rate 1000]

const { spawn } = require('node:child_process')
const os = require('node:os')
const path = require('node:path')
const { parseArgs } = require('node:util')
const { freshDatabase, openKit } = require('../__test__/support/servers')

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '20' },
    rate: { type: 'string', default: '1000' },
  },
})
const [runs, seconds, rate] = [values.runs, values.seconds, values.rate].map(Number)

const BARE = `setTimeout(() => process.send({ rss: process.memoryUsage.rss(), changes: 0 }), Number(process.argv[2]) * 1000)`
const STREAMING = `
  const { Streamer } = require(process.argv[3])
  let changes = 0
  const streamer = new Streamer(process.argv[1])
  streamer.on('change', () => changes++)
  streamer.start().then(() => {
    process.send('ready')
    setTimeout(() => {
      process.send({ rss: process.memoryUsage.rss(), changes })
      streamer.stop()
    }, Number(process.argv[2]) * 1000)
  })`

/** Runs a script in a process of its own; resolves with what it reports. */
function measure(script, args, onReady = () => {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['-e', script, ...args], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    let report
    child.on('message', message => {
      if (message === 'ready') onReady()
      else report = message
      if (report) child.disconnect()
    })
    child.on('exit', code =>
      report ? resolve(report) : reject(new Error(`the process exited with ${code}`))
    )
  })
}

/** Writes `rate` rows a second until told to stop. */
function writer(connection) {
  let next = 0
  let running = true
  const done = (async () => {
    const began = Date.now()
    while (running) {
      const due = Math.floor(((Date.now() - began) / 1000) * rate)
      const rows = []
      while (next < due && rows.length < 100) rows.push([next++, `row ${next}`, next / 3])
      if (rows.length > 0) await connection.query('INSERT INTO t VALUES ?', [rows])
      else await new Promise(resolve => setTimeout(resolve, 5))
    }
  })()
  return {
    stop() {
      running = false
      return done
    },
  }
}

const megabytes = bytes => (bytes / 1024 / 1024).toFixed(1)
const median = list => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]

async function main() {
  const kit = await openKit()
  const server = await kit.mariadb()
  console.log(
    `${os.cpus()[0].model}, ${os.cpus().length} cores, ${os.platform()} ${os.release()}; Node ${process.version}; MariaDB ${server.version}`
  )
  console.log(`${runs} runs of ${seconds} s, ${rate} changes/s`)
  const bare = []
  const streaming = []
  for (let run = 0; run < runs; run++) {
    const database = await freshDatabase(server)
    const connection = await database.connect()
    await connection.query('CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(100), ratio DOUBLE)')
    bare.push((await measure(BARE, ['', '2'])).rss)
    let writing
    const root = path.join(__dirname, '..')
    const { rss, changes } = await measure(
      STREAMING,
      [database.url, String(seconds), root],
      () => (writing = writer(connection))
    )
    await writing.stop()
    streaming.push(rss)
    console.log(
      `run ${run + 1}: bare ${megabytes(bare.at(-1))} MB, streaming ${megabytes(rss)} MB after ${changes} changes`
    )
    await connection.end()
  }
  const spread = list => `${megabytes(Math.min(...list))} to ${megabytes(Math.max(...list))}`
  console.log(`bare Node        ${megabytes(median(bare))} MB (${spread(bare)})`)
  console.log(`with streaming   ${megabytes(median(streaming))} MB (${spread(streaming)})`)
  console.log(`the difference   ${megabytes(median(streaming) - median(bare))} MB`)
  await kit.close()
}

main()
