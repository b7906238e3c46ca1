'use strict'

// DDL while rows wait: every row carries the names that were valid when it was written, or the table is a gap.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { freshDatabase, openKit } = require('../support/servers')
const { collect } = require('../support/collect')

/** @type {Awaited<ReturnType<typeof openKit>>} */
let kit
/** @type {Record<string, any>} */
const servers = {}
before(async () => {
  kit = await openKit()
  servers.mysql = await kit.mysql({ args: [] })
  servers.mariadb = await kit.mariadb({ args: [] })
})
after(() => kit?.close())

const rowsOf = (changes, table) =>
  changes.filter(c => c.table === table && c.op === 'insert').map(c => c.after)

/** The position after a first row: where the reading of a backlog begins. */
async function mark(database, connection) {
  const seen = await collect({ url: database.url })
  await connection.query('CREATE TABLE mark (id INT PRIMARY KEY)')
  await connection.query('INSERT INTO mark VALUES (1)')
  await seen.until(() => seen.changes.some(change => change.table === 'mark'), 'the mark')
  const { position } = seen.changes.find(change => change.table === 'mark')
  await seen.stop()
  return position
}

async function readFrom(database, from, connection) {
  await connection.query('CREATE TABLE finished (id INT PRIMARY KEY)')
  await connection.query('INSERT INTO finished VALUES (1)')
  const seen = await collect({ url: database.url, from })
  await seen.until(() => seen.changes.some(change => change.table === 'finished'), 'the last change')
  await seen.stop()
  return seen
}

for (const kind of ['mysql', 'mariadb']) {
  test(`rows in the backlog carry the names valid when written (${kind}, default metadata)`, async () => {
    const database = await freshDatabase(servers[kind])
    const connection = await database.connect()
    const from = await mark(database, connection)
    const run = sql => connection.query(sql)
    // The table is created inside the log, so every version of it can be known.
    await run('CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT, c VARCHAR(20))')
    await run("INSERT INTO t VALUES (1, 10, 20, 'x')")
    await run('ALTER TABLE t MODIFY COLUMN b INT AFTER id')
    await run("INSERT INTO t (id, a, b, c) VALUES (2, 11, 21, 'y')")
    await run('ALTER TABLE t CHANGE a alpha INT')
    await run("INSERT INTO t (id, alpha, b, c) VALUES (3, 12, 22, 'z')")
    await run('ALTER TABLE t DROP COLUMN b, ADD COLUMN d INT UNSIGNED AFTER id')
    await run("INSERT INTO t (id, d, alpha, c) VALUES (4, 4000000000, 13, 'w')")
    await run('RENAME TABLE t TO u')
    await run("INSERT INTO u (id, d, alpha, c) VALUES (5, 1, 14, 'v')")
    await run('CREATE TABLE t LIKE u')
    await run("INSERT INTO t (id, d, alpha, c) VALUES (6, 2, 15, 'u')")
    await run('ALTER TABLE u DROP COLUMN c')
    await run('INSERT INTO u (id, d, alpha) VALUES (7, 3, 16)')
    await run('DROP TABLE t')
    const seen = await readFrom(database, from, connection)
    assert.deepEqual(seen.gaps, [])
    assert.deepEqual(rowsOf(seen.changes, 't'), [
      { id: 1, a: 10, b: 20, c: 'x' },
      { id: 2, b: 21, a: 11, c: 'y' },
      { id: 3, b: 22, alpha: 12, c: 'z' },
      { id: 4, d: 4000000000, alpha: 13, c: 'w' },
      { id: 6, d: 2, alpha: 15, c: 'u' },
    ])
    assert.deepEqual(rowsOf(seen.changes, 'u'), [
      { id: 5, d: 1, alpha: 14, c: 'v' },
      { id: 7, d: 3, alpha: 16 },
    ])
    const ops = seen.changes.filter(change => ['rename', 'drop', 'truncate'].includes(change.op))
    assert.deepEqual(
      ops.map(change => [change.op, change.table]),
      [
        ['rename', 't'],
        ['drop', 't'],
      ]
    )
    await connection.end()
  })

  test(`a table created before the log begins and altered in the backlog is a gap, not a guess (${kind})`, async () => {
    const server = await kit[kind]({ args: [] })
    const database = await freshDatabase(server)
    const connection = await database.connect()
    await connection.query('CREATE TABLE old (id INT PRIMARY KEY, a INT, b INT)')
    await connection.query('CREATE TABLE calm (id INT PRIMARY KEY, a INT)')
    await connection.query('FLUSH BINARY LOGS')
    const from = await mark(database, connection)
    // The part of the log that holds CREATE TABLE is gone.
    const [logs] = await connection.query('SHOW BINARY LOGS')
    await connection.query(`PURGE BINARY LOGS TO '${logs.at(-1).Log_name}'`)
    await connection.query('INSERT INTO old VALUES (1, 10, 20)')
    await connection.query('ALTER TABLE old MODIFY COLUMN b INT AFTER id')
    await connection.query('INSERT INTO old (id, a, b) VALUES (2, 11, 21)')
    await connection.query('INSERT INTO calm VALUES (1, 5)')
    const seen = await readFrom(database, from, connection)
    assert.deepEqual(
      seen.gaps.map(({ reason, tables }) => ({ reason, tables })),
      [{ reason: 'undecodable', tables: [`${database.name}.old`] }]
    )
    // After the ALTER the definition is the one that the server has now: it is known again.
    assert.deepEqual(rowsOf(seen.changes, 'old'), [{ id: 2, b: 21, a: 11 }])
    assert.deepEqual(rowsOf(seen.changes, 'calm'), [{ id: 1, a: 5 }])
    await connection.end()
    await server.stop()
  })

  test(`an online schema change is followed by name (${kind})`, async () => {
    const database = await freshDatabase(servers[kind])
    const connection = await database.connect()
    await connection.query('CREATE TABLE orders (id INT PRIMARY KEY, note VARCHAR(10))')
    const seen = await collect({ url: database.url, tables: ['orders'] })
    await connection.query("INSERT INTO orders VALUES (1, 'a')")
    await connection.query('CREATE TABLE _orders_new LIKE orders')
    await connection.query('ALTER TABLE _orders_new ADD COLUMN total INT FIRST')
    await connection.query('INSERT INTO _orders_new (id, note) SELECT id, note FROM orders')
    await connection.query('RENAME TABLE orders TO _orders_old, _orders_new TO orders')
    await connection.query("INSERT INTO orders VALUES (7, 2, 'b')")
    await seen.until(() => seen.changes.some(change => change.after?.id === 2), 'the row after the swap')
    assert.deepEqual(seen.gaps, [])
    assert.deepEqual(rowsOf(seen.changes, 'orders'), [
      { id: 1, note: 'a' },
      { total: 7, id: 2, note: 'b' },
    ])
    assert.ok(seen.changes.every(({ table, op }) => table === 'orders' || op === 'rename'))
    await seen.stop()
    await connection.end()
  })

  test(`TRUNCATE, DROP and RENAME are changes, each statement a schema event (${kind})`, async () => {
    const database = await freshDatabase(servers[kind])
    const connection = await database.connect()
    await connection.query('CREATE TABLE a (id INT PRIMARY KEY)')
    const seen = await collect({ url: database.url })
    await connection.query('INSERT INTO a VALUES (1)')
    await connection.query('TRUNCATE TABLE a')
    await connection.query('RENAME TABLE a TO b')
    await connection.query('ALTER TABLE b ADD COLUMN n INT')
    await connection.query('DROP TABLE b')
    await seen.until(() => seen.schemas.length >= 4, 'four schema events')
    assert.deepEqual(
      seen.changes.map(({ op, table }) => [op, table]),
      [
        ['insert', 'a'],
        ['truncate', 'a'],
        ['rename', 'a'],
        ['drop', 'b'],
      ]
    )
    assert.ok(seen.schemas.every(({ database: name }) => name === database.name))
    assert.ok(seen.schemas.some(({ statement }) => /ALTER TABLE b ADD COLUMN n INT/i.test(statement)))
    for (const { position } of seen.schemas) assert.equal(typeof position, 'string')
    await seen.stop()
    await connection.end()
  })

  test(`DROP DATABASE is a drop of each of its tables (${kind})`, async () => {
    const database = await freshDatabase(servers[kind])
    const connection = await database.connect()
    await connection.query('CREATE TABLE a (id INT PRIMARY KEY)')
    await connection.query('CREATE TABLE b (id INT PRIMARY KEY)')
    const seen = await collect({ url: database.url })
    await connection.query('INSERT INTO a VALUES (1)')
    await connection.query(`DROP DATABASE ${database.name}`)
    await connection.query(`CREATE DATABASE ${database.name}`)
    await connection.query(`CREATE TABLE ${database.name}.a (other VARCHAR(5))`)
    await connection.query(`INSERT INTO ${database.name}.a VALUES ('new')`)
    await seen.until(
      () => seen.changes.some(change => change.after?.other === 'new'),
      'the row of the new table'
    )
    assert.deepEqual(
      seen.changes.map(({ op, table }) => [op, table]),
      [
        ['insert', 'a'],
        ['drop', 'a'],
        ['drop', 'b'],
        ['insert', 'a'],
      ]
    )
    assert.deepEqual(seen.gaps, [])
    await seen.stop()
    await connection.end()
  })
}

