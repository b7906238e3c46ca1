'use strict'

// Cached reads of SQLite: what is kept, what drops it, who shares, and that nothing stale is ever given.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const v8 = require('node:v8')
const vm = require('node:vm')
const { Streamer } = require('../..')
const { eventually } = require('../support/servers')
const { freshSqlite } = require('../support/sqlite')

/** A streamer with a cache over a new database. @param {string} sql @param {object} [source] */
async function cached(sql, source = {}) {
  const database = await freshSqlite(sql)
  const streamer = new Streamer({
    source: { url: database.url, ...source },
    cache: {},
    heartbeat: { intervalMs: 100, timeoutMs: 5000 },
  })
  await streamer.start()
  const end = async () => {
    await streamer.stop()
    await database.drop()
  }
  return { database, streamer, end }
}

const isHit = async (streamer, ask) => {
  const { hits } = streamer.cache.stats()
  await ask()
  return streamer.cache.stats().hits === hits + 1
}

/** Counts changes as they are delivered. @param {Streamer} streamer */
function counter(streamer) {
  const seen = { count: 0 }
  streamer.on('change', () => seen.count++)
  return { until: count => eventually(() => seen.count >= count, { what: `${count} events` }) }
}

test('an answer is kept until a row that it was made from changes', async () => {
  const { database, streamer, end } = await cached(
    "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y');"
  )
  const one = () => streamer.query('SELECT v FROM t WHERE id = ?', [1])
  const all = () => streamer.query('SELECT count(*) AS n FROM t')
  await eventually(() => isHit(streamer, one), { what: 'a hit' })
  await eventually(() => isHit(streamer, all), { what: 'a hit' })
  const seen = counter(streamer)
  await database.run("UPDATE t SET v = 'z' WHERE id = 2")
  await seen.until(1)
  assert.equal(await isHit(streamer, one), true)
  assert.equal(await isHit(streamer, all), false)
  await database.run("UPDATE t SET v = 'w' WHERE id = 1")
  await seen.until(2)
  assert.deepEqual(await one(), [{ v: 'w' }])
  await database.run("REPLACE INTO t VALUES (1, 'r')")
  await seen.until(4)
  assert.deepEqual(await one(), [{ v: 'r' }])
  await database.run('DROP TABLE t')
  await seen.until(5)
  await assert.rejects(one(), { code: 'ERR_STREAMER_SERVER_REFUSED' })
  await end()
})

test('1000 callers who miss the same thing share one query, and get rows of their own', async () => {
  const { streamer, end } = await cached(
    'CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 5);'
  )
  const ask = () => streamer.query('SELECT v FROM t WHERE id = ?', [1])
  await eventually(() => isHit(streamer, ask), { what: 'a hit' })
  await streamer.cache.clear()
  const { loads } = streamer.cache.stats()
  const answers = await Promise.all(Array.from({ length: 1000 }, ask))
  assert.equal(streamer.cache.stats().loads - loads, 1)
  assert.ok(answers.every(([row]) => row.v === 5))
  answers[0][0].v = 6
  assert.deepEqual(await ask(), [{ v: 5 }])
  await end()
})

test('values are those of the stream', async () => {
  const { database, streamer, end } = await cached('CREATE TABLE t(id INTEGER PRIMARY KEY, v)')
  const changes = []
  streamer.on('change', change => changes.push(change))
  const literals = ['NULL', '1', '9223372036854775807', '0.1', '9e999', '-9e999', "'ü😀'", "x'00ff'", "x''"]
  await database.run(literals.map(literal => `INSERT INTO t(v) VALUES (${literal});`).join(''))
  await eventually(() => changes.length === literals.length, { what: 'the events' })
  const ask = () => streamer.query('SELECT * FROM t ORDER BY id')
  const stream = changes.map(change => change.after)
  assert.deepEqual(await ask(), stream)
  await eventually(() => isHit(streamer, ask), { what: 'a hit' })
  assert.deepEqual(await ask(), stream)
  await end()
})

