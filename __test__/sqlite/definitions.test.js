'use strict'

// Definitions that change while a SQLite database is followed, and while it is not.

const assert = require('node:assert/strict')
const path = require('node:path')
const { test } = require('node:test')
const { collect } = require('../support/collect')
const { freshSqlite } = require('../support/sqlite')

const brief = ({ op, table, before, after, renamedTo }) => [op, table, renamedTo ?? after ?? before]

test('ALTER TABLE is followed: rows carry the names that were valid, new columns arrive', async () => {
  const database = await freshSqlite('CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 1)')
  const seen = await collect(database.url)
  // Within one transaction: the triggers cannot know of the new column yet.
  await database.run('BEGIN; ALTER TABLE t ADD COLUMN b DEFAULT 5; UPDATE t SET b = 6; COMMIT')
  await seen.until(() => seen.changes.some(change => change.synthetic), 'the new column')
  assert.deepEqual(seen.changes.map(brief), [
    ['update', 't', { id: 1, a: 1 }],
    ['update', 't', { id: 1, a: 1, b: 6 }],
  ])
  assert.equal(seen.schemas.length, 1)
  assert.match(seen.schemas[0].statement, /b DEFAULT 5/)
  await database.run('ALTER TABLE t RENAME COLUMN b TO c')
  await seen.until(() => seen.schemas.length === 2, 'the other name')
  await database.run('UPDATE t SET c = 7; ALTER TABLE t RENAME TO u; INSERT INTO u VALUES (2, 2, 2)')
  await seen.until(() => seen.changes.some(change => change.after?.id === 2), 'the row')
  await seen.until(() => seen.changes.some(change => change.op === 'rename'), 'the rename')
  assert.deepEqual(brief(seen.changes[2]), ['update', 't', { id: 1, a: 1, c: 7 }])
  assert.deepEqual(brief(seen.changes.find(change => change.op === 'rename')), ['rename', 't', 'main.u'])
  await database.run('DROP TABLE u')
  await seen.until(() => seen.changes.at(-1).op === 'drop', 'the drop')
  assert.equal(seen.changes.at(-1).table, 'u')
  assert.deepEqual(seen.gaps, [])
  await seen.stop()
  await database.drop()
})

test('a table that is created later, or made anew, arrives with all its rows', async () => {
  const database = await freshSqlite('CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 1)')
  const seen = await collect(database.url)
  await database.run(
    'BEGIN; CREATE TABLE late(k PRIMARY KEY, v); INSERT INTO late VALUES (1, 1), (2, 2); COMMIT'
  )
  await seen.until(() => seen.changes.length === 2, 'its rows')
  await database.run(`
    BEGIN; CREATE TABLE new_t(id INTEGER PRIMARY KEY, a, b); INSERT INTO new_t SELECT id, a, 'x' FROM t;
    DROP TABLE t; ALTER TABLE new_t RENAME TO t; COMMIT;`)
  await seen.until(() => seen.changes.length === 4, 'its rows')
  await database.run('INSERT INTO late VALUES (3, 3)')
  await seen.until(() => seen.changes.length === 5, 'a row')
  assert.deepEqual(
    seen.changes.map(change => [...brief(change), change.synthetic === true]),
    [
      ['insert', 'late', { k: 1, v: 1 }, true],
      ['insert', 'late', { k: 2, v: 2 }, true],
      ['truncate', 't', null, true],
      ['insert', 't', { id: 1, a: 1, b: 'x' }, true],
      ['insert', 'late', { k: 3, v: 3 }, false],
    ]
  )
  assert.deepEqual(
    seen.schemas.map(({ table }) => table),
    ['late', 't']
  )
  await seen.stop()
  await database.drop()
})

test('what changed while nobody read comes at the next start', async () => {
  const database = await freshSqlite('CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE gone(a)')
  const config = { source: database.url, checkpoint: path.join(database.folder, 'positions') }
  const first = await collect(config)
  await first.stop()
  await database.run(`
    INSERT INTO t VALUES (1, 1); ALTER TABLE t ADD COLUMN b; INSERT INTO t VALUES (2, 2, 2);
    INSERT INTO gone VALUES (1); DROP TABLE gone; CREATE TABLE late(v); INSERT INTO late VALUES (1);`)
  const second = await collect(config)
  await second.until(() => second.changes.length >= 7, 'the last')
  assert.deepEqual(second.changes.map(brief), [
    ['insert', 't', { id: 1, a: 1 }],
    ['insert', 't', { id: 2, a: 2 }],
    ['insert', 'gone', { a: 1 }],
    ['drop', 'gone', null],
    ['insert', 'late', { v: 1 }],
    ['update', 't', { id: 1, a: 1, b: null }],
    ['update', 't', { id: 2, a: 2, b: 2 }],
  ])
  await second.stop()
  await database.drop()
})

test('a unique index that comes later is looked through too', async () => {
  const database = await freshSqlite('CREATE TABLE t(id INTEGER PRIMARY KEY, u); INSERT INTO t VALUES (1, 1)')
  const seen = await collect(database.url)
  const triggers =
    "SELECT count(*) AS n FROM sqlite_schema WHERE type = 'trigger' AND sql LIKE '%x.\"u\" = NEW%'"
  await database.run('CREATE UNIQUE INDEX i ON t(u)')
  while ((await database.query(triggers))[0].n === 0);
  await database.run('REPLACE INTO t VALUES (2, 1)')
  await seen.until(() => seen.changes.length === 2, 'two changes')
  assert.deepEqual(seen.changes.map(brief), [
    ['delete', 't', { id: 1, u: 1 }],
    ['insert', 't', { id: 2, u: 1 }],
  ])
  await seen.stop()
  await database.drop()
})
