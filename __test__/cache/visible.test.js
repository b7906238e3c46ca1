'use strict'

// A change is delivered before its row can be read: what is asked for in between must be neither old nor kept.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { Streamer } = require('../..')
const { cacheServers, warmed } = require('../support/cache')
const { eventually, freshDatabase } = require('../support/servers')

const ROWS = 'SELECT id, v FROM t WHERE id = ?'

const held = cacheServers()

/** A streamer with a cache over a table of versions. @param {string} kind @param {object} [cache] @param {object} [config] */
async function versions(kind, cache = {}, rows = 3, config = {}) {
  const database = await freshDatabase(held.servers[kind])
  const connection = await database.connect()
  await connection.query('CREATE TABLE t (id INT PRIMARY KEY, v INT NOT NULL)')
  const values = Array.from({ length: rows }, (_, id) => [id, 0])
  await connection.query('INSERT INTO t VALUES ?', [values])
  const streamer = new Streamer({
    source: { url: database.url },
    cache,
    heartbeat: { intervalMs: 100, timeoutMs: 2000 },
    ...config,
  })
  const told = new Map()
  streamer.on('batch', batch => {
    for (const { after } of batch)
      if (after !== null) told.set(after.id, Math.max(told.get(after.id) ?? 0, after.v))
  })
  await streamer.start()
  return { database, connection, streamer, told }
}

/** Asks until memory answers. */
const warm = (streamer, id) => warmed(streamer, () => streamer.query(ROWS, [id]))

test('a read in the window before a commit is visible gives the new row, and none keeps the old one (MariaDB)', async () => {
  const { connection, streamer, told } = await versions('mariadb')
  await warm(streamer, 1)
  await connection.query('SET GLOBAL rpl_semi_sync_master_wait_point=AFTER_SYNC')
  await connection.query('SET GLOBAL rpl_semi_sync_master_wait_no_slave=ON')
  await connection.query('SET GLOBAL rpl_semi_sync_master_timeout=300')
  let early = 0
  const database = new URL(held.servers.mariadb.url)
  assert.ok(database)
  for (let v = 1; v <= 20; v++) {
    await connection.query('SET GLOBAL rpl_semi_sync_master_enabled=OFF')
    await connection.query('SET GLOBAL rpl_semi_sync_master_enabled=ON')
    let isCommitted = false
    const written = connection.query('UPDATE t SET v = ? WHERE id = 1', [v]).then(() => (isCommitted = true))
    await eventually(() => told.get(1) === v, { what: `the event of version ${v}` })
    if (!isCommitted) {
      early++
      // The server itself still shows the old row.
      const [old] = await streamer.query(ROWS, [1], { cache: false })
      assert.equal(old.v, v - 1)
    }
    const [row] = await streamer.query(ROWS, [1])
    assert.equal(row.v, v)
    await written
    assert.equal((await streamer.query(ROWS, [1]))[0].v, v)
  }
  assert.ok(early >= 15, `the event came first in ${early} of 20 writes only: nothing was tested`)
  await connection.query('SET GLOBAL rpl_semi_sync_master_enabled=OFF')
  await streamer.stop()
  await connection.end()
})

test('a read that is given up while it waits for a proof leaves no old snapshot behind (MariaDB)', async () => {
  const { database, connection, streamer, told } = await versions('mariadb')
  const other = await database.connect()
  await warm(streamer, 1)
  await connection.query('SET GLOBAL rpl_semi_sync_master_wait_point=AFTER_SYNC')
  await connection.query('SET GLOBAL rpl_semi_sync_master_wait_no_slave=ON')
  await connection.query('SET GLOBAL rpl_semi_sync_master_timeout=300')
  let givenUp = 0
  for (let v = 1; v <= 10; v++) {
    await other.query('SET GLOBAL rpl_semi_sync_master_enabled=OFF')
    await other.query('SET GLOBAL rpl_semi_sync_master_enabled=ON')
    let isCommitted = false
    const written = connection.query('UPDATE t SET v = ? WHERE id = 1', [v]).then(() => (isCommitted = true))
    await eventually(() => told.get(1) === v, { what: `the event of version ${v}` })
    for (let turn = 0; !isCommitted; turn++) {
      const giving = new AbortController()
      const read = streamer.query(ROWS, [1], { signal: giving.signal })
      // At another step of the proof each time.
      const end = performance.now() + (turn % 20) / 5
      while (performance.now() < end) await new Promise(resolve => setImmediate(resolve))
      giving.abort()
      if ((await read.catch(error => error.name)) === 'AbortError') givenUp++
    }
    await written
    const reads = Array.from({ length: 30 }, () => streamer.query(ROWS, [1], { cache: false }))
    for (const [row] of await Promise.all(reads)) assert.equal(row.v, v)
  }
  assert.ok(givenUp > 20, `${givenUp} reads were given up: nothing was tested`)
  await connection.query('SET GLOBAL rpl_semi_sync_master_enabled=OFF')
  await streamer.stop()
  for (const each of [connection, other]) await each.end()
})