test('what may change unseen is never kept, and explain says why', async () => {
  const { streamer, end } = await cached(
    `CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE secret(v); CREATE VIEW w AS SELECT v FROM t;
     CREATE TABLE folded(v); CREATE UNIQUE INDEX folded_v ON folded(lower(v)); INSERT INTO t VALUES (1, 1);`,
    { tables: ['t', 'folded'] }
  )
  const refused = [
    ['SELECT random() AS n FROM t', /random\(\)/],
    ["SELECT datetime('now') AS n FROM t", /datetime\(\)/],
    ['SELECT CURRENT_TIMESTAMP AS n FROM t', /current_timestamp/],
    ['SELECT changes() AS n FROM t', /changes\(\)/],
    ['SELECT v FROM w', /view/],
    ['SELECT v FROM secret', /not followed/],
    ['SELECT v FROM folded', /unique index/],
    ['SELECT name FROM sqlite_schema', /not a table/],
    ['SELECT 1 AS one', /no table/],
  ]
  for (const [sql, reason] of refused) {
    await streamer.query(sql)
    assert.equal(await isHit(streamer, () => streamer.query(sql)), false, sql)
    const why = await streamer.cache.explain(sql)
    assert.equal(why.cached, false, sql)
    assert.match(why.reason, reason)
  }
  assert.deepEqual(await streamer.cache.explain('SELECT v FROM t WHERE id = 1 AND v = 2'), {
    cached: true,
    dependsOn: ['main.t'],
    columns: ['main.t.id'],
  })
  const nested = 'WITH c AS (SELECT id FROM t) SELECT upper(x.v) AS v FROM c JOIN t AS x ON x.id = c.id'
  assert.deepEqual((await streamer.cache.explain(nested)).dependsOn, ['main.t'])
  await end()
})

test('execute() gives a position that query({ after }) waits for, in another process too', async () => {
  const { database, streamer, end } = await cached('CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v)')
  const other = new Streamer({ source: database.url })
  for (let v = 1; v <= 10; v++) {
    const done = await streamer.execute('INSERT INTO t(v) VALUES (?)', [v])
    assert.deepEqual([done.affectedRows, done.insertId], [1, v])
    for (const reader of [streamer, other]) {
      const [{ n }] = await reader.query('SELECT count(*) AS n FROM t', [], { after: done.position })
      assert.equal(n, v)
    }
  }
  assert.equal((await streamer.execute('UPDATE t SET v = 0 WHERE id > 4')).affectedRows, 6)
  await eventually(() => streamer.position() !== null, { what: 'a position' })
  await other.query('SELECT v FROM t', [], { after: streamer.position() })
  const strangers = await freshSqlite('CREATE TABLE t(id INTEGER PRIMARY KEY)')
  const stranger = new Streamer({ source: strangers.url })
  await stranger.start()
  const { position } = await stranger.execute('INSERT INTO t VALUES (1)')
  await assert.rejects(streamer.query('SELECT v FROM t', [], { after: position }), {
    code: 'ERR_STREAMER_POSITION_INVALID',
  })
  await stranger.stop()
  await strangers.drop()
  await other.stop()
  await end()
})

test('query() reads only, one statement, and integers that SQLite can hold', async () => {
  const { streamer, end } = await cached('CREATE TABLE t(id INTEGER PRIMARY KEY, v)')
  for (const sql of [
    'DELETE FROM t',
    'PRAGMA journal_mode = DELETE',
    "ATTACH ':memory:' AS m",
    'CREATE TABLE u(a)',
  ])
    await assert.rejects(
      streamer.query(sql),
      { code: 'ERR_STREAMER_SERVER_REFUSED', message: /only read/ },
      sql
    )
  await assert.rejects(streamer.query('SELECT 1; SELECT 2'), { code: 'ERR_STREAMER_SERVER_REFUSED' })
  await assert.rejects(streamer.query('SELECT ? AS v'), { code: 'ERR_STREAMER_ARGUMENT_INVALID' })
  await assert.rejects(streamer.query('SELECT ? AS v', [2n ** 63n]), {
    code: 'ERR_STREAMER_ARGUMENT_INVALID',
  })
  await assert.rejects(streamer.find('t'), { code: 'ERR_STREAMER_ARGUMENT_INVALID', message: /query\(\)/ })
  assert.deepEqual(await streamer.query('SELECT ? AS v', [2n ** 63n - 1n]), [{ v: 2n ** 63n - 1n }])
  await end()
})

test('queries that are given up end, and give their connections back', async () => {
  const { streamer, end } = await cached('CREATE TABLE t(id INTEGER PRIMARY KEY)')
  const endless =
    'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) AS c FROM n'
  // More than there are connections.
  for (let round = 0; round < 3; round++) {
    const leaving = new AbortController()
    const asked = Array.from({ length: 4 }, () =>
      streamer.query(endless, [], { signal: leaving.signal, cache: false })
    )
    const given = Promise.allSettled(asked)
    leaving.abort(new Error('enough'))
    for (const { status, reason } of await given)
      assert.deepEqual([status, reason.message], ['rejected', 'enough'])
  }
  assert.deepEqual(await streamer.query('SELECT 1 AS one'), [{ one: 1 }])
  await end()
})

