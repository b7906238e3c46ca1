'use strict'

// What goes wrong on a server while it is followed: each ends as the documentation says.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { freshDatabase, openKit } = require('../support/servers')
const { collect } = require('../support/collect')

/** @type {Awaited<ReturnType<typeof openKit>>} */
let kit
before(async () => {
  kit = await openKit()
})
after(() => kit?.close())

const QUICK = { initialMs: 10, maxMs: 100 }

test('a reader ahead of gtid_executed has not lost the log (semi-synchronous MySQL)', async () => {
  const server = await kit.mysql({ args: ['--gtid-mode=ON', '--enforce-gtid-consistency=ON'] })
  const database = await freshDatabase(server)
  const [writer, other] = [await database.connect(), await database.connect()]
  await writer.query('CREATE TABLE t (id INT PRIMARY KEY)')
  const seen = await collect({
    source: database.url,
    heartbeat: { intervalMs: 100, timeoutMs: 1000 },
    reconnect: QUICK,
  })
  await writer.query('INSERT INTO t VALUES (1)')
  await seen.until(() => seen.changes.length === 1, 'the first row')
  // A commit now waits between its event and its effect, because no replica acknowledges it.
  await other.query("INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'")
  await other.query('SET GLOBAL rpl_semi_sync_source_timeout = 600000')
  await other.query('SET GLOBAL rpl_semi_sync_source_enabled = ON')
  const committed = writer.query('INSERT INTO t VALUES (2)')
  await seen.until(() => seen.changes.length === 2, 'the event of the row that waits')
  const [rows] = await other.query('SELECT id FROM t')
  assert.equal(rows.length, 1, 'the commit still waits')
  // Idle heartbeats compare the end of the log, and so does a new connection.
  let beats = 0
  seen.streamer.on('heartbeat', () => beats++)
  await seen.until(() => beats >= 10, 'ten heartbeats')
  assert.equal(seen.disconnects.length, 0)
  const [dumps] = await other.query(
    "SELECT ID AS id FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'"
  )
  for (const { id } of dumps) await other.query(`KILL ${id}`)
  await seen.until(
    () => seen.disconnects.length === 1 && seen.streamer.health().status === 'healthy',
    'the new connection'
  )
  await other.query('SET GLOBAL rpl_semi_sync_source_enabled = OFF')
  await committed
  await writer.query('INSERT INTO t VALUES (3)')
  await seen.until(() => seen.changes.at(-1).after.id === 3, 'the last row')
  assert.deepEqual(
    seen.changes.map(change => change.after.id),
    [1, 2, 3]
  )
  assert.deepEqual(seen.gaps, [])
  await seen.stop()
  await Promise.all([writer.end(), other.end()])
  await server.stop()
})

