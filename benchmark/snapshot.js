'use strict'

// A snapshot of a large table, at rest and while writes go on, beside reading all of it with the usual client; then the table that is
// rebuilt from what was delivered, over kills of the reading process.
//
//   node benchmark/snapshot.js [--source mariadb,mysql,mongodb,sqlite] [--rows 1000000] [--rate 2000] [--kills 20] [--write]
//
// Each reading is in a process of its own. With `--write`, the table goes into docs/snapshots.md. Ends with 1 where a row is wrong.

const { fork } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { parseArgs } = require('node:util')
const { eventually, openKit } = require('../__test__/support/servers')
const { ROOT, machine, versions } = require('./machine')
const { Image, differences } = require('./snapshot/image')
const databases = require('./snapshot/databases')
const { plain, table } = require('./table')

const { values: args } = parseArgs({
  options: {
    source: { type: 'string', default: 'mariadb,mysql,mongodb,sqlite' },
    rows: { type: 'string', default: '1000000' },
    rate: { type: 'string', default: '2000' },
    kills: { type: 'string', default: '20' },
    write: { type: 'boolean' },
  },
})
const [ROWS, RATE, KILLS] = [args.rows, args.rate, args.kills].map(Number)

/** Ids that are written: a few more than there are rows. */
const IDS = Math.ceil(ROWS * 1.01)

/** Longest wait for anything that a reader is to say. */
const DEADLINE_MS = 1_800_000

/** Seconds of the snapshot for each kill: a process needs some time to start. */
const SECONDS_A_KILL = 2

/** A process that reads, and what it says. */
class Reader {
  #child
  #said = new Map()
  #exited

  /** @param {object} task */
  constructor(task) {
    this.#child = fork(path.join(__dirname, 'snapshot/reader.js'), [JSON.stringify(task)])
    this.#child.on('message', message => {
      for (const what of Object.keys(message)) this.#said.set(what, message)
    })
    this.#exited = new Promise(resolve => this.#child.once('exit', resolve))
    this.#child.once('exit', code => this.#said.set('exit', code))
  }

  has(what) {
    return this.#said.has(what)
  }

  /** Resolves with the message that holds this. @param {string} what */
  async says(what) {
    const isOver = () => [what, 'failed', 'exit'].some(name => this.has(name))
    await eventually(isOver, { deadlineMs: DEADLINE_MS, what: `"${what}"` })
    if (this.has(what)) return this.#said.get(what)
    throw new Error(`The reader ended: ${this.#said.get('failed')?.failed ?? this.#said.get('exit')}`)
  }

  async kill() {
    this.#child.kill('SIGKILL')
    await this.#exited
  }
}

/** Runs a reader to the end of what it reads. @param {object} task */
async function readAll(task) {
  const reader = new Reader(task)
  const report = await reader.says('over')
  await reader.kill()
  return report
}

/** A snapshot into a new image. */
function snapshot(database, folder) {
  const file = path.join(folder, 'whole')
  new Image(file, IDS)
  return readAll({ kind: 'follow', file, config: { source: { url: database.url, snapshot: 'initial' } } })
}

/** The table rebuilt over kills while writes go on; the last reader is the one that sees the end. */
async function rebuild(database, folder, seconds) {
  const file = path.join(folder, 'killed')
  new Image(file, IDS)
  const store = path.join(folder, 'checkpoint')
  // Slow enough for all kills to fall into it.
  const pace = Math.max(seconds, KILLS * SECONDS_A_KILL)
  const source = { url: database.url, snapshot: 'initial', snapshotRate: Math.ceil(ROWS / pace) }
  const task = { kind: 'follow', file, config: { source, checkpoint: { url: store, intervalMs: 50 } } }
  const isSnapshotting = () =>
    fs.readFileSync(path.join(store, 'default.checkpoint'), 'utf8').includes('"snapshot"')
  const writer = await database.write(RATE, IDS)
  let within = 0
  for (let kills = 0; kills < KILLS; kills++) {
    const reader = new Reader(task)
    await reader.says('ready')
    await new Promise(resolve => setTimeout(resolve, SECONDS_A_KILL * 700 * Math.random()))
    await reader.kill()
    if (!fs.existsSync(path.join(store, 'default.checkpoint')) || isSnapshotting()) within++
  }
  const reader = new Reader(task)
  await reader.says('ready')
  await eventually(() => !isSnapshotting(), { deadlineMs: DEADLINE_MS, what: 'the end of the snapshot' })
  const { written, seconds: wrote } = await writer.end()
  await database.finish()
  await reader.says('finished')
  await reader.kill()
  return { within, rate: written / wrote, ...(await differences(file, database.rows())) }
}

const memory = ({ atStart, peak }) => `${peak.toFixed(0)} (${atStart.toFixed(0)} at the start)`

/** The lines of one source. @param {any} kit @param {string} source */
async function measure(kit, source) {
  const database = await databases[source].open(kit)
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'streamer-bench-'))
  const lines = []
  const add = (what, { rows, seconds, ...rest }) => {
    const line = [`${database.name}: ${what}`, plain(rows / seconds), seconds.toFixed(1), memory(rest)]
    console.log(line.join(' | '))
    lines.push(line)
  }
  await database.fill(ROWS)
  add(databases[source].selects, await readAll({ kind: 'select', source, url: database.url }))
  add('snapshot', await snapshot(database, folder))
  const writer = await database.write(RATE, IDS)
  const beside = await snapshot(database, folder)
  const { written, seconds } = await writer.end()
  add(`snapshot beside ${plain(written / seconds)} writes/s`, beside)
  const { within, rate, count, wrong } = await rebuild(database, folder, beside.seconds)
  await database.close()
  fs.rmSync(folder, { recursive: true })
  const sentence = `${database.name}: ${KILLS} kills, ${within} of them within the snapshot, beside ${plain(rate)} writes/s; of ${count.toLocaleString('en-US')} rows ${wrong} are wrong.`
  console.log(sentence)
  return { lines, sentence, wrong }
}

/** @param {string} text */
function write(text) {
  const file = path.join(ROOT, 'docs/snapshots.md')
  const mark = /<!-- bench:snapshot -->[^]*<!-- \/bench:snapshot -->/
  const page = fs.readFileSync(file, 'utf8')
  const marked = `<!-- bench:snapshot -->\n\n${text}\n\n<!-- /bench:snapshot -->`
  fs.writeFileSync(
    file,
    page.replace(mark, () => marked)
  )
}

async function main() {
  console.log(`${machine()}, ${versions(['mysql2', 'mongodb'])}`)
  const kit = await openKit()
  const results = []
  for (const source of args.source.split(',')) results.push(await measure(kit, source))
  await kit.close()
  const head = ['', 'rows/s', 'seconds', 'peak RSS, MB']
  const text = [
    `${machine()}, ${versions(['mysql2', 'mongodb'])}, load average ${os.loadavg()[1].toFixed(1)}. A table of ${ROWS.toLocaleString('en-US')} rows of four columns; writes are single-row commits.`,
    '',
    table(
      head,
      results.flatMap(({ lines }) => lines)
    ),
    '',
    'The table rebuilt from what was delivered, over kills of the reading process while a snapshot and writes go on:',
    '',
    ...results.map(({ sentence }) => `- ${sentence}`),
  ].join('\n')
  console.log(`\n${text}`)
  if (args.write) write(text)
  if (results.some(({ wrong }) => wrong > 0)) process.exitCode = 1
}

main()