test('wrap() keeps a value until its row changes, and invalidate() drops it', async () => {
  const { database, streamer, end } = await cached(
    'CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 1), (2, 2);'
  )
  let loads = 0
  const get = () =>
    streamer.cache.wrap(
      'one',
      async () => {
        loads++
        return (await streamer.query('SELECT v FROM t WHERE id = 1'))[0]
      },
      { dependsOn: [{ table: 't', key: 1 }] }
    )
  const isKept = async () => {
    const before = loads
    await get()
    return loads === before
  }
  await eventually(isKept, { what: 'a kept value' })
  const seen = counter(streamer)
  await database.run('UPDATE t SET v = 7 WHERE id = 2')
  await seen.until(1)
  assert.equal(await isKept(), true)
  await database.run('UPDATE t SET v = 8 WHERE id = 1')
  await seen.until(2)
  assert.deepEqual(await get(), { v: 8 })
  assert.equal(await isKept(), true)
  await streamer.cache.invalidate({ table: 't', key: 2 })
  assert.equal(await isKept(), true)
  await streamer.cache.invalidate({ table: 't', key: 1 })
  assert.equal(await isKept(), false)
  await assert.rejects(
    streamer.cache.wrap('none', () => 1, { dependsOn: [{ table: 'missing' }] }),
    { code: 'ERR_STREAMER_ARGUMENT_INVALID' }
  )
  await end()
})

test('sixteen writers, then silence: no read is older than its event, and no entry stays stale', async () => {
  const KEYS = 3000
  const rows = Array.from({ length: KEYS }, (_, id) => `(${id}, 0)`).join()
  const { database, streamer, end } = await cached(
    `CREATE TABLE t(id INTEGER PRIMARY KEY, v INTEGER); INSERT INTO t VALUES ${rows};`
  )
  const told = new Map()
  const failures = []
  let reads = 0
  let writes = 0
  const ask = async id => {
    const least = told.get(id) ?? 0
    const [row] = await streamer.query('SELECT id, v FROM t WHERE id = ?', [id])
    reads++
    if (row.v < least) failures.push(`key ${id}: told of ${least}, given ${row.v}`)
  }
  // Every key is kept before the first is written.
  for (let from = 0; from < KEYS; from += 50)
    await Promise.all(Array.from({ length: 50 }, (_, n) => ask(from + n)))
  streamer.on('batch', batch => {
    for (const { after } of batch) told.set(after.id, Math.max(told.get(after.id) ?? 0, after.v))
    for (const { after } of batch) ask(after.id).catch(error => failures.push(String(error)))
  })
  const until = Date.now() + 5000
  const write = async writer => {
    while (Date.now() < until || writes < 200) {
      await writer.run(`UPDATE t SET v = v + 1 WHERE id = ${Math.floor(Math.random() * KEYS)}`)
      writes++
    }
  }
  await Promise.all(Array.from({ length: 16 }, () => write(database.writer())))
  await eventually(
    async () => {
      const [{ total }] = await database.query('SELECT sum(v) AS total FROM t')
      return total === [...told.values()].reduce((sum, v) => sum + v, 0)
    },
    { what: 'every change to be delivered' }
  )
  let stale = 0
  for (const { id, v } of await database.query('SELECT id, v FROM t'))
    if ((await streamer.query('SELECT id, v FROM t WHERE id = ?', [id]))[0].v !== v) stale++
  console.log('sqlite', { reads, writes, stale, failures: failures.length, ...streamer.cache.stats() })
  assert.deepEqual(failures.slice(0, 5), [])
  assert.equal(stale, 0)
  assert.ok(writes >= 200 && reads >= KEYS + 200, `${writes} writes and ${reads} reads are too few`)
  await end()
})

test('hits of every size are read whole, and none is overwritten by the next', async () => {
  const { streamer, end } = await cached(
    `CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT, b BLOB);
     WITH RECURSIVE n(id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM n WHERE id < 10)
     INSERT INTO t SELECT id, printf('%.*c', 1 << (id * 2), char(97 + id)) || '€', zeroblob(id) FROM n;`
  )
  const ask = id => streamer.query('SELECT * FROM t WHERE id = ?', [id])
  const expected = id => [{ id, v: `${String.fromCharCode(97 + id).repeat(4 ** id)}€`, b: Buffer.alloc(id) }]
  const ids = Array.from({ length: 11 }, (_, id) => id)
  await eventually(() => isHit(streamer, () => ask(0)), { what: 'a hit' })
  for (const id of ids) await ask(id)
  const { hits } = streamer.cache.stats()
  // The last has 1 MB, the first a few bytes: both ways.
  for (const id of [...ids, ...ids.toReversed()]) assert.deepEqual(await ask(id), expected(id))
  const together = await Promise.all(ids.map(ask))
  assert.deepEqual(together, ids.map(expected))
  assert.equal(streamer.cache.stats().hits, hits + 33)
  await end()
})

