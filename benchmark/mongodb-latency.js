'use strict'

// Latency of a change: from the moment in which its write was acknowledged (`w: majority`) to the handler, at a steady rate; beside
// the change stream of the official driver in the same process, on the same writes. A handler may be called before the writer
// hears that its write is done: such a latency is negative. Starts a MongoDB of its own. Prints machine, versions, runs and spread.
//   node benchmark/mongodb-latency.js [--runs 3] [--seconds 20] [--rate 100] [--members 1] [--url mongodb://…]

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
    url: { type: 'string' },
  },
})
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

/** One run of one stream each, on the same writes; which of the two is made first alternates. */
async function run(server, isOursFirst) {
  const database = await freshMongodb(server)
  const collection = await database.db.createCollection('c')
  const count = WARM_UP + seconds * rate
  const ours = sightings(count)
  const theirs = sightings(count)
  const streamer = new Streamer({ url: database.url, tables: ['c'] })
  const watching = database.db.collection('c').watch()
  const openOurs = async () => {
    streamer.on('change', change => ours.see(change.after.n))
    await streamer.start()
  }
  const openTheirs = () =>
    new Promise(resolve => {
      watching.once('resumeTokenChanged', resolve)
      watching.on('change', change => theirs.see(change.fullDocument.n))
    })
  for (const open of isOursFirst ? [openOurs, openTheirs] : [openTheirs, openOurs]) await open()

  const acknowledged = new Float64Array(count)
  const writes = []
  const began = performance.now()
  for (let n = 0; n < count; n++) {
    const wait = began + (n * 1000) / rate - performance.now()
    if (wait > 0) await sleep(wait)
    const write = collection.insertOne({ n, name: 'Ada', total: 12.5 }, { writeConcern: { w: 'majority' } })
    writes.push(write.then(() => (acknowledged[n] = performance.now())))
  }
  await Promise.all([...writes, ours.all, theirs.all])
  await streamer.stop()
  await watching.close()
  await database.drop()
  const latencies = ({ at }) =>
    Array.from(at, (seen, n) => seen - acknowledged[n])
      .slice(WARM_UP)
      .sort((a, b) => a - b)
  return { ours: latencies(ours), theirs: latencies(theirs) }
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
    : await kit.mongodb({ members: members === 3 ? 3 : 1 })
  console.log(
    `${os.cpus()[0].model}, ${os.cpus().length} CPUs, ${os.type()} ${os.release()}, Node ${process.version}`
  )
  console.log(
    `ultimate-streaming ${version}, mongodb ${driverVersion}, server ${server.version}, ${members} member(s)`
  )
  console.log(
    `${runs} runs of ${seconds} s at ${rate} writes/s, w: majority; ms from acknowledgement to handler\n`
  )
  const ours = []
  const theirs = []
  for (let n = 0; n < runs; n++) {
    const latencies = await run(server, n % 2 === 0)
    ours.push(latencies.ours)
    theirs.push(latencies.theirs)
  }
  console.log(
    'quantile   ultimate-streaming        mongodb watch()     (median of the runs, lowest to highest)'
  )
  for (const share of QUANTILES) {
    const name = share === 1 ? 'max' : `p${share * 100}`
    console.log(`${name.padEnd(10)} ${summary(ours, share).padEnd(25)} ${summary(theirs, share)}`)
  }
  await kit.close()
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
