'use strict'

// Changes that another process makes in a SQLite database, as they are delivered.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { collect } = require('../support/collect')
const { freshSqlite } = require('../support/sqlite')

/** Operation, table, and the image that tells what happened. */
const brief = ({ op, table, before, after }) => [op, table, Object.values(after ?? before ?? {})]

/** Follows a database while `work` writes to it, until `count` changes came. */
async function follow(database, work, count, config = {}) {
  const seen = await collect({ url: database.url, ...config })
  await work()
  await seen.until(() => seen.changes.length >= count, `${count} changes`)
  await seen.stop()
  assert.deepEqual(seen.gaps, [])
  return seen
}

test('every kind of value arrives as it is stored', async () => {
  const database = await freshSqlite('CREATE TABLE t(id INTEGER PRIMARY KEY, v)')
  const literals = [
    'NULL',
    '1',
    '-9007199254740991',
    '9223372036854775807',
    '-9223372036854775808',
    '0.1',
    '1e300',
    '9e999',
    '-9e999',
    "'text ü 😀'",
    "'with ' || char(0) || ' inside'",
    "''",
    "x'00ff10'",
    "x''",
  ]
  const sql = literals.map(literal => `INSERT INTO t(v) VALUES (${literal});`).join('')
  const { changes } = await follow(database, () => database.run(sql), literals.length)
  const rows = await database.query('SELECT * FROM t ORDER BY id')
  assert.deepEqual(
    changes.map(change => change.after),
    rows
  )
  assert.deepEqual(changes[3].after, { id: 4, v: 9223372036854775807n })
  assert.ok(Buffer.isBuffer(changes[12].after.v))
  assert.ok(changes.every(change => Math.abs(change.timestamp - Date.now()) < 60_000))
  await database.drop()
})

test('tables of every kind: composite, WITHOUT ROWID, STRICT, generated columns, no key', async () => {
  const database = await freshSqlite(`
    CREATE TABLE pair(a TEXT, b INT, c, PRIMARY KEY(b, a));
    CREATE TABLE bare(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
    CREATE TABLE strictly(id INTEGER PRIMARY KEY, v ANY) STRICT;
    CREATE TABLE made(id INTEGER PRIMARY KEY, n INT, twice INT AS (n * 2), text TEXT AS (n || '!') STORED);
    CREATE TABLE keyless(v);
    CREATE TABLE "odd ""name"" ü"("a b" INTEGER PRIMARY KEY, "rowid", "__proto__");
    CREATE VIEW seen AS SELECT * FROM pair;
    CREATE VIRTUAL TABLE words USING fts5(body);
  `)
  const { changes } = await follow(
    database,
    () =>
      database.run(`
        INSERT INTO pair VALUES ('x', 1, 2); UPDATE pair SET c = 3; UPDATE pair SET b = 2;
        INSERT INTO bare VALUES ('k', 1); DELETE FROM bare;
        INSERT INTO strictly VALUES (1, x'01');
        INSERT INTO made(n) VALUES (4); UPDATE made SET n = 5;
        INSERT INTO keyless VALUES ('v'); UPDATE keyless SET v = 'w';
        INSERT INTO words VALUES ('not followed');
        INSERT INTO "odd ""name"" ü" VALUES (1, 2, 3);
      `),
    12
  )
  assert.deepEqual(
    changes.map(({ op, key }) => [op, key]),
    [
      ['insert', { b: 1, a: 'x' }],
      ['update', { b: 1, a: 'x' }],
      ['delete', { b: 1, a: 'x' }],
      ['insert', { b: 2, a: 'x' }],
      ['insert', { k: 'k' }],
      ['delete', { k: 'k' }],
      ['insert', { id: 1 }],
      ['insert', { id: 1 }],
      ['update', { id: 1 }],
      ['insert', null],
      ['update', null],
      ['insert', { 'a b': 1 }],
    ]
  )
  const updated = changes[8]
  assert.deepEqual(updated.before, { id: 1, n: 4, twice: 8, text: '4!' })
  assert.deepEqual(updated.after, { id: 1, n: 5, twice: 10, text: '5!' })
  assert.deepEqual(updated.changed, ['n', 'twice', 'text'])
  assert.equal(changes[11].table, 'odd "name" ü')
  assert.deepEqual(Object.entries(changes[11].after), [
    ['a b', 1],
    ['rowid', 2],
    ['__proto__', 3],
  ])
  await database.drop()
})