test('a read in that window while the source is lost gives the new row as well (MariaDB)', async () => {
  const reconnect = { initialMs: 60_000, maxMs: 60_000 }
  const { database, connection, streamer, told } = await versions('mariadb', {}, 3, { reconnect })
  await warm(streamer, 1)
  let isLost = false
  streamer.on('disconnect', () => (isLost = true))
  const other = await database.connect()
  await connection.query('SET GLOBAL rpl_semi_sync_master_wait_point=AFTER_SYNC')
  await connection.query('SET GLOBAL rpl_semi_sync_master_wait_no_slave=ON')
  await connection.query('SET GLOBAL rpl_semi_sync_master_timeout=1500')
  await connection.query('SET GLOBAL rpl_semi_sync_master_enabled=ON')
  let isCommitted = false
  const written = connection.query('UPDATE t SET v = 1 WHERE id = 1').then(() => (isCommitted = true))
  await eventually(() => told.get(1) === 1, { what: 'the event' })
  const [dumps] = await other.query(
    "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'"
  )
  for (const { id } of dumps) await other.query(`KILL ${id}`)
  await eventually(() => isLost, { what: 'the source to be lost' })
  assert.equal(isCommitted, false, 'the window was over before anything was read')
  const answers = await Promise.all([
    streamer.query(ROWS, [1]),
    streamer.query(`${ROWS} AND RAND() < 2`, [1]),
    streamer.cache.wrap('1', () => streamer.query(ROWS, [1], { cache: false }), {
      dependsOn: [{ table: 't', key: 1 }],
    }),
  ])
  assert.deepEqual(
    answers.map(([row]) => row.v),
    [1, 1, 1]
  )
  assert.equal(streamer.cache.stats().unproved, 0)
  await written
  await other.query('SET GLOBAL rpl_semi_sync_master_enabled=OFF')
  await streamer.stop()
  await connection.end()
  await other.end()
})

for (const kind of ['mysql', 'mariadb']) {
  test(`sixteen writers, then silence: no read is older than its event, and no entry stays stale (${kind})`, async () => {
    const KEYS = 3000
    const { database, connection, streamer, told } = await versions(kind, {}, KEYS)
    await warm(streamer, 1)
    const end = Date.now() + 5000
    const failures = []
    let reads = 0
    let writes = 0
    const ask = async id => {
      const least = told.get(id) ?? 0
      const [row] = await streamer.query(ROWS, [id])
      reads++
      if (row.v < least) failures.push(`key ${id}: told of ${least}, given ${row.v}`)
    }
    // The worst case: whoever hears of a change asks at once.
    streamer.on('batch', batch => {
      for (const change of batch)
        if (change.after !== null) ask(change.after.id).catch(error => failures.push(String(error)))
    })
    const writer = async () => {
      const own = await database.connect()
      while (Date.now() < end) {
        await own.query('UPDATE t SET v = v + 1 WHERE id = ?', [Math.floor(Math.random() * KEYS)])
        writes++
      }
      await own.end()
    }
    await Promise.all(Array.from({ length: 16 }, writer))
    await eventually(
      async () => {
        const [[{ total }]] = await connection.query('SELECT CAST(SUM(v) AS SIGNED) AS total FROM t')
        return Number(total) === [...told.values()].reduce((sum, v) => sum + v, 0)
      },
      { what: 'every change to be delivered' }
    )
    const [rows] = await connection.query('SELECT id, v FROM t')
    let stale = 0
    for (const { id, v } of rows) if ((await streamer.query(ROWS, [id]))[0].v !== v) stale++
    const stats = streamer.cache.stats()
    console.log(kind, { reads, writes, stale, failures: failures.length, ...stats })
    assert.deepEqual(failures.slice(0, 5), [])
    assert.equal(stale, 0)
    assert.ok(writes > 500 && reads > 500, `${writes} writes and ${reads} reads are too few`)
    await streamer.stop()
    await connection.end()
  })
}
