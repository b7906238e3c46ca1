'use strict'

// Fewer queries: look-ups that are asked together, entries that are renewed while they are served, answers without rows in a room of
// their own, connections that are bounded.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { Streamer } = require('../..')
const { cacheServers, selects, warmed } = require('../support/cache')
const { eventually, freshDatabase } = require('../support/servers')

const held = cacheServers()

const ROWS = 1000

/** A table of numbered rows, followed. @param {string} kind @param {object} [config] */
async function numbered(kind, config = {}) {
  const database = await freshDatabase(held.servers[kind])
  const connection = await database.connect()
  await connection.query(
    'CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, grp INT NOT NULL, v VARCHAR(20), KEY (grp))'
  )
  const rows = Array.from({ length: ROWS }, (_, id) => [id, id % 10, `v${id}`])
  await connection.query('INSERT INTO t VALUES ?', [rows])
  await connection.query("INSERT INTO t VALUES (18446744073709551615, -1, 'last')")
  const streamer = new Streamer({
    source: { url: database.url },
    cache: {},
    heartbeat: { intervalMs: 100, timeoutMs: 5000 },
    ...config,
  })
  await streamer.start()
  const end = async () => {
    await streamer.stop()
    await connection.end()
  }
  /** @param {() => Promise<unknown>} ask */
  const warm = ask => warmed(streamer, ask)
  return { connection, database, streamer, warm, end }
}