for (const recursive of [0, 1]) {
  test(`rows that a REPLACE removes are deletes (recursive_triggers ${recursive})`, async () => {
    const database = await freshSqlite(`
      CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT COLLATE NOCASE UNIQUE, v INT, w INT, UNIQUE(v, w));
      INSERT INTO t VALUES (1, 'a', 1, 1), (2, 'b', 2, 2), (3, 'c', 3, 3);
    `)
    const { changes } = await follow(
      database,
      () =>
        database.run(`
          PRAGMA recursive_triggers = ${recursive};
          INSERT OR IGNORE INTO t VALUES (1, 'z', 9, 9);
          INSERT INTO t VALUES (1, 'z', 9, 9) ON CONFLICT DO NOTHING;
          INSERT INTO t VALUES (1, 'z', 9, 9) ON CONFLICT(id) DO UPDATE SET w = 10;
          REPLACE INTO t(u, v, w) VALUES ('B', 3, 3);
          UPDATE OR REPLACE t SET u = 'A' WHERE id = 4;
          INSERT INTO t(u) VALUES ('end');
        `),
      7
    )
    const told = changes.map(brief)
    // Two rows were in the way of one; which was removed first means nothing.
    const removed = told.splice(1, 2).sort(([, , [a]], [, , [b]]) => a - b)
    assert.deepEqual(removed, [
      ['delete', 't', [2, 'b', 2, 2]],
      ['delete', 't', [3, 'c', 3, 3]],
    ])
    assert.deepEqual(told, [
      ['update', 't', [1, 'a', 1, 10]],
      ['insert', 't', [4, 'B', 3, 3]],
      ['delete', 't', [1, 'a', 1, 10]],
      ['update', 't', [4, 'A', 3, 3]],
      ['insert', 't', [5, 'end', null, null]],
    ])
    await database.drop()
  })
}

test('cascades of foreign keys are seen, what is rolled back is not', async () => {
  const database = await freshSqlite(`
    CREATE TABLE p(id INTEGER PRIMARY KEY);
    CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p(id) ON DELETE CASCADE ON UPDATE CASCADE);
    INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (10, 1), (11, 1), (20, 2);
  `)
  const { changes } = await follow(
    database,
    () =>
      database.run(`
        BEGIN; INSERT INTO p VALUES (7); ROLLBACK;
        BEGIN; SAVEPOINT s; INSERT INTO p VALUES (8); ROLLBACK TO s; DELETE FROM p WHERE id = 1; COMMIT;
        UPDATE p SET id = 3 WHERE id = 2;
        REPLACE INTO p VALUES (3);
      `),
    9
  )
  // The child goes with its parent, and follows its number.
  assert.deepEqual(changes.map(({ op, table, key }) => `${op} ${table} ${key.id}`).sort(), [
    'delete c 10',
    'delete c 11',
    'delete c 20',
    'delete p 1',
    'delete p 2',
    'delete p 3',
    'insert p 3',
    'insert p 3',
    'update c 20',
  ])
  assert.equal(new Set(changes.slice(0, 3).map(change => change.transaction.id)).size, 1)
  await database.drop()
})

test('a transaction comes whole, under one id, and says which change is its last', async () => {
  const database = await freshSqlite('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE other(v)')
  const rows = 5000
  const { changes } = await follow(
    database,
    () =>
      database.run(`
        BEGIN;
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows}) INSERT INTO t SELECT i, 'v' || i FROM n;
        INSERT INTO other VALUES (1);
        COMMIT;`),
    rows,
    { tables: ['t'] }
  )
  assert.deepEqual(
    changes.map(change => change.after.id),
    Array.from({ length: rows }, (_, index) => index + 1)
  )
  assert.equal(new Set(changes.map(change => change.transaction.id)).size, 1)
  assert.ok(changes.every(({ transaction }, index) => transaction.index === index))
  assert.deepEqual(
    changes.filter(change => change.transaction.last).map(change => change.after.id),
    [rows]
  )
  assert.equal(new Set(changes.map(change => change.id)).size, rows)
  // From any place, the rest comes again, with the same ids.
  for (const place of [0, 255, 4000, rows - 1]) {
    const again = await collect({ url: database.url, from: changes[place].position, tables: ['t'] })
    await again.until(() => again.changes.length >= rows - 1 - place, 'the rest')
    await again.stop()
    assert.deepEqual(
      again.changes.map(change => change.id),
      changes.slice(place + 1).map(change => change.id)
    )
  }
  await database.drop()
})

for (const journal of ['delete', 'truncate', 'persist']) {
  test(`a database with a rollback journal (${journal}) is followed`, async () => {
    const database = await freshSqlite('CREATE TABLE t(id INTEGER PRIMARY KEY, v)', { journal })
    const seen = await collect(database.url)
    for (let number = 1; number <= 50; number++) await database.run(`INSERT INTO t VALUES (${number}, 'v')`)
    await seen.until(() => seen.changes.length === 50, '50 changes')
    assert.deepEqual(
      seen.changes.map(change => change.after.id),
      Array.from({ length: 50 }, (_, index) => index + 1)
    )
    await seen.stop()
    await database.drop()
  })
}

test('a locked database is waited for', async () => {
  const database = await freshSqlite('CREATE TABLE t(id INTEGER PRIMARY KEY)', { journal: 'delete' })
  const other = database.writer()
  await other.run('BEGIN EXCLUSIVE; INSERT INTO t VALUES (1)')
  const starting = collect({
    source: database.url,
    heartbeat: { intervalMs: 50, timeoutMs: 200 },
    reconnect: { initialMs: 10 },
  })
  await other.query('COMMIT')
  const seen = await starting
  await other.run('BEGIN EXCLUSIVE; INSERT INTO t VALUES (2)')
  await seen.until(() => seen.disconnects.length > 0, 'a lock that lasts longer than the timeout')
  assert.equal(seen.disconnects[0].error.code, 'ERR_STREAMER_SERVER_BUSY')
  await other.query('COMMIT')
  await seen.until(() => seen.changes.length === 1, 'the change')
  assert.deepEqual(seen.changes[0].key, { id: 2 })
  await seen.stop()
  await database.drop()
})
