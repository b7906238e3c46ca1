'use strict'

// Memory where more comes than the application takes: a handler of 50 ms for each change, a transaction of 200,000 rows, a row of 64 MB.
// This library and `@vlasky/zongji`, each in a process of its own, on the same server. Prints machine, versions, runs and spread.
//   npm run bench:window [-- --runs 3 --server mariadb]

const { fork } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { setTimeout: sleep } = require('node:timers/promises')
const { parseArgs } = require('node:util')
const { installed } = require('../__test__/support/installed')
const { eventually, freshDatabase, openKit } = require('../__test__/support/servers')
const { version } = require('../package.json')

const { values } = parseArgs({
  options: { runs: { type: 'string', default: '3' }, server: { type: 'string', default: 'mariadb' } },
})
const kind = /** @type {'mariadb' | 'mysql'} */ (values.server)
const BUFFER = 16 << 20
const ROWS = 400_000
const CONTENDERS = {
  [`ultimate-streaming ${version}`]: 'ours.js',
  [`@vlasky/zongji ${installed('@vlasky/zongji')}`]: 'zongji.js',
}

/** Numbers below a million, from `digits`. @param {number} count */
function numbers(count) {
  const places = [0, 1, 2, 3, 4, 5]
  const sum = places.map(place => `d${place}.d * ${10 ** place}`).join(' + ')
  const from = places.map(place => `digits d${place}`).join(', ')
  return `SELECT n, REPEAT('x', 100) FROM (SELECT ${sum} AS n FROM ${from}) numbers WHERE n < ${count}`
}

const SCENARIOS = [
  {
    name: `a handler of 50 ms for each change, ${ROWS.toLocaleString('en')} rows`,
    slowMs: 50,
    async write(connection) {
      for (let n = 0; n < ROWS; n += 10_000)
        await connection.query(`INSERT INTO t SELECT n + ${n}, text FROM numbers WHERE n < 10000`)
    },
    isDone: async (child, began) => performance.now() - began > 20_000,
  },
  {
    name: 'a transaction of 200,000 rows',
    slowMs: 0,
    write: connection => connection.query('INSERT INTO t SELECT n, text FROM numbers WHERE n < 200000'),
    isDone: async ask => (await ask()).rows === 200_000,
  },
  {
    name: 'a row of 64 MB',
    slowMs: 0,
    write: connection => connection.query("INSERT INTO large VALUES (1, REPEAT('y', 64 * 1024 * 1024))"),
    isDone: async ask => (await ask()).rows === 1,
  },
]

/** Memory of a process, in bytes: now, and at most. @param {number} pid */
function memory(pid) {
  const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8')
  const of = name => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]) * 1024
  return { now: of('VmRSS'), most: of('VmHWM') }
}

/** @param {any} scenario @param {string} script @param {any} database */
async function measure(scenario, script, database) {
  const child = fork(path.join(__dirname, 'window', script), [
    JSON.stringify({ url: database.url, slowMs: scenario.slowMs }),
  ])
  const ask = () =>
    /** @type {Promise<any>} */ (
      new Promise(resolve => {
        child.once('message', resolve)
        child.send('report')
      })
    )
  await new Promise(resolve => child.once('message', resolve))
  const before = memory(/** @type {number} */ (child.pid)).now
  const connection = await database.connect()
  const began = performance.now()
  await scenario.write(connection)
  await eventually(() => scenario.isDone(scenario.slowMs > 0 ? child : ask, began), {
    deadlineMs: 120_000,
    what: scenario.name,
  })
  const report = await ask()
  const { most } = memory(/** @type {number} */ (child.pid))
  child.disconnect()
  await connection.query('TRUNCATE t')
  await connection.query('TRUNCATE large')
  await connection.end()
  return { above: most - before, ...report }
}

const megabytes = bytes => (bytes / 1024 / 1024).toFixed(0)
const median = list => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]
const spread = list =>
  `${megabytes(median(list))} (${megabytes(Math.min(...list))} to ${megabytes(Math.max(...list))})`

async function main() {
  const kit = await openKit()
  const redo = kind === 'mysql' ? '--innodb-redo-log-capacity=1G' : '--innodb-log-file-size=1G'
  const server = await kit[kind]({ args: ['--max-allowed-packet=256M', redo] })
  console.log(
    `${os.cpus()[0].model}, ${os.cpus().length} cores, ${os.platform()} ${os.release()}; Node ${process.version}; ${kind} ${server.version}`
  )
  console.log(
    `${values.runs} runs; bound (bufferBytes) ${megabytes(BUFFER)} MB; memory above that at the start, in MB\n`
  )
  console.log('| load | reader | memory: median (least to most) | read and not handled |')
  console.log('|---|---|---|---|')
  const database = await freshDatabase(server)
  const setUp = await database.connect()
  await setUp.query('CREATE TABLE t (id INT PRIMARY KEY, text VARCHAR(100))')
  await setUp.query('CREATE TABLE large (id INT PRIMARY KEY, text LONGTEXT)')
  await setUp.query('CREATE TABLE numbers (n INT PRIMARY KEY, text VARCHAR(100))')
  await setUp.query('CREATE TABLE digits (d INT)')
  await setUp.query('INSERT INTO digits VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)')
  await setUp.query(`INSERT INTO numbers ${numbers(200_000)}`)
  await setUp.end()
  for (const scenario of SCENARIOS) {
    /** @type {Map<string, any[]>} */
    const results = new Map(Object.keys(CONTENDERS).map(name => [name, []]))
    for (let run = 0; run < Number(values.runs); run++) {
      for (const [name, script] of Object.entries(CONTENDERS)) {
        results.get(name)?.push(await measure(scenario, script, database))
        await sleep(500)
      }
    }
    for (const [name, runs] of results) {
      const ahead = runs.map(({ most, read, rows }) => (read === undefined ? most : (read - rows) * 100))
      const unit = runs[0].read === undefined ? 'MB in the window' : 'MB of values'
      console.log(
        `| ${scenario.name} | ${name} | ${spread(runs.map(({ above }) => above))} | ${spread(ahead)} ${unit} |`
      )
    }
  }
  await kit.close()
}

main()
