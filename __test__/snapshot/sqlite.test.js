'use strict'

// Rows that a SQLite database holds already, joined with what is written meanwhile.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const v8 = require('node:v8')
const { test } = require('node:test')
const { Child } = require('../support/child')
const { collect } = require('../support/collect')
const { Mirror, rowText } = require('../support/mirror')
const { freshSqlite } = require('../support/sqlite')

const KINDS = `
  CREATE TABLE plain(id INTEGER PRIMARY KEY, v);
  CREATE TABLE pair(x TEXT COLLATE NOCASE, y INT, v, PRIMARY KEY(x, y)) WITHOUT ROWID;
  CREATE TABLE named(k TEXT PRIMARY KEY COLLATE NOCASE, v);
  CREATE TABLE bytes(k BLOB PRIMARY KEY, v) WITHOUT ROWID;
  CREATE TABLE real(k REAL PRIMARY KEY, v) WITHOUT ROWID;
  CREATE TABLE keyless(v, w);
`
const TABLES = ['plain', 'pair', 'named', 'bytes', 'real', 'keyless']

/** Fills every table. @param {number} rows */
const fill = rows => `
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
    INSERT INTO plain SELECT i, 'v' || i FROM n;
  INSERT INTO pair SELECT CASE id % 3 WHEN 0 THEN 'Ä' || (id % 50) ELSE 'a' || (id % 50) END, id, v FROM plain;
  INSERT INTO named SELECT 'k' || id, v FROM plain;
  INSERT INTO bytes SELECT CAST(randomblob(3) || CAST(id AS TEXT) AS BLOB), v FROM plain;
  INSERT INTO real SELECT id / 7.0, v FROM plain;
  INSERT INTO keyless SELECT id % 10, v FROM plain;
`

/** Random writes to every table. @param {number} rows @param {number} turn */
function writes(rows, turn) {
  const at = () => 1 + Math.floor(Math.random() * rows * 1.2)
  return `
    BEGIN;
    INSERT OR REPLACE INTO plain VALUES (${at()}, 'new ${turn}');
    UPDATE plain SET v = 'changed ${turn}' WHERE id BETWEEN ${at()} AND ${at()} AND id % 97 = ${turn % 97};
    DELETE FROM plain WHERE id = ${at()};
    UPDATE pair SET x = 'A' || (y % 50), v = ${turn} WHERE y = ${at()};
    UPDATE pair SET y = y + 1000000 WHERE y = ${at()};
    UPDATE named SET k = upper(k), v = ${turn} WHERE k = 'k${at()}';
    DELETE FROM named WHERE k = 'k${at()}';
    UPDATE bytes SET v = ${turn} WHERE rowid_of = 1 OR k >= x'80' AND v = 'v${at()}';
    UPDATE real SET v = ${turn} WHERE k = ${at()} / 7.0;
    INSERT INTO keyless VALUES (${turn}, ${turn});
    DELETE FROM keyless WHERE v = ${turn % 10} AND w = 'v${at()}';
    COMMIT;
  `.replace('rowid_of = 1 OR ', '')
}

/** Rows of a table as the mirror shows them. */
async function rowsOf(database, table) {
  const rows = await database.query(`SELECT * FROM ${table}`)
  return rows.map(row => rowText(row)).sort()
}

async function assertEqual(database, mirror) {
  for (const table of TABLES) {
    const [found, expected] = [mirror.rows(`main.${table}`), await rowsOf(database, table)]
    const at = expected.findIndex((row, index) => row !== found[index])
    assert.deepEqual([table, found.length, found[at]], [table, expected.length, expected[at]])
  }
}

