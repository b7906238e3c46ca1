'use strict'

// Tables without a log: what is seen of them, and what is said of the others.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { Streamer } = require('../..')
const { eventually, freshDatabase, openKit } = require('../support/servers')
const { assertOnce, marked, poll, rebuilt, recorder } = require('../support/polling')

/** @type {Awaited<ReturnType<typeof openKit>>} */
let kit
/** @type {Record<string, any>} */
const servers = {}
before(async () => {
  kit = await openKit()
  servers.mariadb = await kit.mariadb({ args: ['--skip-log-bin'] })
  servers.mysql = await kit.mysql({ args: ['--skip-log-bin'] })
})
after(() => kit?.close())

async function fresh(kind, ...tables) {
  const database = await freshDatabase(servers[kind])
  const connection = await database.connect()
  for (const table of tables) await connection.query(table)
  const run = async (sql, values) => (await connection.query(sql, values))[0]
  const end = async (...seen) => {
    for (const { stop } of seen) await stop()
    await connection.end()
    await database.drop()
  }
  return { database, run, end }
}

for (const kind of ['mariadb', 'mysql']) {
  test(`a server without a binlog is polled, and says so (${kind})`, async () => {
    const { database, run, end } = await fresh(kind, marked('t'))
    await run("INSERT INTO t (id, v) VALUES (1, 'before')")
    const { logger, warnings } = recorder()
    const seen = await poll(database.url, {}, { logger, cache: true, heartbeat: { intervalMs: 100 } })
    assert.equal(seen.streamer.health().sources.default.state, 'polling')
    await run("INSERT INTO t (id, v) VALUES (2, 'new')")
    await run("UPDATE t SET v = 'changed' WHERE id = 1")
    await seen.until(() => seen.changes.length >= 2, 'both rows')
    const [first, second] = seen.changes
    assert.deepEqual([first.op, first.before, first.changed, first.transaction], ['update', null, null, null])
    assert.deepEqual([first.key, first.after.v, first.table], [{ id: 2 }, 'new', 't'])
    assert.deepEqual([second.key, second.after.v], [{ id: 1 }, 'changed'])
    assert.ok(Math.abs(Date.now() - second.timestamp) < 60_000)
    assertOnce(seen.changes)
    await eventually(() => warnings().some(text => /log_bin must be ON/.test(text) && /polled/.test(text)))
    assert.match(seen.streamer.health().sources.default.lastError.message, /log_bin must be ON/)
    await eventually(() => seen.streamer.health().status === 'healthy')
    const { freshUntil } = seen.streamer.health().sources.default
    assert.ok(freshUntil < Date.now() - 4999, 'what it vouches for is older than the overlap')
    await eventually(() => seen.streamer.health().sources.default.freshUntil > freshUntil)
    const explained = await seen.streamer.cache.explain('SELECT * FROM t WHERE id = 1')
    assert.ok(!explained.cached && /polled/.test(explained.reason))
    for (let i = 0; i < 2; i++) await seen.streamer.query('SELECT * FROM t WHERE id = 1')
    assert.equal(seen.streamer.cache.stats().hits, 0)
    await end(seen)
  })

  test(`ties, composite and text keys, and a row that is changed there and back again (${kind})`, async () => {
    const whole = 'changed TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, KEY (changed)'
    const { database, run, end } = await fresh(
      kind,
      `CREATE TABLE pair (a INT, b VARCHAR(20), v INT, ${whole}, PRIMARY KEY (a, b))`,
      `CREATE TABLE bytes (id VARBINARY(8) PRIMARY KEY, v INT, ${whole})`
    )
    const seen = await poll(database.url, { from: 'earliest' })
    // More rows of one second than a page holds.
    const rows = Array.from({ length: 1500 }, (_, n) => [n % 7, `k${n} ü`, n])
    await run('INSERT INTO pair (a, b, v) VALUES ?', [rows])
    const bytes = Array.from({ length: 1200 }, (_, n) => [Buffer.from([0xff, n >> 8, n & 0xff, 0]), n])
    await run('INSERT INTO bytes (id, v) VALUES ?', [bytes])
    const of = table => seen.changes.filter(change => change.table === table)
    await seen.until(() => of('pair').length >= 1500 && of('bytes').length >= 1200, 'all rows')
    assert.deepEqual([of('pair').length, of('bytes').length], [1500, 1200])
    assert.deepEqual(new Set(of('pair').map(({ after }) => after.v)).size, 1500)
    assert.deepEqual(Object.keys(of('pair')[0].key), ['a', 'b'])
    for (const v of [-1, -2, -1]) {
      const count = seen.changes.length
      await run('UPDATE pair SET v = ? WHERE a = 0 AND b = ?', [v, 'k0 ü'])
      await seen.until(() => seen.changes.length > count, `the version ${v}`)
      assert.equal(seen.changes.at(-1).after.v, v)
    }
    assertOnce(seen.changes.slice(0, 2701))
    await end(seen)
  })

  test(`a row that is committed long after it was written is found (${kind})`, async () => {
    const { database, run, end } = await fresh(
      kind,
      marked('t'),
      'CREATE TABLE log (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(20))',
      'CREATE TABLE dated (id INT PRIMARY KEY, v INT, at DATETIME(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), KEY (at))'
    )
    // A zone of its own: the column does not say which.
    await run("SET time_zone = '+05:30'")
    // A slow machine may take its time until the transaction is committed.
    const seen = await poll(database.url, { poll: { overlapMs: 15_000 } })
    const late = await database.connect()
    await late.query("SET time_zone = '+05:30'")
    await late.query('START TRANSACTION')
    await late.query("INSERT INTO t (id, v) VALUES (0, 'late')")
    await late.query("INSERT INTO log (v) VALUES ('late')")
    await late.query('INSERT INTO dated (id, v) VALUES (0, 0)')
    const begun = Date.now()
    let n = 1
    for (; Date.now() - begun < 1200; n++) {
      await run("INSERT INTO t (id, v) VALUES (?, 'early')", [n])
      await run("INSERT INTO log (v) VALUES ('early')")
      await run('INSERT INTO dated (id, v) VALUES (?, 1)', [n])
    }
    await seen.until(() => seen.changes.length === 3 * (n - 1), 'the rows that were committed first')
    await late.query('COMMIT')
    await seen.until(() => seen.changes.length >= 3 * n, 'the late rows')
    assert.deepEqual(
      seen.changes
        .slice(-3)
        .map(({ table, after }) => [table, after.id])
        .sort(),
      [
        ['dated', 0],
        ['log', 1],
        ['t', 0],
      ]
    )
    assert.ok(seen.changes.filter(({ table }) => table === 'log').every(({ op }) => op === 'insert'))
    assertOnce(seen.changes)
    await late.end()
    await end(seen)
  })

  test(`deleted rows are found by the sweep, and of small tables without a column by comparison (${kind})`, async () => {
    const { database, run, end } = await fresh(
      kind,
      marked('t', 'a INT, b VARCHAR(10), PRIMARY KEY (a, b)'),
      "CREATE TABLE small (id ENUM('x','y','z') PRIMARY KEY, v INT)"
    )
    await run("INSERT INTO t (a, b, v) VALUES (1, 'x', 'old'), (2, 'y', 'stays')")
    await run("INSERT INTO small VALUES ('x', 1), ('y', 2)")
    const seen = await poll(database.url, { poll: { sweepMs: 100 } })
    await run("INSERT INTO t (a, b, v) VALUES (3, 'z', 'new')")
    await seen.until(() => seen.changes.length >= 1, 'the new row')
    await run('DELETE FROM t WHERE a IN (1, 3)')
    await run("DELETE FROM small WHERE id = 'x'")
    await run("UPDATE small SET v = 3 WHERE id = 'y'")
    await run("INSERT INTO small VALUES ('z', 4)")
    await seen.until(() => seen.changes.filter(({ op }) => op === 'delete').length >= 3, 'the deletes')
    await seen.until(() => seen.changes.length >= 6, 'everything')
    const shown = seen.changes.map(({ op, key, after }) => JSON.stringify([op, key, after?.v ?? null])).sort()
    assert.deepEqual(
      shown,
      [
        ['delete', { a: 1, b: 'x' }, null],
        ['delete', { a: 3, b: 'z' }, null],
        ['delete', { id: 'x' }, null],
        ['insert', { id: 'z' }, 4],
        ['update', { a: 3, b: 'z' }, 'new'],
        ['update', { id: 'y' }, 3],
      ].map(change => JSON.stringify(change))
    )
    const gone = seen.changes.find(({ op, key }) => op === 'delete' && key.a === 1)
    assert.deepEqual([gone.before, gone.after], [{ a: 1, b: 'x' }, null])
    assertOnce(seen.changes)
    await end(seen)
  })

  test(`what was read is gone on from, by another process and after a broken connection (${kind})`, async () => {
    const { database, run, end } = await fresh(kind, marked('t'), marked('other'))
    const first = await poll(database.url)
    await run("INSERT INTO t (id, v) VALUES (1, 'one')")
    await first.until(() => first.changes.length === 1, 'the first row')
    const [{ processlist }] = await run(
      'SELECT GROUP_CONCAT(id) AS processlist FROM information_schema.processlist WHERE id <> CONNECTION_ID()'
    )
    for (const id of processlist.split(',')) await run(`KILL ${id}`).catch(() => {})
    await run("INSERT INTO t (id, v) VALUES (2, 'two')")
    await first.until(() => first.changes.length === 2, 'the second row')
    assert.ok(first.streamer.health().sources.default.reconnects >= 1)
    await first.stop()
    const { position } = first.changes.at(-1)
    assert.match(position, /^poll:/)
    await run("INSERT INTO t (id, v) VALUES (3, 'three')")
    await run("INSERT INTO other (id, v) VALUES (1, 'other')")
    const second = await poll(database.url, { from: position })
    await second.until(
      () => rebuilt(second.changes).has('{"id":3}') && second.changes.some(({ table }) => table === 'other'),
      'what came meanwhile'
    )
    // What was delivered before may come again, under the id that it had.
    const ids = new Set(first.changes.map(({ id }) => id))
    for (const change of second.changes)
      assert.equal(ids.has(change.id), change.table === 't' && change.key.id < 3)
    await end(second)
  })

  test(`tables that cannot be polled are named, and the others are polled (${kind})`, async () => {
    const { database, run, end } = await fresh(
      kind,
      'CREATE TABLE keyless (v INT)',
      'CREATE TABLE large (id INT PRIMARY KEY, v INT)',
      'CREATE TABLE grows (id INT AUTO_INCREMENT PRIMARY KEY, v INT)',
      'CREATE TABLE `od``d "name;--` (`k``ey` INT PRIMARY KEY, `re``v` INT, KEY (`re``v`))'
    )
    await run('INSERT INTO large VALUES ?', [Array.from({ length: 30 }, (_, id) => [id, id])])
    const { logger, warnings } = recorder()
    const columns = { [`${database.name}.od\`d "name;--`]: 're`v' }
    const seen = await poll(database.url, { poll: { compareRows: 20, columns } }, { logger })
    const said = pattern =>
      eventually(() => warnings().some(text => pattern.test(text)), { what: String(pattern) })
    await said(/cannot be polled.*keyless: it has no primary key/)
    await said(/cannot be polled.*large: it has more than 20 rows/)
    await said(/only new rows are seen.*grows/)
    await run('INSERT INTO `od``d "name;--` VALUES (1, 1)')
    await run('INSERT INTO grows (v) VALUES (1)')
    await run('INSERT INTO keyless VALUES (1)')
    await seen.until(() => seen.changes.length >= 2, 'both rows')
    assert.deepEqual(
      seen.changes.map(({ op, after }) => [op, after]).sort(([a], [b]) => (a < b ? -1 : 1)),
      [
        ['insert', { id: 1, v: 1 }],
        ['update', { 'k`ey': 1, 're`v': 1 }],
      ]
    )
    const refused = new Streamer({ url: database.url, tables: ['keyless'], capture: 'poll' })
    refused.on('error', () => {})
    await assert.rejects(refused.start(), { code: 'ERR_STREAMER_TABLE_UNPOLLABLE' })
    await refused.stop()
    await end(seen)
  })

  test(`a column that is added, and a table that is made, while it is polled (${kind})`, async () => {
    const { database, run, end } = await fresh(kind, marked('t'))
    const seen = await poll(database.url)
    // It is found when the definitions are read anew, because a poll was refused.
    await run(marked('later'))
    await run('ALTER TABLE t DROP COLUMN v, ADD COLUMN w INT')
    await run("INSERT INTO later (id, v) VALUES (1, 'later')")
    await run('INSERT INTO t (id, w) VALUES (1, 5)')
    await seen.until(() => seen.changes.length >= 2, 'both rows')
    const row = seen.changes.find(({ table }) => table === 't')
    assert.deepEqual(Object.keys(row.after), ['id', 'updated_at', 'w'])
    await end(seen)
  })
}