test('an ALTER TABLE in two phases holds from its end on, and one that fails does not', async () => {
  const database = await freshDatabase(servers.mariadb)
  const connection = await database.connect()
  const from = await mark(database, connection)
  const run = sql => connection.query(sql)
  await run('CREATE TABLE t (id INT PRIMARY KEY, a INT)')
  await run('INSERT INTO t VALUES (1, 1), (2, 1)')
  await run('SET SESSION binlog_alter_two_phase = 1')
  await run('ALTER TABLE t ADD b INT, ALGORITHM=COPY')
  await run('INSERT INTO t VALUES (3, 1, 3)')
  await assert.rejects(run('ALTER TABLE t CHANGE a wrong INT, ADD UNIQUE (wrong)'), /Duplicate/)
  await run('INSERT INTO t VALUES (4, 4, 4)')
  await run('ALTER TABLE t CHANGE a c INT')
  await run('INSERT INTO t VALUES (5, 5, 5)')
  const [log] = await run('SHOW BINLOG EVENTS LIMIT 10000')
  assert.ok(
    log.some(({ Info }) => /ROLLBACK ALTER/i.test(Info)),
    'the failure is in the log'
  )
  const seen = await readFrom(database, from, connection)
  assert.deepEqual(seen.gaps, [])
  assert.deepEqual(rowsOf(seen.changes, 't'), [
    { id: 1, a: 1 },
    { id: 2, a: 1 },
    { id: 3, a: 1, b: 3 },
    { id: 4, a: 4, b: 4 },
    { id: 5, c: 5, b: 5 },
  ])
  assert.equal(seen.schemas.filter(({ table }) => table === 't').length, 3)
  await connection.end()
})