for (const journal of ['wal', 'delete']) {
  test(`rows that are there and writes that go on are joined without a hole, journal ${journal}`, async t => {
    const rows = 1500
    const database = await freshSqlite(KINDS + fill(rows), { journal })
    t.after(() => database.drop())
    const mirror = new Mirror()
    const { Streamer } = require('../..')
    const streamer = new Streamer({ source: { url: database.url, snapshot: 'initial' } })
    const told = []
    streamer.on('change', change => mirror.apply(change))
    streamer.on('snapshot', progress => {
      told.push(progress)
      mirror.begin(progress, progress.table === 'main.keyless')
    })
    const isOver = () => told.some(({ done, remaining }) => done && remaining === 0)
    await streamer.start()
    let turn = 0
    while (!isOver()) await database.run(writes(rows, turn++))
    await database.run('CREATE TABLE finished(v); INSERT INTO finished VALUES (1);')
    for await (const change of streamer.changes({ tables: ['finished'] })) {
      assert.equal(change.op, 'insert')
      break
    }
    await streamer.stop()
    await assertEqual(database, mirror)
    assert.deepEqual(mirror.misfits, [])
    assert.ok(mirror.reads >= rows * 5 && turn > 3, `${mirror.reads} rows were read in ${turn} turns`)
    assert.deepEqual(
      told.filter(({ rows, done }) => rows === 0 && !done).map(({ table }) => table),
      TABLES.toSorted().map(table => `main.${table}`)
    )
  })
}

test('a row of a snapshot is a change that says so, at a position from which reading goes on', async t => {
  const database = await freshSqlite(
    `CREATE TABLE t(a TEXT PRIMARY KEY, b BLOB, c); INSERT INTO t VALUES ('é', x'00ff', 9007199254740993)`
  )
  t.after(() => database.drop())
  const seen = await collect({ source: { url: database.url, snapshot: 'always' } })
  await seen.until(() => seen.changes.length === 1, 'the row')
  const [{ id, position, timestamp, ...row }] = seen.changes
  assert.deepEqual(
    { ...row, after: { ...row.after }, key: { ...row.key } },
    {
      source: 'default',
      op: 'read',
      database: 'main',
      table: 't',
      key: { a: 'é' },
      before: null,
      after: { a: 'é', b: Buffer.from([0, 255]), c: 9007199254740993n },
      changed: null,
      transaction: null,
    }
  )
  assert.match(id, /^[0-9a-f]{12}:main\.t:[0-9a-f]{24}$/)
  assert.ok(Math.abs(Date.now() - timestamp) < 60_000)
  await database.run(`INSERT INTO t VALUES ('b', NULL, 1)`)
  await seen.until(() => seen.changes.length === 2, 'the insert')
  await seen.stop()
  const later = await collect({ source: { url: database.url, from: position } })
  await later.until(() => later.changes.length === 1, 'the insert again')
  assert.equal(later.changes[0].id, seen.changes[1].id)
  await later.stop()
})

test('never reads no rows, initial reads them once, always at each start', async t => {
  const database = await freshSqlite('CREATE TABLE t(a INTEGER PRIMARY KEY); INSERT INTO t VALUES (1), (2)')
  t.after(() => database.drop())
  for (const [snapshot, expected] of [
    ['never', [0, 0]],
    ['initial', [2, 0]],
    ['always', [2, 2]],
    ['when-needed', [2, 0]],
  ]) {
    const checkpoint = path.join(database.folder, snapshot)
    const counts = []
    for (let start = 0; start < 2; start++) {
      const seen = await collect({ source: { url: database.url, snapshot }, checkpoint })
      const told = []
      seen.streamer.on('snapshot', progress => told.push(progress))
      await database.run(`UPDATE t SET a = a WHERE a = 1`)
      await seen.until(() => seen.changes.some(({ op }) => op === 'update'), 'the update')
      if (expected[start] > 0)
        await seen.until(
          () =>
            seen.streamer.health().sources.default.snapshot === null &&
            seen.changes.filter(({ op }) => op === 'read').length >= 2,
          'the end of the snapshot'
        )
      counts.push(seen.changes.filter(({ op }) => op === 'read').length)
      await seen.stop()
    }
    assert.deepEqual(counts, expected, snapshot)
  }
})

