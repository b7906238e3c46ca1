'use strict'

// How long after its commit was acknowledged, and after its write was sent, a row reaches the handler, at a steady rate of commits. A
// handler may be called before the writer hears that its commit is done: such a latency is negative.

const { freshDatabase } = require('../__test__/support/servers')
const { freshMongodb } = require('../__test__/support/mongodb')
const { alternate, measure } = require('./run')
const { now } = require('./sightings')
const { COLUMNS, rowOf } = require('./workload')

const CONTENDERS = {
  sql: {
    'ultimate-streaming': 'ultimate',
    '@vlasky/zongji': 'zongji',
    '@powersync/mysql-zongji': 'powersync',
  },
  mongodb: {
    'ultimate-streaming': 'ultimate',
    'ultimate-streaming, oplog': 'ultimate:followOplog',
    'mongodb watch()': 'mongodb',
  },
}

/** Connections that write in turn, so that one slow commit does not delay the next. */
const WRITERS = 4

/** Not measured: connections, caches and compiled code are made. */
const WARM_UP = 200

/** Calls `write` for 0 to `count` - 1, `rate` times a second; resolves with the moments in which each was sent and acknowledged. */
async function writeSteadily(count, rate, write) {
  const sent = new Float64Array(count)
  const acknowledged = new Float64Array(count)
  const writes = []
  const began = now()
  for (let n = 0; n < count; n++) {
    const wait = began + (n * 1000) / rate - now()
    // Timers are a millisecond late; what is due is written at once.
    if (wait > 0) await new Promise(resolve => setTimeout(resolve, wait))
    sent[n] = now()
    writes.push(write(n).then(() => (acknowledged[n] = now())))
  }
  await Promise.all(writes)
  return { sent, acknowledged }
}

/** A database that rows can be written to. */
async function target(server) {
  if (server.kind === 'mongodb') {
    const database = await freshMongodb(server)
    const collection = await database.db.createCollection('c')
    const write = n => collection.insertOne({ _id: n, ...rowOf(n) }, { writeConcern: { w: 'majority' } })
    return { url: database.url, tables: ['c'], write, drop: () => database.drop() }
  }
  const database = await freshDatabase(server)
  const connections = await Promise.all(Array.from({ length: WRITERS }, () => database.connect()))
  await connections[0].query(`CREATE TABLE t (${COLUMNS})`)
  return {
    url: database.url,
    tables: ['t'],
    write: n => connections[n % WRITERS].query('INSERT INTO t VALUES (?)', [Object.values(rowOf(n))]),
    async drop() {
      for (const connection of connections) await connection.end()
      await database.drop()
    },
  }
}

/** One contender, once; resolves with latencies in ms behind both moments, each in order. */
async function once(server, contender, { rate, seconds }) {
  const { url, tables, write, drop } = await target(server)
  const rows = WARM_UP + rate * seconds
  /** @type {ReturnType<typeof writeSteadily> | undefined} */
  let writing
  const [file, kind = 'follow'] = contender.split(':')
  const { seen } = await measure(file, kind, { url, tables, rows }, () => {
    writing = writeSteadily(rows, rate, write)
  })
  const { sent, acknowledged } = await /** @type {ReturnType<typeof writeSteadily>} */ (writing)
  await drop()
  const behind = (/** @type {Float64Array} */ moments) =>
    Array.from(moments, (at, n) => seen[n] - at)
      .slice(WARM_UP)
      .sort((a, b) => a - b)
  return { sent: behind(sent), acknowledged: behind(acknowledged) }
}

/** @param {number[]} sorted @param {number} share */
const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]

/** Latencies of all contenders for a server at a rate: of each run p50 and p99 behind the acknowledgement, and behind the write. */
async function latencies(server, { rate, seconds, runs }) {
  const contenders = CONTENDERS[server.kind === 'mongodb' ? 'mongodb' : 'sql']
  return alternate(runs, Object.keys(contenders), async name => {
    const { sent, acknowledged } = await once(server, contenders[name], { rate, seconds })
    const [p50, p99] = [0.5, 0.99].map(share => quantile(acknowledged, share))
    const [sent50, sent99] = [0.5, 0.99].map(share => quantile(sent, share))
    return { p50, p99, sent50, sent99 }
  })
}

/** What `latencies` tells of each run, in ms. */
const FIGURES = ['p50', 'p99', 'sent50', 'sent99']

module.exports = { FIGURES, latencies }

if (require.main === module) {
  const { runAlone } = require('./alone')
  const { withSpread } = require('./table')
  runAlone(
    { runs: '3', seconds: '5', rate: '100,1000', server: 'mariadb,mysql,mongodb' },
    async (kit, values) => {
      for (const kind of values.server.split(',')) {
        const server = await kit[kind](kind === 'mongodb' ? {} : { args: ['--binlog-row-metadata=FULL'] })
        for (const rate of values.rate.split(',').map(Number)) {
          const options = { rate, seconds: Number(values.seconds), runs: Number(values.runs) }
          console.log(`\n${kind} ${server.version}, ${rate} commits/s`)
          for (const [name, reports] of await latencies(server, options)) {
            const texts = FIGURES.map(key => `${key} ${withSpread(reports.map(report => report[key]))}`)
            console.log(name.padEnd(26), ...texts.map(text => text.padEnd(26)))
          }
        }
        await server.remove()
      }
    }
  )
}