test('bytes in a value of the application stay what they are when other values are read', async () => {
  const { streamer, end } = await cached('CREATE TABLE t(id INTEGER PRIMARY KEY, v);')
  await eventually(() => isHit(streamer, () => streamer.query('SELECT * FROM t')), { what: 'a hit' })
  const wrap = (key, fill, size) =>
    streamer.cache.wrap(key, async () => ({ bytes: Buffer.alloc(size, fill) }), {
      dependsOn: [{ table: 't' }],
    })
  for (const size of [10, 20_000, 800_000]) {
    await wrap(`one ${size}`, 1, size)
    await wrap(`two ${size}`, 2, size)
    const { hits } = streamer.cache.stats()
    const one = await wrap(`one ${size}`, 3, size)
    const two = await wrap(`two ${size}`, 3, size)
    assert.deepEqual([one, two], [{ bytes: Buffer.alloc(size, 1) }, { bytes: Buffer.alloc(size, 2) }])
    one.bytes.fill(9)
    assert.deepEqual(await wrap(`one ${size}`, 3, size), { bytes: Buffer.alloc(size, 1) })
    assert.equal(streamer.cache.stats().hits, hits + 3)
  }
  await end()
})

test('a read that is made while the parameters of another are read disturbs neither', async () => {
  const { streamer, end } = await cached(
    `CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);
     INSERT INTO t VALUES (1, 'one'), (2, printf('%.*c', 200000, 'z'));`
  )
  const ask = params => streamer.query('SELECT v FROM t WHERE id = ?', params)
  await eventually(() => isHit(streamer, () => ask([1])), { what: 'a hit' })
  await ask([2])
  let inner
  const reads = () => ((inner ??= ask([2])), 1)
  const mapped = Object.assign([1], {
    map: () => Object.defineProperty([], 0, { enumerable: true, get: reads }),
  })
  const getter = Object.defineProperty([], 0, { enumerable: true, get: reads })
  for (const params of [mapped, getter]) assert.deepEqual(await ask(params), [{ v: 'one' }])
  assert.deepEqual(await inner, [{ v: 'z'.repeat(200_000) }])
  assert.deepEqual(await ask([undefined]), [])
  assert.deepEqual(await ask(new Array(1)), [])
  await assert.rejects(ask([new Proxy(Buffer.from('a'), {})]), { code: 'ERR_STREAMER_ARGUMENT_INVALID' })
  await assert.rejects(ask([{}]), { code: 'ERR_STREAMER_ARGUMENT_INVALID' })
  for (const source of [5, null, {}])
    await assert.rejects(streamer.query('SELECT 1', [], { source }), {
      code: 'ERR_STREAMER_ARGUMENT_INVALID',
    })
  await end()
})

test('rows of the same columns have one hidden class, kept or not', async () => {
  const { streamer, end } = await cached(
    'CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 2);'
  )
  const ask = cache => streamer.query('SELECT id, v FROM t', [], { cache })
  await eventually(() => isHit(streamer, () => ask(true)), { what: 'a hit' })
  const rows = [await ask(true), await ask(false), await ask(false)].flat()
  v8.setFlagsFromString('--allow-natives-syntax')
  const isSame = vm.runInThisContext('(one, other) => %HaveSameMap(one, other)')
  assert.ok(rows.every(row => isSame(row, rows[0])))
  v8.setFlagsFromString('--no-allow-natives-syntax')
  await end()
})

test('what a value depends on is looked at each time, also where memory answers', async () => {
  const { streamer, end } = await cached('CREATE TABLE t(id INTEGER PRIMARY KEY, v);')
  await eventually(() => isHit(streamer, () => streamer.query('SELECT * FROM t')), { what: 'a hit' })
  const wrap = dependsOn => streamer.cache.wrap('key', async () => 1, { dependsOn })
  assert.equal(await wrap([{ table: 't' }]), 1)
  for (const wrong of [5, null, [{ tabel: 't' }], [null]])
    await assert.rejects(wrap(wrong), { code: 'ERR_STREAMER_ARGUMENT_INVALID' })
  await end()
})

for (const whenDisconnected of ['refuse', 'stale', 'bypass']) {
  test(`memory answers nothing as current once the streamer has stopped (${whenDisconnected})`, async () => {
    const database = await freshSqlite(
      'CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 1);'
    )
    const streamer = new Streamer({ source: database.url, cache: { whenDisconnected } })
    const ask = () => streamer.query('SELECT v FROM t')
    await streamer.start()
    await eventually(() => isHit(streamer, ask), { what: 'a hit' })
    await streamer.stop()
    await database.run('UPDATE t SET v = 2')
    if (whenDisconnected === 'stale') {
      const rows = await ask()
      assert.equal(rows[Symbol.for('ultimate-streaming.stale')], true)
    } else {
      await assert.rejects(ask(), { code: 'ERR_STREAMER_CONNECTION_LOST' })
    }
    await database.drop()
  })
}