for (const kind of ['mysql', 'mariadb']) {
  test(`look-ups at the same time become few queries, each with its own answer (${kind})`, async () => {
    const { connection, streamer, warm, end } = await numbered(kind)
    const one = id => streamer.query('SELECT v, id FROM t WHERE id = ?', [id])
    await warm(() => one(1))
    const before = await selects(connection)
    const ids = Array.from({ length: 300 }, (_, index) => 700 + 2 * index)
    const answers = await Promise.all(ids.map(one))
    const asked = (await selects(connection)) - before
    for (const [index, rows] of answers.entries()) {
      const id = ids[index]
      assert.deepEqual(rows, id < ROWS ? [{ v: `v${id}`, id }] : [], `row ${id}`)
    }
    assert.ok(streamer.cache.stats().gathered > 200, `${streamer.cache.stats().gathered} were gathered`)
    assert.ok(asked < 100, `the server ran ${asked} queries for 300 look-ups`)
    // Each is kept by itself, and dropped by its own row only.
    const { hits } = streamer.cache.stats()
    assert.deepEqual(await Promise.all(ids.map(one)), answers)
    assert.equal(streamer.cache.stats().hits, hits + 300)
    let seen = 0
    streamer.on('change', () => seen++)
    await connection.query("UPDATE t SET v = 'new' WHERE id = 702")
    await eventually(() => seen === 1, { what: 'the event' })
    assert.deepEqual(await Promise.all([one(702), one(704)]), [
      [{ v: 'new', id: 702 }],
      [{ v: 'v704', id: 704 }],
    ])
    assert.equal(streamer.cache.stats().hits, hits + 301)
    await end()
  })

  test(`look-ups by a column that is not unique, and of the largest integer, are told apart (${kind})`, async () => {
    const { streamer, warm, end } = await numbered(kind)
    const group = grp => streamer.query('SELECT * FROM t AS x WHERE x.grp = ?', [grp])
    await warm(() => group(0))
    const groups = await Promise.all([-1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map(group))
    assert.deepEqual(
      groups.map(rows => rows.length),
      [1, 100, 100, 100, 100, 100, 100, 100, 100, 100, 0]
    )
    for (const [index, rows] of groups.slice(1, 10).entries())
      for (const row of rows) assert.deepEqual([row.grp, row.v], [index + 1, `v${row.id}`])
    const largest = 18446744073709551615n
    const one = id => streamer.query('SELECT id, v FROM t WHERE id = ?', [id])
    const answers = await Promise.all([1, 2, 3, largest, largest - 1n, -1].map(one))
    assert.deepEqual(answers[3], [{ id: largest, v: 'last' }])
    assert.deepEqual([answers[4], answers[5]], [[], []])
    await end()
  })

  test(`an entry that is asked for at the end of its time is renewed, and nobody waits (${kind})`, async () => {
    const { streamer, warm, end } = await numbered(kind)
    const ask = () => streamer.query('SELECT v FROM t WHERE id = ?', [1], { ttlMs: 500 })
    let loads = 0
    const load = async () => ++loads
    const wrapped = () => streamer.cache.wrap('counted', load, { dependsOn: [{ table: 't' }], ttlMs: 500 })
    await warm(ask)
    await warm(wrapped)
    const { misses } = streamer.cache.stats()
    await eventually(
      async () => {
        assert.deepEqual(await ask(), [{ v: 'v1' }])
        await wrapped()
        return streamer.cache.stats().renewed >= 6 && loads >= 4
      },
      { what: 'some renewals', everyMs: 2 }
    )
    // A load counts as a miss also where nobody waits for it.
    assert.ok(streamer.cache.stats().misses - misses <= loads)
    await end()
  })

  test(`a caller who knows of a change does not share a load that was announced before it (${kind})`, async () => {
    const { connection, database, streamer, warm, end } = await numbered(kind, {
      pool: { maxConnections: 1 },
    })
    await connection.query('CREATE TABLE blocked (id INT)')
    const blocker = await database.connect()
    let version = 0
    streamer.on('change', change => {
      if (change.table === 't') version++
    })
    let loads = 0
    const get = () =>
      streamer.cache.wrap(
        'one',
        async () => {
          loads++
          const [[row]] = await connection.query('SELECT v FROM t WHERE id = 1')
          return row.v
        },
        { dependsOn: [{ table: 't', key: 1 }] }
      )
    await warm(get)
    loads = 0
    // The only connection waits, so no load can be allowed to begin.
    await blocker.query('LOCK TABLES blocked WRITE')
    await connection.query("UPDATE t SET v = 'a' WHERE id = 1")
    await eventually(() => version === 1, { what: 'the first event' })
    const waiting = streamer.query('SELECT COUNT(*) FROM blocked', [], { cache: false })
    await eventually(
      async () => {
        const [rows] = await blocker.query(
          "SELECT 1 FROM information_schema.processlist WHERE state LIKE 'Waiting for table metadata lock%'"
        )
        return rows.length > 0
      },
      { what: 'the connection to wait' }
    )
    const first = get()
    await connection.query("UPDATE t SET v = 'b' WHERE id = 1")
    await eventually(() => version === 2, { what: 'the second event' })
    const second = get()
    await blocker.query('UNLOCK TABLES')
    await Promise.all([waiting, first])
    assert.equal(await second, 'b')
    assert.equal(loads, 2)
    await blocker.end()
    await end()
  })

  test(`connections and times are bounded as configured (${kind})`, async () => {
    const pool = { maxConnections: 2, waitMs: 100, queryMs: 1000 }
    const { connection, database, streamer, end } = await numbered(kind, { pool })
    await connection.query('CREATE TABLE blocked (id INT)')
    const blocker = await database.connect()
    await blocker.query('LOCK TABLES blocked WRITE')
    const ask = () => streamer.query('SELECT COUNT(*) FROM blocked', [], { cache: false })
    const outcomes = await Promise.all(
      [ask(), ask(), ask()].map(asked => asked.then(String, error => `${error.code} ${error.message}`))
    )
    outcomes.sort()
    assert.match(outcomes[0], /^ERR_STREAMER_SERVER_BUSY .*within 100ms, .*all 2 are in use/)
    assert.match(outcomes[1], /^ERR_STREAMER_TIMEOUT .*within 1s, none came/)
    assert.match(outcomes[2], /^ERR_STREAMER_TIMEOUT /)
    await blocker.query('UNLOCK TABLES')
    await eventually(async () => (await ask().catch(() => [])).length === 1, { what: 'an answer' })
    await blocker.end()
    await end()
  })
}

test('asking for what is not there drives out nothing that is', async () => {
  const { streamer, warm, end } = await numbered('mysql', { cache: { maxBytes: 1 << 20 } })
  const one = id => streamer.query('SELECT v FROM t WHERE id = ?', [id])
  await warm(() => one(1))
  for (let id = 0; id < 200; id++) await one(id)
  const entries = () => streamer.cache.stats().entries
  const held = entries()
  const absent = Array.from({ length: 4000 }, (_, index) => 10_000 + index)
  for (let at = 0; at < absent.length; at += 200) await Promise.all(absent.slice(at, at + 200).map(one))
  assert.ok(entries() < held + 400, `${entries() - held} answers without rows are kept`)
  const { hits } = streamer.cache.stats()
  for (let id = 0; id < 200; id++) assert.deepEqual(await one(id), [{ v: `v${id}` }])
  assert.equal(streamer.cache.stats().hits, hits + 200)
  await end()
})