test('a value is the same by polling as from the log', async () => {
  const server = await kit.mariadb()
  const database = await freshDatabase(server)
  const connection = await database.connect()
  await connection.query(`CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, d DECIMAL(30,10), f FLOAT, j JSON, dt DATETIME(3), ti TIME(2),
    e ENUM('a','b'), s SET('x','y'), bin BINARY(4), l VARCHAR(20) CHARACTER SET latin1, bi BIT(9), y YEAR, zero DATE, inv INT INVISIBLE DEFAULT 7,
    g BIGINT UNSIGNED AS (id - 1) VIRTUAL, n INT, at TIMESTAMP(6) DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), KEY (at))`)
  await connection.query("SET sql_mode = ''")
  const [log, polled] = await Promise.all([
    poll(database.url, { capture: 'auto' }),
    poll(database.url, { capture: 'poll' }),
  ])
  assert.equal(log.streamer.health().sources.default.state, 'streaming')
  assert.equal(polled.streamer.health().sources.default.state, 'polling')
  await connection.query(`INSERT INTO t (id, d, f, j, dt, ti, e, s, bin, l, bi, y, zero, n) VALUES
    (18446744073709551615, 12345678901234567890.0123456789, 1.1, '{"a":[1,null,12345678901234567890]}', '2024-02-29 12:34:56.789',
     '-12:34:56.78', 'b', 'x,y', 'a', 'é', b'101010101', 2024, '0000-00-00', NULL)`)
  await Promise.all([log, polled].map(seen => seen.until(() => seen.changes.length >= 1, 'the row')))
  assert.deepEqual(polled.changes[0].after, log.changes[0].after)
  assert.deepEqual(polled.changes[0].key, log.changes[0].key)
  await Promise.all([log.stop(), polled.stop()])
  await connection.end()
  await database.drop()
})
