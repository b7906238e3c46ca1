'use strict'

// Latency of a change: from the moment in which its write was acknowledged (`w: majority`) to the handler, at a steady rate, with
// `log: 'change-stream'` and with `log: 'oplog'`; beside the change stream of the official driver in the same process, on the same
// writes. With --w 1 a write is acknowledged by the primary alone, before the journal is synced. A handler may be called before the writer
// hears that its write is done: such a latency is negative. Starts a MongoDB of its own. Prints machine, versions, runs and spread.
//   node benchmark/mongodb-latency.js [--runs 3] [--seconds 20] [--rate 100] [--members 1] [--w majority] [--journal 100] [--url mongodb://…]

const os = require('node:os')
const { parseArgs } = require('node:util')
const { version: driverVersion } = require('mongodb/package.json')
const { Streamer, version } = require('..')
const { freshMongodb } = require('../__test__/support/mongodb')
const { openKit } = require('../__test__/support/servers')

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '20' },
    rate: { type: 'string', default: '100' },
    members: { type: 'string', default: '1' },
    w: { type: 'string', default: 'majority' },
    /** `journalCommitInterval` of the server, in ms; 100 is its default. */
    journal: { type: 'string', default: '100' },
    url: { type: 'string' },
  },
})
const w = values.w === 'majority' ? values.w : Number(values.w)
const [runs, seconds, rate, members] = [values.runs, values.seconds, values.rate, values.members].map(Number)

/** Not measured: connections, caches and compiled code are made. */
const WARM_UP = 200

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

/** When each of `count` changes was seen. @param {number} count */
function sightings(count) {
  const at = new Float64Array(count)
  let left = count
  let end = () => {}
  return {
    at,
    all: new Promise(resolve => (end = resolve)),
    see(n) {
      at[n] = performance.now()
      if (--left === 0) end()
    },
  }
}

/** One run of all streams on the same writes; which of them is made first alternates. */
async function run(server, isReversed) {
  const database = await freshMongodb(server)
  const collection = await database.db.createCollection('c')
  const count = WARM_UP + seconds * rate
  const all = { stream: sightings(count), oplog: sightings(count), driver: sightings(count) }
  /** @type {(() => Promise<unknown>)[]} */
  const ends = []
  const follow = (log, seen) => async () => {
    const streamer = new Streamer({ source: { url: database.url, tables: ['c'], log } })
    streamer.on('change', change => seen.see(change.after.n))
    await streamer.start()
    ends.push(() => streamer.stop())
  }
  const watch = async () => {
    const watching = database.db.collection('c').watch()
    ends.push(() => watching.close())
    await new Promise(resolve => {
      watching.once('resumeTokenChanged', resolve)
      watching.on('change', change => all.driver.see(change.fullDocument.n))
    })
  }
  const opens = [follow('change-stream', all.stream), follow('oplog', all.oplog), watch]
  for (const open of isReversed ? opens.reverse() : opens) await open()

  const acknowledged = new Float64Array(count)
  const writes = []
  const began = performance.now()
  for (let n = 0; n < count; n++) {
    const wait = began + (n * 1000) / rate - performance.now()
    if (wait > 0) await sleep(wait)
    const write = collection.insertOne({ n, name: 'Ada', total: 12.5 }, { writeConcern: { w } })
    writes.push(write.then(() => (acknowledged[n] = performance.now())))
  }
  await Promise.all([...writes, ...Object.values(all).map(seen => seen.all)])
  for (const end of ends) await end()
  await database.drop()
  const latencies = ({ at }) =>
    Array.from(at, (seen, n) => seen - acknowledged[n])
      .slice(WARM_UP)
      .sort((a, b) => a - b)
  return Object.fromEntries(Object.entries(all).map(([name, seen]) => [name, latencies(seen)]))
}

const QUANTILES = [0.5, 0.9, 0.99, 1]

/** @param {number[]} sorted @param {number} share */
const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]

/** The middle one and the whole spread of a quantile over the runs. */
function summary(all, share) {
  const list = all.map(sorted => quantile(sorted, share)).sort((a, b) => a - b)
  const [low, middle, high] = [list[0], list[list.length >> 1], list[list.length - 1]].map(ms =>
    ms.toFixed(2)
  )
  return `${middle} (${low} to ${high})`
}

async function main() {
  const kit = await openKit()
  const server = values.url
    ? /** @type {any} */ ({ url: values.url, version: 'of --url' })
    : await kit.mongodb({
        members: members === 3 ? 3 : 1,
        ...(values.journal !== '100' && { args: ['--journalCommitInterval', values.journal] }),
      })
  console.log(
    `${os.cpus()[0].model}, ${os.cpus().length} CPUs, ${os.type()} ${os.release()}, Node ${process.version}`
  )
  console.log(
    `ultimate-streaming ${version}, mongodb ${driverVersion}, server ${server.version}, ${members} member(s)`
  )
  console.log(
    `${runs} runs of ${seconds} s at ${rate} writes/s, w: ${w}, journalCommitInterval ${values.journal} ms; ms from acknowledgement to handler\n`
  )
  const all = []
  for (let n = 0; n < runs; n++) all.push(await run(server, n % 2 === 1))
  const names = { oplog: 'oplog', stream: 'change stream', driver: 'mongodb watch()' }
  const line = cells => console.log(cells.map(cell => cell.padEnd(30)).join(''))
  line(['', ...Object.values(names), '(median of the runs, lowest to highest)'])
  for (const share of QUANTILES) {
    const name = share === 1 ? 'max' : `p${share * 100}`
    line([
      name,
      ...Object.keys(names).map(key =>
        summary(
          all.map(latencies => latencies[key]),
          share
        )
      ),
    ])
  }
  await kit.close()
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