test('a snapshot can be asked for at any time, of some tables', async t => {
  const database = await freshSqlite(
    'CREATE TABLE a(k INTEGER PRIMARY KEY); CREATE TABLE b(k INTEGER PRIMARY KEY); INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (3)'
  )
  t.after(() => database.drop())
  const seen = await collect({ source: { url: database.url } })
  const { streamer } = seen
  await streamer.snapshot(['a'])
  assert.deepEqual(
    seen.changes.map(({ op, after }) => `${op} ${after.k}`),
    ['read 1', 'read 2']
  )
  await streamer.snapshot()
  assert.equal(seen.changes.length, 5)
  const ids = new Set(seen.changes.map(({ id }) => id))
  assert.equal(ids.size, 5, 'each snapshot has ids of its own')
  await streamer.snapshot('nothing_*')
  await assert.rejects(streamer.snapshot(['a.b.c']), { code: 'ERR_STREAMER_ARGUMENT_INVALID' })
  await assert.rejects(streamer.snapshot([], { source: 'other' }), { code: 'ERR_STREAMER_ARGUMENT_INVALID' })
  await assert.rejects(streamer.snapshot(/** @type {any} */ (1)), { code: 'ERR_STREAMER_ARGUMENT_INVALID' })
  await seen.stop()
  await assert.rejects(streamer.snapshot(), { code: 'ERR_STREAMER_STOPPED' })
})

test('after a lost place all tables are read again, and health says so', async t => {
  const database = await freshSqlite(
    'CREATE TABLE t(a INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 1), (2, 2)'
  )
  t.after(() => database.drop())
  const config = {
    source: { url: database.url, snapshot: 'when-needed' },
    checkpoint: path.join(database.folder, 'c'),
  }
  const first = await collect(config)
  await first.until(() => first.changes.length === 2, 'both rows')
  await first.stop()
  // The change log is taken out and made again: it has no place in common with the one before.
  require('node:child_process').execFileSync(process.execPath, [
    path.join(__dirname, '../../bin/ultimate-streaming.js'),
    'sqlite',
    'uninstall',
    database.file,
  ])
  await database.run('UPDATE t SET v = 3 WHERE a = 2; INSERT INTO t VALUES (4, 4)')
  const second = await collect(config)
  await second.until(() => second.changes.length === 3, 'all rows')
  assert.deepEqual(
    second.gaps.map(({ reason }) => reason),
    ['source-replaced']
  )
  assert.deepEqual(
    second.changes.map(({ op, after }) => [op, after.a, after.v]),
    [
      ['read', 1, 1],
      ['read', 2, 3],
      ['read', 4, 4],
    ]
  )
  await database.run('DELETE FROM t WHERE a = 1')
  await second.until(() => second.changes.length === 4, 'the delete')
  await second.stop()
})

test('a process that is killed in the middle of a snapshot goes on with it', async t => {
  const rows = 8_000
  const database = await freshSqlite(KINDS + fill(rows))
  t.after(() => database.drop())
  const file = path.join(database.folder, 'log')
  fs.writeFileSync(file, '')
  const argument = {
    config: {
      source: { url: database.url, snapshot: 'initial', snapshotRate: 30_000 },
      checkpoint: { url: path.join(database.folder, 'checkpoint'), intervalMs: 10 },
    },
    file,
  }
  const mirror = new Mirror()
  let [kills, turn, hasEnded, applied] = [0, 0, false, 0]
  const apply = () => {
    const written = fs.readFileSync(file)
    const end = written.lastIndexOf('\n') + 1
    // A line that was cut was not acknowledged.
    fs.truncateSync(file, end)
    for (const line of written.subarray(applied, end).toString().split('\n').slice(0, -1)) {
      const { change, snapshot } = v8.deserialize(Buffer.from(line, 'base64'))
      if (change) mirror.apply(change)
      if (snapshot) mirror.begin(snapshot, snapshot.table === 'main.keyless')
      hasEnded ||= snapshot?.done === true && snapshot.remaining === 0
    }
    applied = end
  }
  while (!hasEnded) {
    const reader = new Child('sqlite-reader.js', argument)
    await reader.says('ready')
    const end = Date.now() + 30 + Math.random() * 300 + kills * 100
    do await database.run(writes(rows, turn++))
    while (Date.now() < end)
    await reader.kill()
    kills++
    apply()
  }
  const reader = new Child('sqlite-reader.js', argument)
  await reader.says('ready')
  await database.run('CREATE TABLE finished(v); INSERT INTO finished VALUES (1);')
  await reader.says('finished')
  await reader.kill()
  apply()
  await assertEqual(database, mirror)
  assert.ok(kills >= 2, `${kills} kills`)
  t.diagnostic(`${kills} kills, ${mirror.reads} rows read, ${turn} transactions`)
})
