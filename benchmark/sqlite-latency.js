'use strict'

// From a commit in another process to the handler here, and what the triggers cost the writer.
//
//   node benchmark/sqlite-latency.js [--commits 5000] [--pause-ms 2]
//
// Both processes read the machine's monotonic clock. The clock starts before the INSERT, so that the commit itself counts.

const { execFileSync } = require('node:child_process')
const { parseArgs } = require('node:util')
const { Streamer } = require('..')
const { WRITER, freshSqlite, write } = require('../__test__/support/sqlite')

const { values } = parseArgs({ options: { commits: { type: 'string' }, 'pause-ms': { type: 'string' } } })
const COMMITS = Number(values.commits ?? 5000)
const PAUSE_MS = values['pause-ms'] ?? '2'

/** @param {number[]} sorted @param {number} share */
const percentile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]

async function latency() {
  const database = await freshSqlite('CREATE TABLE paced(id INTEGER PRIMARY KEY, v)')
  const streamer = new Streamer(database.url)
  /** @type {bigint[]} */
  const handled = []
  streamer.on('insert', () => handled.push(process.hrtime.bigint()))
  await streamer.start()
  const cpu = process.cpuUsage()
  const began = Date.now()
  const output = await write(['paced', database.file, String(COMMITS), PAUSE_MS])
  while (handled.length < COMMITS) await new Promise(resolve => setTimeout(resolve, 10))
  const { user, system } = process.cpuUsage(cpu)
  const seconds = (Date.now() - began) / 1000
  const moments = output
    .trim()
    .split('\n')
    .map(line => line.split(' ').map(BigInt))
  const report = (name, from) => {
    const all = moments.map((pair, index) => Number(handled[index] - pair[from]) / 1e6).sort((a, b) => a - b)
    const figures = [0.5, 0.9, 0.99, 0.999].map(
      share => `p${share * 100} ${percentile(all, share).toFixed(2)}`
    )
    console.log(`${name}: ${figures.join('  ')}  max ${all.at(-1)?.toFixed(2)} ms`)
  }
  console.log(`${COMMITS} commits, ${(COMMITS / seconds).toFixed(0)} a second`)
  report('from before the INSERT to the handler', 0)
  report('from behind the commit to the handler', 1)
  console.log(`CPU of the reading process: ${((user + system) / 1e4 / seconds).toFixed(1)} % of a core`)
  await streamer.stop()
  await database.drop()
}

/** Commits a second of a writer that waits for nothing. @param {boolean} isFollowed */
async function cost(isFollowed) {
  const database = await freshSqlite('CREATE TABLE paced(id INTEGER PRIMARY KEY, v)')
  if (isFollowed) {
    // The triggers stay; nobody reads.
    const streamer = new Streamer(database.url)
    await streamer.start()
    await streamer.stop()
  }
  const began = process.hrtime.bigint()
  execFileSync('python3', [WRITER, 'paced', database.file, String(COMMITS * 4), '0'], { maxBuffer: 1 << 30 })
  const seconds = Number(process.hrtime.bigint() - began) / 1e9
  await database.drop()
  return (COMMITS * 4) / seconds
}

async function main() {
  await latency()
  const plain = []
  const followed = []
  for (let round = 0; round < 3; round++) {
    plain.push(await cost(false))
    followed.push(await cost(true))
  }
  const [before, after] = [Math.max(...plain), Math.max(...followed)]
  const change = ((after / before - 1) * 100).toFixed(0)
  console.log(
    `writer, WAL, synchronous NORMAL: ${before.toFixed(0)} commits/s without triggers, ${after.toFixed(0)} with (${change} %)`
  )
}

main()