for (const kind of ['mysql', 'mariadb']) {
  /** A server of its own, because these faults concern all of it. */
  async function fresh() {
    const server = await kit[kind]()
    const database = await freshDatabase(server)
    const connection = await database.connect()
    await connection.query('CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(50))')
    const end = async seen => {
      await seen.stop()
      await connection.end()
      await server.stop()
    }
    return { server, database, connection, end, run: (sql, values) => connection.query(sql, values) }
  }

  /** Ends every dump; returns how many there were. */
  async function killDumps(run) {
    const [dumps] = await run(
      "SELECT ID AS id FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'"
    )
    for (const { id } of dumps) await run(`KILL ${id}`)
    return dumps.length
  }

  test(`a killed dump is begun again, and nothing is lost or doubled (${kind})`, async () => {
    const { database, run, end } = await fresh()
    const seen = await collect({ source: database.url, reconnect: QUICK })
    for (let turn = 0; turn < 5; turn++) {
      await run('INSERT INTO t VALUES (?, ?)', [turn * 2, 'before'])
      assert.equal(await killDumps(run), 1)
      await run('INSERT INTO t VALUES (?, ?)', [turn * 2 + 1, 'after'])
      await seen.until(() => seen.changes.length >= turn * 2 + 2, 'both rows')
    }
    assert.deepEqual(
      seen.changes.map(change => change.after.id),
      Array.from({ length: 10 }, (_, id) => id)
    )
    assert.equal(seen.disconnects.length, 5)
    assert.deepEqual(seen.gaps, [])
    await end(seen)
  })

  test(`a log that is reset while it is followed is one gap, and the new log is read (${kind})`, async () => {
    const { database, run, end } = await fresh()
    const seen = await collect({ source: { url: database.url, from: 'earliest' }, reconnect: QUICK })
    await run("INSERT INTO t VALUES (1, 'old log')")
    await seen.until(() => seen.changes.length === 1, 'the first row')
    await run(kind === 'mysql' ? 'RESET BINARY LOGS AND GTIDS' : 'RESET MASTER')
    await run("INSERT INTO t VALUES (2, 'new log')")
    await seen.until(() => seen.changes.length === 2, 'the row of the new log')
    assert.deepEqual(
      seen.gaps.map(({ reason, tables }) => [reason, tables]),
      [['source-rewound', '*']]
    )
    await end(seen)
  })

  test(`a log that is reset while it is followed ends a source that was not told where to go on (${kind})`, async () => {
    const { database, run, end } = await fresh()
    const seen = await collect({ source: database.url, reconnect: QUICK })
    await run("INSERT INTO t VALUES (1, 'old log')")
    await seen.until(() => seen.changes.length === 1, 'the first row')
    await run(kind === 'mysql' ? 'RESET BINARY LOGS AND GTIDS' : 'RESET MASTER')
    await run("INSERT INTO t VALUES (2, 'new log')")
    await assert.rejects(
      seen.until(() => false, 'an error'),
      /ERR_STREAMER_POSITION_LOST/
    )
    assert.deepEqual(
      seen.gaps.map(({ reason }) => reason),
      ['source-rewound']
    )
    assert.deepEqual(
      seen.errors.map(({ code, retry, details }) => [code, retry, details.reason]),
      [['ERR_STREAMER_POSITION_LOST', 'operator', 'source-rewound']]
    )
    assert.equal(seen.streamer.health().sources.default.state, 'failed')
    await end(seen)
  })

  test(`a log that was purged while nobody read is one gap (${kind})`, async () => {
    const { database, run, end } = await fresh()
    const seen = await collect({ url: database.url })
    await run("INSERT INTO t VALUES (1, 'seen')")
    await seen.until(() => seen.changes.length === 1, 'the first row')
    await seen.stop()
    const { position: from } = seen.changes[0]
    await run("INSERT INTO t VALUES (2, 'lost')")
    await run('FLUSH BINARY LOGS')
    await run("INSERT INTO t VALUES (3, 'kept')")
    const [logs] = await run('SHOW BINARY LOGS')
    // A dump that has just been left may still hold the old file.
    const purged = async () => {
      await run(`PURGE BINARY LOGS TO '${logs.at(-1).Log_name}'`)
      const [left] = await run('SHOW BINARY LOGS')
      return left.length === 1
    }
    const deadline = Date.now() + 20_000
    while (!(await purged())) {
      assert.ok(Date.now() < deadline, 'the old file was purged')
      await killDumps(run)
    }
    const resumed = await collect({ url: database.url, from })
    await resumed.until(
      () => resumed.changes.length >= 1 && resumed.gaps.length >= 1,
      'the gap and the row behind it'
    )
    assert.deepEqual(
      resumed.gaps.map(({ reason, tables }) => [reason, tables]),
      [['log-purged', '*']]
    )
    assert.deepEqual(
      resumed.changes.map(change => change.after.id),
      [3]
    )
    await end(resumed)
  })

  test(`names that come and go in the log change nothing in what is read (${kind})`, async () => {
    const { database, run, end } = await fresh()
    const seen = await collect({ url: database.url })
    for (const [n, metadata] of ['FULL', 'MINIMAL', 'FULL', 'MINIMAL'].entries()) {
      await run(`SET GLOBAL binlog_row_metadata = ${metadata}`)
      await run('INSERT INTO t (id, v) VALUES (?, ?)', [n, metadata])
      await run(`ALTER TABLE t ADD COLUMN c${n} INT AFTER id`)
      await run('FLUSH BINARY LOGS')
    }
    await run('INSERT INTO t VALUES (100, 1, 2, 3, 4, 5)')
    await seen.until(() => seen.changes.length >= 5, 'five rows')
    assert.deepEqual(seen.changes.at(-1).after, { id: 100, c3: 1, c2: 2, c1: 3, c0: 4, v: '5' })
    assert.deepEqual(seen.changes[2].after, { id: 2, c1: null, c0: null, v: 'FULL' })
    assert.deepEqual(seen.gaps, [])
    await end(seen)
  })

  test(`a grant that is revoked is said, and capture goes on when it is back (${kind})`, async () => {
    const { database, run, end } = await fresh()
    const monitor = kind === 'mysql' ? 'REPLICATION CLIENT' : 'BINLOG MONITOR'
    await run("CREATE USER reader@'%' IDENTIFIED BY 'secret'")
    await run(`GRANT SELECT, REPLICATION SLAVE, ${monitor} ON *.* TO reader@'%'`)
    const seen = await collect({ source: database.url.replace('root@', 'reader:secret@'), reconnect: QUICK })
    await run("REVOKE REPLICATION SLAVE ON *.* FROM reader@'%'")
    await killDumps(run)
    await run("INSERT INTO t VALUES (1, 'meanwhile')")
    await seen.until(
      () => seen.disconnects.some(({ error }) => error.code === 'ERR_STREAMER_GRANT_MISSING'),
      'the missing grant'
    )
    assert.equal(seen.streamer.health().status, 'down')
    await run("GRANT REPLICATION SLAVE ON *.* TO reader@'%'")
    await seen.until(() => seen.changes.length === 1, 'the row')
    await end(seen)
  })

  test(`concurrent writers arrive in the order of the log (${kind})`, async () => {
    const { database, run, end } = await fresh()
    await run('CREATE TABLE counter (id INT PRIMARY KEY, n INT)')
    await run('INSERT INTO counter VALUES (1, 0)')
    const seen = await collect({ url: database.url })
    const writers = await Promise.all(Array.from({ length: 8 }, () => database.connect()))
    await Promise.all(
      writers.map(async writer => {
        for (let i = 0; i < 50; i++) await writer.query('UPDATE counter SET n = n + 1')
        await writer.end()
      })
    )
    await seen.until(() => seen.changes.length >= 400, '400 changes')
    seen.changes.forEach(({ before, after }, index) =>
      assert.deepEqual([before.n, after.n], [index, index + 1])
    )
    await end(seen)
  })

  test(`300,000 rows of one transaction stay within the window (${kind})`, async () => {
    const { database, run, end } = await fresh()
    const seen = await collect({ source: database.url, delivery: { bufferBytes: 1 << 20 } })
    let rows = 0
    let most = 0
    seen.streamer.on('batch', batch => {
      rows += batch.length
      const [, bytes] = /^streamer_in_flight_bytes(?:{[^}]*})? (\d+)/m.exec(seen.streamer.metrics())
      most = Math.max(most, Number(bytes))
      seen.changes.length = 0
    })
    await run('START TRANSACTION')
    for (let at = 0; at < 300_000; at += 10_000) {
      await run('INSERT INTO t VALUES ?', [
        Array.from({ length: 10_000 }, (_, n) => [at + n, 'x'.repeat(40)]),
      ])
    }
    await run('COMMIT')
    await seen.until(() => rows === 300_000, 'all rows')
    assert.ok(most > 0 && most <= 2 << 20, `${most} bytes were in flight`)
    await end(seen)
  })
}
