'use strict'

// One contender in a process of its own: `node reader.js <json>`. Reads at a given rate, then as fast as it goes; each answer is held
// against what had been delivered before the read began.

const { Streamer } = require('../..')
const { contender } = require('./contenders')
const { databaseOf } = require('./databases')
const { zipf } = require('./zipf')

const { name, ttlMs, kind, url, keys, perSecond, warmSeconds, seconds } = JSON.parse(process.argv[2])
const database = databaseOf(kind)
const CALLERS = 64
const FAST_SECONDS = 5

/** Resolves when the turn is over. */
const turn = () => new Promise(resolve => setImmediate(resolve))

/** Asks the parent how many queries the server has run. */
function queries() {
  return new Promise(resolve => {
    process.once('message', resolve)
    process.send?.('queries')
  })
}

/** So what is counted afterwards is what changes cost, not how long ago the cache began. @param {(id: number) => Promise<any>} read */
async function readAll(read) {
  for (let id = 1; id <= keys; id += CALLERS)
    await Promise.all(Array.from({ length: Math.min(CALLERS, keys - id + 1) }, (_, n) => read(id + n)))
}

/** Notes the newest delivered version of each key. @param {any} streamer @param {Int32Array} delivered */
function follow(streamer, delivered) {
  streamer.on('batch', batch => {
    for (const change of /** @type {any[]} */ (batch)) {
      const [id, version] = database.version(change)
      delivered[id] = version
    }
  })
}

async function main() {
  const delivered = new Int32Array(keys + 1)
  const isOurs = name === 'ultimate-streaming'
  const streamer = new Streamer({ source: { url, tables: ['items'] }, cache: isOurs })
  follow(streamer, delivered)
  await streamer.start()
  const { read, close } = await contender(name, database, url, streamer, ttlMs)
  const next = zipf(keys, 3)
  let [reads, stale, worst] = [0, 0, 0]
  const times = []
  const one = async () => {
    const id = next()
    const known = delivered[id]
    const began = performance.now()
    const { version } = await read(id)
    times.push(performance.now() - began)
    reads++
    if (version < known) {
      stale++
      worst = Math.max(worst, known - version)
    }
  }
  /** @param {number} duration */
  const paced = async duration => {
    const began = performance.now()
    let asked = 0
    const open = new Set()
    while (performance.now() - began < duration * 1000) {
      const due = ((performance.now() - began) / 1000) * perSecond
      // Whoever cannot keep up is not buried.
      while (asked < due && open.size < 10_000) {
        asked++
        const promise = one().finally(() => open.delete(promise))
        open.add(promise)
      }
      await turn()
    }
    await Promise.all(open)
  }
  if (name !== 'no cache') await readAll(read)
  await paced(warmSeconds)
  const before = await queries()
  ;[reads, stale, worst, times.length] = [0, 0, 0, 0]
  await paced(seconds)
  const asked = (await queries()) - before
  times.sort((a, b) => a - b)
  const paceful = {
    reads,
    asked,
    stale,
    worst,
    p50: times[times.length >> 1],
    p99: times[Math.floor(times.length * 0.99)],
  }
  times.length = 0
  reads = 0
  const end = performance.now() + FAST_SECONDS * 1000
  const caller = async () => {
    while (performance.now() < end) {
      for (let i = 0; i < 16; i++) await one()
      times.length = 0
      await turn()
    }
  }
  await Promise.all(Array.from({ length: CALLERS }, caller))
  const stats = isOurs ? streamer.cache.stats() : null
  process.send?.({ ...paceful, perSecond: reads / FAST_SECONDS, rss: process.memoryUsage().rss, stats })
  await close()
  await streamer.stop()
  process.disconnect()
}

main()
