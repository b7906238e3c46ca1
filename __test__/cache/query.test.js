'use strict'

// Queries through the cache: what is kept, what drops it, who shares, and that values are the stream's.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { Streamer } = require('../..')
const { cacheServers, selects } = require('../support/cache')
const { eventually, freshDatabase } = require('../support/servers')

const held = cacheServers()

const KINDS = ['mysql', 'mariadb']

/** @param {string} kind @param {string[]} statements @param {{ intervalMs: number, timeoutMs: number }} [heartbeat] */
async function cached(kind, statements, heartbeat = { intervalMs: 100, timeoutMs: 2000 }) {
  const database = await freshDatabase(held.servers[kind])
  const connection = await database.connect({ multipleStatements: true })
  for (const statement of statements) await connection.query(statement)
  const streamer = new Streamer({
    source: { url: database.url },
    cache: {},
    heartbeat,
  })
  await streamer.start()
  const end = async () => {
    await streamer.stop()
    await connection.end()
  }
  return { connection, streamer, end }
}

const isHit = async (streamer, ask) => {
  const { hits } = streamer.cache.stats()
  await ask()
  return streamer.cache.stats().hits === hits + 1
}

for (const kind of KINDS) {
  test(`an answer is kept until a row that it was made from changes (${kind})`, async () => {
    const { connection, streamer, end } = await cached(kind, [
      'CREATE TABLE t (id INT PRIMARY KEY, a INT, v VARCHAR(20))',
      "INSERT INTO t VALUES (1, 1, 'x'), (2, 1, 'y')",
    ])
    const one = () => streamer.query('SELECT v FROM t WHERE id = ?', [1])
    const all = () => streamer.query('SELECT COUNT(*) AS n FROM t')
    await eventually(() => isHit(streamer, one), { what: 'a hit' })
    await eventually(() => isHit(streamer, all), { what: 'a hit' })
    let seen = 0
    streamer.on('change', () => seen++)
    await connection.query("UPDATE t SET v = 'z' WHERE id = 2")
    await eventually(() => seen === 1, { what: 'the event' })
    assert.equal(await isHit(streamer, one), true)
    assert.equal(await isHit(streamer, all), false)
    await connection.query("UPDATE t SET v = 'w' WHERE id = 1")
    await eventually(() => seen === 2, { what: 'the event' })
    assert.deepEqual(await one(), [{ v: 'w' }])
    await connection.query('TRUNCATE t')
    await eventually(() => seen === 3, { what: 'the event' })
    assert.deepEqual(await one(), [])
    assert.deepEqual(await all(), [{ n: 0 }])
    await end()
  })

  test(`1000 callers who miss the same thing share one query, counted by the server (${kind})`, async () => {
    const { connection, streamer, end } = await cached(kind, [
      'CREATE TABLE t (id INT PRIMARY KEY, v INT)',
      'INSERT INTO t VALUES (1, 5)',
    ])
    const ask = () => streamer.query('SELECT v FROM t WHERE id = ?', [1])
    await eventually(() => isHit(streamer, ask), { what: 'a hit' })
    await streamer.cache.clear()
    await connection.query('DO 1')
    const loads = streamer.cache.stats().loads
    const answers = await Promise.all(Array.from({ length: 1000 }, ask))
    assert.equal(streamer.cache.stats().loads - loads, 1)
    assert.ok(answers.every(([row]) => row.v === 5))
    const before = await selects(connection)
    await Promise.all(Array.from({ length: 1000 }, ask))
    // The reader's own pulse asks now and then, too.
    const asked = (await selects(connection)) - before
    assert.ok(asked < 20, `the server ran ${asked} queries`)
    answers[0][0].v = 6
    assert.deepEqual(await ask(), [{ v: 5 }])
    await end()
  })

  test(`what is asked before the source is connected is answered while it connects (${kind})`, async () => {
    const database = await freshDatabase(held.servers[kind])
    const streamer = new Streamer({ source: database.url, cache: true })
    const asked = Array.from({ length: 5 }, (_, at) => streamer.query('SELECT SLEEP(1) AS s, ? AS at', [at]))
    const [rows] = await Promise.all([Promise.all(asked), streamer.start()])
    assert.deepEqual(
      rows.map(([row]) => Number(row.at)),
      [0, 1, 2, 3, 4]
    )
    await streamer.stop()
  })

  test(`values are those of the stream (${kind})`, async () => {
    const columns = `id INT PRIMARY KEY, i BIGINT, u BIGINT UNSIGNED, f FLOAT, d DOUBLE, n DECIMAL(20,4), s VARCHAR(20),
      b VARBINARY(8), e ENUM('a','b'), st SET('x','y'), y YEAR, da DATE, dt DATETIME(3), ts TIMESTAMP(6) NULL, ti TIME(2),
      bi BIT(9), j JSON, tx TEXT, bl BLOB, fixed BINARY(4)`
    const { connection, streamer, end } = await cached(kind, [`CREATE TABLE t (${columns})`])
    const changes = []
    streamer.on('change', change => changes.push(change))
    await connection.query("SET time_zone = '+03:00'")
    await connection.query(
      `INSERT INTO t VALUES (1, -9223372036854775808, 18446744073709551615, 1.1, 2.5, '12.3400', 'é😀', x'00ff', 'b', 'x,y', 2024,
        '2024-02-29', '2024-02-29 12:34:56.789', '2024-02-29 12:34:56.123456', '-12:34:56.78', b'100000001', '{"k": [1, null]}', 't',
        x'0102', x'0102')`
    )
    await connection.query('INSERT INTO t (id) VALUES (2)')
    await eventually(() => changes.length === 2, { what: 'both events' })
    const rows = await streamer.query('SELECT * FROM t ORDER BY id')
    assert.deepEqual(
      rows,
      changes.map(change => change.after)
    )
    assert.deepEqual(await streamer.query('SELECT * FROM t ORDER BY id'), rows)
    await end()
  })

  test(`what may change unseen is never kept, and explain says why (${kind})`, async () => {
    const { streamer, end } = await cached(kind, [
      'CREATE TABLE t (id INT PRIMARY KEY, v INT)',
      'INSERT INTO t VALUES (1, 1)',
    ])
    for (const sql of ['SELECT NOW(6) AS n FROM t', 'SELECT v FROM t FOR UPDATE', 'SELECT @x AS x FROM t']) {
      await streamer.query(sql)
      assert.equal(await isHit(streamer, () => streamer.query(sql)), false, sql)
      const why = await streamer.cache.explain(sql)
      assert.equal(why.cached, false)
      assert.ok(why.reason.length > 0)
    }
    await eventually(async () => (await streamer.cache.explain('SELECT v FROM t WHERE id = 1')).cached, {
      what: 'a plan',
    })
    await end()
  })

  test(`execute() gives a position that query({ after }) waits for (${kind})`, async () => {
    const { streamer, end } = await cached(kind, [
      'CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)',
    ])
    for (let v = 1; v <= 20; v++) {
      const done = await streamer.execute('INSERT INTO t (v) VALUES (?)', [v])
      assert.equal(done.affectedRows, 1)
      assert.equal(done.insertId, v)
      const [{ n }] = await streamer.query('SELECT COUNT(*) AS n FROM t', [], { after: done.position })
      assert.equal(n, v)
    }
    await assert.rejects(streamer.query('SELECT nonsense FROM t'), { code: 'ERR_STREAMER_SERVER_REFUSED' })
    await end()
  })

  test(`a position of a change inside a transaction counts for the whole of it (${kind})`, async () => {
    const { connection, streamer, end } = await cached(kind, ['CREATE TABLE t (id INT PRIMARY KEY)'])
    const changes = []
    streamer.on('change', change => changes.push(change))
    await connection.query('INSERT INTO t VALUES (1), (2), (3)')
    await eventually(() => changes.length === 3, { what: 'the events' })
    for (const { position } of changes) {
      const [{ n }] = await streamer.query('SELECT COUNT(*) AS n FROM t', [], { after: position })
      assert.equal(n, 3)
    }
    const other = kind === 'mysql' ? held.servers.mariadb : held.servers.mysql
    const elsewhere = new Streamer({ source: other.url })
    const { position } = await elsewhere.execute('CREATE DATABASE IF NOT EXISTS elsewhere')
    await assert.rejects(streamer.query('SELECT 1 AS one', [], { after: position }), {
      code: 'ERR_STREAMER_POSITION_INVALID',
    })
    await elsewhere.stop()
    await end()
  })

  test(`an answer is kept before the first heartbeat, and figures count it (${kind})`, async () => {
    const { connection, streamer, end } = await cached(
      kind,
      ['CREATE TABLE t (id INT PRIMARY KEY)', 'INSERT INTO t VALUES (1)'],
      { intervalMs: 60_000, timeoutMs: 180_000 }
    )
    const ask = () => streamer.query('SELECT id FROM t WHERE id = 1')
    await ask()
    assert.equal(await isHit(streamer, ask), true)
    const figure = name =>
      Number(
        new RegExp(`^streamer_cache_${name}{source="default"} (\\d+)$`, 'm').exec(streamer.metrics())?.[1]
      )
    assert.deepEqual([figure('hits_total'), figure('misses_total'), figure('entries')], [1, 1, 1])
    assert.ok(figure('bytes') > 0 && streamer.metrics().endsWith('# EOF\n'))
    await connection.query('DO 1')
    await end()
  })

  test(`wrap() loads once, keeps until its row changes, and gives copies (${kind})`, async () => {
    const { connection, streamer, end } = await cached(kind, [
      'CREATE TABLE t (id INT PRIMARY KEY, v INT)',
      'INSERT INTO t VALUES (1, 1), (2, 2)',
    ])
    let loads = 0
    let seen = 0
    streamer.on('change', () => seen++)
    const get = () =>
      streamer.cache.wrap(
        'one',
        async () => {
          loads++
          const [rows] = await connection.query('SELECT v FROM t WHERE id = 1')
          return { v: rows[0].v, at: new Date(0), big: 5n }
        },
        { dependsOn: [{ table: 't', key: 1 }] }
      )
    await eventually(
      async () => {
        const before = loads
        await get()
        return loads === before
      },
      { what: 'a kept value' }
    )
    await streamer.cache.invalidate('one')
    loads = 0
    const values = await Promise.all(Array.from({ length: 100 }, get))
    assert.equal(loads, 1)
    values[0].v = 9
    assert.deepEqual(await get(), { v: 1, at: new Date(0), big: 5n })
    await connection.query('UPDATE t SET v = 7 WHERE id = 2')
    await eventually(() => seen === 1, { what: 'the event' })
    await get()
    assert.equal(loads, 1)
    await connection.query('UPDATE t SET v = 7 WHERE id = 1')
    await eventually(() => seen === 2, { what: 'the event' })
    assert.equal((await get()).v, 7)
    await streamer.cache.invalidate({ table: 't' })
    await get()
    assert.equal(loads, 3)
    await end()
  })
}

test('without GTIDs a position is waited for by time (MySQL)', async () => {
  const server = await held.kit.mysql({ args: ['--gtid-mode=OFF', '--enforce-gtid-consistency=OFF'] })
  const database = await freshDatabase(server)
  const connection = await database.connect()
  await connection.query('CREATE TABLE t (id INT PRIMARY KEY)')
  const streamer = new Streamer({ source: database.url, cache: true })
  const changes = []
  streamer.on('change', change => changes.push(change))
  await streamer.start()
  await connection.query('INSERT INTO t VALUES (1)')
  await eventually(() => changes.length === 1, { what: 'the event' })
  assert.deepEqual(await streamer.query('SELECT id FROM t', [], { after: changes[0].position }), [{ id: 1 }])
  await streamer.stop()
  await connection.end()
  await server.stop()
})

test('a source is asked in its own language, and says so (MySQL)', async () => {
  const streamer = new Streamer('mysql://user:password@127.0.0.1:1/d')
  await assert.rejects(streamer.find('d.t'), { code: 'ERR_STREAMER_ARGUMENT_INVALID', message: /query\(\)/ })
  await streamer.stop()
})
