'use strict'

// From a commit in another process to the handler here, and what the triggers cost the writer.
//
//   node benchmark/sqlite-latency.js [--commits 5000] [--pause-ms 2] [--runs 3] [--write]
//
// Both processes read the machine's monotonic clock. The clock starts before the INSERT, so that the commit itself counts. With
// `--write`, the table goes into docs/sqlite.md.

const { execFileSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { parseArgs } = require('node:util')
const { Streamer } = require('..')
const { WRITER, freshSqlite, write } = require('../__test__/support/sqlite')
const { ROOT, machine, versions } = require('./machine')
const { median, plain, table } = require('./table')

const { values: args } = parseArgs({
  options: {
    commits: { type: 'string', default: '5000' },
    'pause-ms': { type: 'string', default: '2' },
    runs: { type: 'string', default: '3' },
    write: { type: 'boolean' },
  },
})
const [COMMITS, RUNS] = [args.commits, args.runs].map(Number)

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
  const output = await write(['paced', database.file, String(COMMITS), args['pause-ms']])
  while (handled.length < COMMITS) await new Promise(resolve => setTimeout(resolve, 10))
  const { user, system } = process.cpuUsage(cpu)
  const seconds = (Date.now() - began) / 1000
  await streamer.stop()
  await database.drop()
  const moments = output
    .trim()
    .split('\n')
    .map(line => line.split(' ').map(BigInt))
  const figures = from => {
    const all = moments.map((pair, index) => Number(handled[index] - pair[from]) / 1e6).sort((a, b) => a - b)
    const parts = [0.5, 0.99, 0.999].map(share => `p${share * 100} ${percentile(all, share).toFixed(2)} ms`)
    return `${parts.join(', ')}, max ${all.at(-1)?.toFixed(2)} ms`
  }
  const rate = `${COMMITS.toLocaleString('en-US')} commits at ${(COMMITS / seconds).toFixed(0)} a second`
  return [
    [`from before the INSERT in the other process to the handler, ${rate}`, figures(0)],
    ['from behind its commit to the handler', figures(1)],
    [
      'CPU of the reading process meanwhile, the handler included',
      `${((user + system) / 1e4 / seconds).toFixed(0)} % of a core`,
    ],
  ]
}

/** Commits a second of a writer that waits for nothing. @param {boolean} isFollowed @param {string} synchronous */
async function pace(isFollowed, synchronous) {
  const database = await freshSqlite('CREATE TABLE paced(id INTEGER PRIMARY KEY, v)')
  if (isFollowed) {
    // The triggers stay; nobody reads.
    const streamer = new Streamer(database.url)
    await streamer.start()
    await streamer.stop()
  }
  const commits = synchronous === 'NORMAL' ? COMMITS * 4 : COMMITS
  const began = process.hrtime.bigint()
  execFileSync('python3', [WRITER, 'paced', database.file, String(commits), '0', synchronous], {
    maxBuffer: 1 << 30,
  })
  const seconds = Number(process.hrtime.bigint() - began) / 1e9
  await database.drop()
  return commits / seconds
}

/** @param {string} synchronous */
async function cost(synchronous) {
  const without = []
  const followed = []
  for (let run = 0; run < RUNS; run++) {
    without.push(await pace(false, synchronous))
    followed.push(await pace(true, synchronous))
  }
  const [before, after] = [median(without), median(followed)]
  return [
    `commits of a writer that waits for nothing, \`synchronous=${synchronous}\`, without and with triggers`,
    `${plain(before)}/s and ${plain(after)}/s (${((after / before - 1) * 100).toFixed(0)} %)`,
  ]
}

async function main() {
  const rows = [...(await latency()), await cost('NORMAL'), await cost('FULL')]
  const text = [
    `${machine()}, ${versions([])}, load average ${os.loadavg()[1].toFixed(1)}, WAL, a writer in Python; the writer's figures are medians of ${RUNS}. \`node benchmark/sqlite-latency.js --write\`.`,
    '',
    table(['', ''], rows),
  ].join('\n')
  console.log(text)
  if (!args.write) return
  const file = path.join(ROOT, 'docs/sqlite.md')
  const mark = /<!-- bench:sqlite -->[^]*<!-- \/bench:sqlite -->/
  const marked = `<!-- bench:sqlite -->\n\n${text}\n\n<!-- /bench:sqlite -->`
  fs.writeFileSync(
    file,
    fs.readFileSync(file, 'utf8').replace(mark, () => marked)
  )
}

main()
