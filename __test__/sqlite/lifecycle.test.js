'use strict'

// Starting, going on, trimming, replacing, refusing and removing.

const assert = require('node:assert/strict')
const { execFile, spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { promisify } = require('node:util')
const { test } = require('node:test')
const { Streamer } = require('../..')
const { Child } = require('../support/child')
const { collect } = require('../support/collect')
const { freshSqlite } = require('../support/sqlite')

const BIN = path.join(__dirname, '../../bin/ultimate-streaming.js')
const TABLE = 'CREATE TABLE t(id INTEGER PRIMARY KEY, v)'
const many = (from, to) =>
  `WITH RECURSIVE n(i) AS (SELECT ${from} UNION ALL SELECT i + 1 FROM n WHERE i < ${to}) INSERT INTO t SELECT i, 'v' FROM n;`

/** The code with which a start is refused. */
async function refusal(url) {
  const streamer = new Streamer(url)
  try {
    await streamer.start()
  } catch (error) {
    assert.ok(!error.message.includes('\n'))
    return error.code
  } finally {
    await streamer.stop()
  }
  return 'none'
}

test('what cannot be followed is said in one sentence with a code', async () => {
  const database = await freshSqlite(TABLE)
  const text = path.join(database.folder, 'text.db')
  fs.writeFileSync(text, 'This is a text, and no database at all. '.repeat(50))
  const damaged = path.join(database.folder, 'damaged.db')
  await database.query('PRAGMA wal_checkpoint(TRUNCATE)')
  fs.writeFileSync(damaged, fs.readFileSync(database.file).fill(0xff, 100, 4096))
  assert.equal(await refusal(`sqlite:${database.folder}/missing.db`), 'ERR_STREAMER_DATABASE_UNKNOWN')
  assert.equal(await refusal(`sqlite:${database.folder}/missing/app.db`), 'ERR_STREAMER_DATABASE_UNKNOWN')
  assert.equal(await refusal(`sqlite:${text}`), 'ERR_STREAMER_DATABASE_INVALID')
  assert.equal(await refusal(`sqlite:${damaged}`), 'ERR_STREAMER_DATABASE_INVALID')
  assert.equal(await refusal(`sqlite:${database.folder}`), 'ERR_STREAMER_DATABASE_INVALID')
  assert.ok(!fs.existsSync(path.join(database.folder, 'missing.db')))
  await database.drop()
})

test('a database whose header says read-only is refused', async () => {
  // Versions 2 for reading and 3 for writing: what a file system's permissions do for others than root.
  const database = await freshSqlite(TABLE)
  await database.query('PRAGMA journal_mode = delete')
  const bytes = fs.readFileSync(database.file)
  bytes[18] = 3
  const file = path.join(database.folder, 'read-only.db')
  fs.writeFileSync(file, bytes)
  assert.equal(await refusal(`sqlite:${file}`), 'ERR_STREAMER_DATABASE_READ_ONLY')
  await database.drop()
})

test('wrong URLs and options are problems of the configuration', () => {
  for (const config of [
    'sqlite:',
    'sqlite://host/app.db',
    'sqlite::memory:',
    { url: 'sqlite:app.db', tls: true },
    { url: 'sqlite:app.db', from: 'mysql:1' },
  ])
    assert.throws(() => new Streamer(config), { code: 'ERR_STREAMER_CONFIG_INVALID' })
})

test('a process that was killed is followed by one that goes on', async () => {
  const database = await freshSqlite(TABLE)
  const argument = {
    config: {
      source: database.url,
      checkpoint: { url: path.join(database.folder, 'positions'), intervalMs: 10 },
    },
    options: { batchSize: 100 },
    file: path.join(database.folder, 'seen'),
  }
  let written = 0
  for (let round = 0; round < 4; round++) {
    const child = new Child('consume.js', argument)
    await child.says('ready')
    await database.run(many(written + 1, (written += 3000)))
    while (fs.readFileSync(argument.file, 'utf8').split('\n').length < written - 2000)
      await new Promise(resolve => setImmediate(resolve))
    await child.kill()
    await database.run(many(written + 1, (written += 100)))
  }
  const last = new Child('consume.js', argument)
  await last.says('ready')
  const lines = () =>
    fs
      .readFileSync(argument.file, 'utf8')
      .split('\n')
      .filter(line => line !== '')
      .map(line => JSON.parse(line))
  while (lines().at(-1)?.key.id !== written) await new Promise(resolve => setTimeout(resolve, 20))
  last.signal('SIGTERM')
  await last.exited
  const ids = new Map()
  for (const { id, key } of lines()) {
    assert.ok(!ids.has(id) || ids.get(id) === key.id, 'an id means one change')
    ids.set(id, key.id)
  }
  assert.deepEqual(
    [...ids.values()],
    Array.from({ length: written }, (_, index) => index + 1)
  )
  await database.drop()
})

test('the log is trimmed behind what is done with, and never before a checkpoint needs it', async () => {
  const database = await freshSqlite(TABLE)
  const sleeping = { source: database.url, checkpoint: path.join(database.folder, 'positions') }
  await (await collect(sleeping)).stop()
  const seen = await collect(database.url)
  await database.run(many(1, 5000))
  await seen.until(() => seen.changes.length === 5000, '5,000 changes')
  const size = async () => (await database.query('SELECT count(*) AS n FROM _streamer_log'))[0].n
  const passing = 'SELECT count(*) AS n FROM _streamer_consumer WHERE stored = 0 AND seq >= 5000'
  while ((await database.query(passing))[0].n === 0) await new Promise(resolve => setTimeout(resolve, 50))
  assert.equal(await size(), 5000, 'the one that sleeps needs all of it')
  const awake = await collect(sleeping)
  await awake.until(() => awake.changes.length === 5000, 'the same changes')
  while ((await size()) > 1001) await new Promise(resolve => setTimeout(resolve, 50))
  await database.run(many(5001, 5001))
  await awake.until(() => awake.changes.length === 5001, 'one more')
  await awake.stop()
  await seen.stop()
  const lost = await collect({ url: database.url, from: seen.changes[10].position })
  await lost.until(() => lost.gaps.length === 1, 'a gap')
  assert.equal(lost.gaps[0].reason, 'log-purged')
  await lost.until(() => lost.changes.length >= 1000, 'what is still there')
  assert.equal(lost.changes.at(-1).after.id, 5001)
  await lost.stop()
  await database.drop()
})

test('a file that is replaced by a copy of an earlier day is a gap, one that is gone is waited for', async () => {
  const database = await freshSqlite(TABLE)
  const seen = await collect({
    source: { url: database.url, from: 'now' },
    reconnect: { initialMs: 10, maxMs: 50 },
  })
  await database.run(many(1, 10))
  await seen.until(() => seen.changes.length === 10, '10 changes')
  await database.query('PRAGMA wal_checkpoint(TRUNCATE)')
  const copy = fs.readFileSync(database.file)
  await database.run(many(11, 20))
  await seen.until(() => seen.changes.length === 20, '20 changes')
  for (const name of ['', '-wal', '-shm']) fs.rmSync(database.file + name, { force: true })
  await seen.until(
    () => seen.disconnects.some(({ error }) => error.code === 'ERR_STREAMER_DATABASE_UNKNOWN'),
    'the loss'
  )
  fs.writeFileSync(database.file, copy)
  await seen.until(() => seen.gaps.length === 1, 'the gap')
  assert.equal(seen.gaps[0].reason, 'source-rewound')
  const writer = database.writer()
  await writer.run("INSERT INTO t VALUES (100, 'new')")
  await seen.until(() => seen.changes.length === 21, 'a change of the copy')
  assert.equal(seen.changes[20].after.id, 100)
  await seen.stop()
  await database.drop()
})

test('without `from`, a source whose file was replaced stops', async () => {
  const database = await freshSqlite(TABLE)
  const config = { source: database.url, checkpoint: path.join(database.folder, 'positions') }
  const first = await collect(config)
  await database.run(many(1, 10))
  await first.until(() => first.changes.length === 10, '10 changes')
  await first.stop()
  await promisify(execFile)(process.execPath, [BIN, 'sqlite', 'uninstall', database.file])
  await assert.rejects(collect(config), { code: 'ERR_STREAMER_POSITION_LOST' })
  await database.drop()
})

test('uninstall takes everything out; a source that runs says so and stops', async () => {
  const database = await freshSqlite(TABLE)
  const before = await database.query('SELECT type, name, sql FROM sqlite_schema ORDER BY name')
  const seen = await collect(database.url)
  await database.run(many(1, 10))
  await seen.until(() => seen.changes.length === 10, '10 changes')
  const { stdout } = await promisify(execFile)(process.execPath, [BIN, 'sqlite', 'uninstall', database.url])
  assert.equal(stdout, 'Removed 6 triggers and 4 tables.\n')
  const names = "SELECT type, name, sql FROM sqlite_schema WHERE name <> 'sqlite_sequence' ORDER BY name"
  assert.deepEqual(await database.query(names), before)
  await assert.rejects(
    seen.until(() => false, 'the end'),
    /POSITION_LOST|taken out/
  )
  await seen.stop()
  assert.deepEqual(await database.query(names), before)
  const wrong = spawnSync(process.execPath, [BIN, 'sqlite', 'uninstall', `${database.file}.missing`], {
    encoding: 'utf8',
  })
  assert.equal(wrong.status, 1)
  assert.match(wrong.stderr, /does not exist.*\[ERR_STREAMER_DATABASE_UNKNOWN\]/)
  await database.drop()
})

test('tail shows the changes of a file', async () => {
  const database = await freshSqlite(TABLE)
  const child = require('node:child_process').spawn(process.execPath, [
    BIN,
    'tail',
    '--limit',
    '2',
    database.url,
  ])
  let [out, err] = ['', '']
  child.stdout.on('data', chunk => (out += chunk))
  const isReady = new Promise(resolve => {
    child.stderr.on('data', chunk => {
      err += chunk
      if (err.includes('# connected')) resolve()
    })
  })
  await isReady
  await database.run("INSERT INTO t VALUES (1, 'one'); UPDATE t SET v = x'00ff'")
  const code = await new Promise(resolve => child.once('close', resolve))
  assert.equal(code, 0, err)
  assert.match(out, /insert {3}main\.t {2}id=1 v="one"\n.*update {3}main\.t {2}id=1 {2}v="one" → 0x00ff\n/)
  await database.drop()
})
