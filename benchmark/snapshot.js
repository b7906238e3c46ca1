'use strict'

// A snapshot of a large table while writes go on, beside `SELECT *` through mysql2; then the table that is rebuilt from what was
// delivered, over kills of the reading process. Prints one line a figure.
//
//   node benchmark/snapshot.js [--server mariadb|mysql] [--rows 1000000] [--writes 2000] [--kills 20]

const assert = require('node:assert/strict')
const { fork } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { parseArgs } = require('node:util')
const { freshDatabase, openKit } = require('../__test__/support/servers')

const { values } = parseArgs({
  options: {
    server: { type: 'string', default: 'mariadb' },
    rows: { type: 'string', default: '1000000' },
    writes: { type: 'string', default: '2000' },
    kills: { type: 'string', default: '20' },
    reader: { type: 'string' },
  },
})
const [ROWS, WRITES, KILLS] = [Number(values.rows), Number(values.writes), Number(values.kills)]

/** The reader: a table in memory, `Int32Array`s by key, told to the parent. */
async function read(argument) {
  const { Streamer } = require('..')
  const { config, state, isMeasured } = JSON.parse(argument)
  // The version of each row; -1 where it is gone. Kept in a file beside the checkpoint: what a sink would have.
  const file = fs.openSync(state, 'r+')
  const cell = Buffer.alloc(4)
  const streamer = new Streamer(config)
  let [reads, changes] = [0, 0]
  streamer.on('batch', batch => {
    for (const change of batch) {
      if (change.table !== 't') continue
      cell.writeInt32LE(change.after === null ? -1 : change.after.v)
      fs.writeSync(file, cell, 0, 4, change.key.id * 4)
      if (change.op === 'read') reads++
      else changes++
    }
    if (batch.some(change => change.table === 'finished')) process.send({ finished: true, reads, changes })
  })
  const began = performance.now()
  let peak = 0
  const meter = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 20)
  streamer.on('snapshot', ({ done, remaining }) => {
    if (!done || remaining > 0) return
    clearInterval(meter)
    process.send({ over: true, reads, changes, seconds: (performance.now() - began) / 1000, peak })
  })
  if (isMeasured) peak = process.memoryUsage.rss()
  await streamer.start()
  process.send({ ready: true, rss: process.memoryUsage.rss() })
}

/** Resolves with the message of a reader that holds this. */
const says = (child, what) =>
  new Promise((resolve, reject) => {
    child.on('message', message => {
      if (message[what]) resolve(message)
    })
    child.once('exit', () => reject(new Error('the reader has ended')))
  })

const pause = ms => new Promise(resolve => setTimeout(resolve, ms, false))

async function fill(connection) {
  await connection.query(
    'CREATE TABLE t (id INT PRIMARY KEY, v INT NOT NULL, a VARCHAR(60), b DECIMAL(12,2), c DATETIME)'
  )
  const row = id => [id, 0, `text of row ${id}`, id / 4, '2026-01-02 03:04:05']
  for (let from = 0; from < ROWS; from += 10_000) {
    const rows = Array.from({ length: Math.min(10_000, ROWS - from) }, (_, n) => row(from + n))
    await connection.query('INSERT INTO t VALUES ?', [rows])
  }
}

/** Writes at a pace until it is ended; `end` resolves with how often it wrote. */
function write(connection) {
  let [isWriting, written] = [true, 0]
  const start = performance.now()
  const id = () => Math.floor(Math.random() * ROWS * 1.01)
  const done = (async () => {
    while (isWriting) {
      if (written > ((performance.now() - start) / 1000) * WRITES) {
        await pause(1)
        continue
      }
      await connection.query(
        'INSERT INTO t VALUES (?, 1, NULL, NULL, NULL) ON DUPLICATE KEY UPDATE v = v + 1',
        [id()]
      )
      if (++written % 50 === 0) await connection.query('DELETE FROM t WHERE id = ?', [id()])
    }
    await connection.end()
    return written
  })()
  return {
    end() {
      isWriting = false
      return done
    },
  }
}

