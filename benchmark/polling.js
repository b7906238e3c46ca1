'use strict'

// Latency and cost of polling a quiet, a bursty and a busy table, with the wait that follows the rate of change, and with
// fixed waits of 1 s and 100 ms.
//
//   node benchmark/polling.js [--seconds 300] [--warm-up 60] [--write]
//
// All nine readers follow one MariaDB without a binlog at the same time, each as an account of its own: the server counts the
// statements of each (`userstat`). Queries an hour are those of the measured seconds, multiplied. With `--write`, the table goes
// into docs/polling.md.

const fs = require('node:fs')
const path = require('node:path')
const os = require('node:os')
const { parseArgs } = require('node:util')
const { Streamer } = require('..')
const { freshDatabase, openKit } = require('../__test__/support/servers')
const { ROOT, machine } = require('./machine')
const { plain, table } = require('./table')

const { values: args } = parseArgs({
  options: { seconds: { type: 'string' }, 'warm-up': { type: 'string' }, write: { type: 'boolean' } },
})
const SECONDS = Number(args.seconds ?? 300)
const WARM_UP = Number(args['warm-up'] ?? 60)

const MODES = {
  adaptive: {},
  'fixed 1 s': { minIntervalMs: 1000, maxIntervalMs: 1000 },
  'fixed 100 ms': { minIntervalMs: 100, maxIntervalMs: 100 },
}

/** What happens to each table: the wait before the next change, in ms. */
const LOADS = {
  quiet: { what: 'a change each 20 s', next: () => 20_000 },
  bursty: { what: '100 changes within 2 s, each 30 s', next: n => (n % 100 === 0 ? 28_000 : 20) },
  busy: { what: '50 changes a second', next: () => 20 },
}

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

/** @param {number[]} list @param {number} share */
function percentile(list, share) {
  const sorted = [...list].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN
}

/** Changes a table until the deadline; the row holds when its statement began. */
async function load(database, name, end) {
  const connection = await database.connect()
  for (let n = 1; ; n++) {
    await sleep(Math.min(LOADS[name].next(n), Math.max(0, end - Date.now())))
    if (Date.now() >= end) break
    await connection.query(`INSERT INTO ${name} (id, at) VALUES (?, ?)`, [n, performance.now()])
  }
  await connection.end()
}

/** One reader of one table. */
async function reader(database, admin, name, mode, index) {
  const user = `reader${index}`
  await admin.query(`CREATE USER ${user}@'%' IDENTIFIED BY 'secret'`)
  await admin.query(`GRANT SELECT ON *.* TO ${user}@'%'`)
  const url = database.url.replace('root@', `${user}:secret@`)
  const streamer = new Streamer({ url, tables: [name], poll: MODES[mode] })
  /** @type {number[]} */
  let latencies = []
  streamer.on('change', ({ after }) => latencies.push(performance.now() - Number(after?.at)))
  await streamer.start()
  const statements = async () => {
    const [rows] = await admin.query('SHOW USER_STATISTICS')
    const row = rows.find(row => row.User === user)
    return Number(row.Select_commands)
  }
  let begun = 0
  return {
    name,
    mode,
    async begin() {
      latencies = []
      begun = await statements()
    },
    async end() {
      const queries = (await statements()) - begun
      await streamer.stop()
      return { queries, latencies }
    },
  }
}

async function main() {
  const kit = await openKit()
  const server = await kit.mariadb({ args: ['--skip-log-bin', '--userstat=1'] })
  const database = await freshDatabase(server)
  const admin = await database.connect()
  for (const name of Object.keys(LOADS)) {
    await admin.query(`CREATE TABLE ${name} (id INT PRIMARY KEY, at DOUBLE,
      updated_at TIMESTAMP(6) DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), KEY (updated_at))`)
  }
  const readers = []
  for (const name of Object.keys(LOADS)) {
    for (const mode of Object.keys(MODES))
      readers.push(await reader(database, admin, name, mode, readers.length))
  }
  const end = Date.now() + (WARM_UP + SECONDS) * 1000
  const loads = Object.keys(LOADS).map(name => load(database, name, end))
  await sleep(WARM_UP * 1000)
  for (const reader of readers) await reader.begin()
  const began = Date.now()
  await Promise.all(loads)
  await sleep(6000)
  const seconds = (Date.now() - began) / 1000
  const rows = []
  for (const reader of readers) {
    const { queries, latencies } = await reader.end()
    const ms = share => plain(percentile(latencies, share))
    const hourly = Math.round((queries * 3600) / seconds).toLocaleString('en-US')
    const what = `${reader.name}: ${LOADS[reader.name].what}`
    rows.push([what, reader.mode, ms(0.5), ms(0.99), hourly, String(latencies.length)])
  }
  await admin.end()
  await kit.close()
  const head = ['table', 'wait', 'p50 ms', 'p99 ms', 'queries an hour', 'changes']
  const text = [
    `MariaDB ${server.version}, ${machine()}, load average ${os.loadavg()[1].toFixed(1)}. Measured for ${Math.round(seconds)} s after ${WARM_UP} s of warm-up, all readers at once; queries`,
    'an hour are multiplied from that. Latency is from before the INSERT to the handler. `node benchmark/polling.js --write`.',
    '',
    table(head, rows),
  ].join('\n')
  console.log(text)
  if (!args.write) return
  const file = path.join(ROOT, 'docs/polling.md')
  const [before, , after] = fs
    .readFileSync(file, 'utf8')
    .split(/(<!-- bench:polling -->[^]*<!-- \/bench:polling -->)/)
  fs.writeFileSync(file, `${before}<!-- bench:polling -->\n\n${text}\n\n<!-- /bench:polling -->${after}`)
}

main()