/** Kills readers while the snapshot goes on. @returns how many */
async function kill(start, seconds) {
  let kills = 0
  for (let isOver = false; !isOver && kills < KILLS; kills++) {
    const child = start()
    const over = says(child, 'over').then(
      () => true,
      () => false
    )
    await says(child, 'ready')
    isOver = await Promise.race([over, pause(((seconds * 1000) / KILLS) * (0.5 + Math.random()))])
    const gone = new Promise(resolve => child.once('exit', resolve))
    child.kill('SIGKILL')
    await gone
  }
  return kills
}

/** How many rows differ from the table. */
async function compare(connection, state) {
  const rebuilt = fs.readFileSync(state)
  const [rows] = await connection.query({ sql: 'SELECT id, v FROM t', rowsAsArray: true })
  const expected = new Map(rows)
  let wrong = 0
  for (let id = 0; id * 4 < rebuilt.length - 3; id++) {
    if ((expected.get(id) ?? -1) !== rebuilt.readInt32LE(id * 4)) wrong++
  }
  return [rows.length, wrong]
}

async function main() {
  const kit = await openKit()
  const args = values.server === 'mysql' ? ['--gtid-mode=ON', '--enforce-gtid-consistency=ON'] : []
  const server = await kit[values.server]({ args })
  const database = await freshDatabase(server)
  const connection = await database.connect()
  await fill(connection)
  const began = performance.now()
  await connection.query('SELECT * FROM t')
  const select = (performance.now() - began) / 1000
  console.log(
    `${server.kind} ${server.version}, ${ROWS} rows, ${WRITES} writes/s, ${os.cpus().length} cores, Node.js ${process.version}`
  )
  console.log(`SELECT * through mysql2: ${select.toFixed(1)} s, ${Math.round(ROWS / select)} rows/s`)

  const writer = write(await database.connect())
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'streamer-bench-'))
  const start = (name, checkpoint) => {
    const state = path.join(folder, name)
    if (!fs.existsSync(state)) fs.writeFileSync(state, Buffer.alloc(ROWS * 4 + ROWS / 25, 0xff))
    const config = { source: { url: database.url, snapshot: 'initial' }, ...(checkpoint && { checkpoint }) }
    return fork(__filename, ['--reader', JSON.stringify({ config, state })])
  }

  const whole = start('whole')
  const { rss } = await says(whole, 'ready')
  const { reads, seconds, changes, peak } = await says(whole, 'over')
  console.log(
    `snapshot beside the writes: ${seconds.toFixed(1)} s, ${Math.round(reads / seconds)} rows/s, ${changes} changes meanwhile`
  )
  console.log(`memory above that at the start: ${((peak - rss) / 1e6).toFixed(0)} MB at most`)
  whole.kill('SIGKILL')

  const checkpoint = { url: path.join(folder, 'checkpoint'), intervalMs: 50 }
  const kills = await kill(() => start('killed', checkpoint), seconds)
  const last = start('killed', checkpoint)
  const finished = says(last, 'finished')
  const stored = () => fs.readFileSync(path.join(folder, 'checkpoint', 'default.checkpoint'), 'utf8')
  while (stored().includes('"snapshot"')) await pause(200)
  const written = await writer.end()
  await connection.query('CREATE TABLE finished (id INT PRIMARY KEY)')
  await connection.query('INSERT INTO finished VALUES (1)')
  await finished
  last.kill('SIGKILL')
  const [rows, wrong] = await compare(connection, path.join(folder, 'killed'))
  console.log(`rebuilt over ${kills} kills and ${written} writes: ${rows} rows, ${wrong} wrong`)
  await connection.end()
  await kit.close()
  fs.rmSync(folder, { recursive: true, force: true })
  assert.equal(wrong, 0)
}

if (values.reader) read(values.reader)
else main()
