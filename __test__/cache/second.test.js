'use strict'

// The second level: processes share answers in Redis, each judges them by its own log, and Redis may do what it likes.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { Streamer } = require('../..')
const { cacheServers } = require('../support/cache')
const { freePort } = require('../support/port')
const { connect } = require('../support/redis')
const { eventually, freshDatabase } = require('../support/servers')

const ROW = 'SELECT id, v, text FROM t WHERE id = ?'
const KEY = Buffer.alloc(32, 7).toString('base64')
const ROWS = 2000

const held = cacheServers(async ({ kit, servers }) => {
  servers.redis = await kit.redis()
})

/** A table, and streamers over it that share a Redis. @param {string} kind @param {object} [options] */
async function shared(kind, options = {}) {
  const database = await freshDatabase(held.servers[kind])
  const connection = await database.connect()
  await connection.query(
    'CREATE TABLE t (id INT PRIMARY KEY, v INT NOT NULL, text VARCHAR(40) CHARACTER SET utf8mb4)'
  )
  const rows = Array.from({ length: ROWS }, (_, id) => [id, 0, `text of ${id} é 東京`])
  await connection.query('INSERT INTO t VALUES ?', [rows])
  const redis = { url: held.servers.redis.url, prefix: `${database.name}:`, ...options }
  /** @type {any[]} */
  const streamers = []
  const open = async (more = {}) => {
    const streamer = new Streamer({
      source: { url: database.url },
      cache: { redis: { ...redis, ...more } },
      heartbeat: { intervalMs: 100, timeoutMs: 2000 },
    })
    streamers.push(streamer)
    const told = new Map()
    streamer.on('batch', batch => {
      for (const { after } of batch) if (after !== null) told.set(after.id, after.v)
    })
    await streamer.start()
    return { streamer, told, stats: () => streamer.cache.stats() }
  }
  const client = await connect(held.servers.redis.url)
  const end = async () => {
    await Promise.all(streamers.map(streamer => streamer.stop()))
    client.close()
    await connection.end()
  }
  const keys = async () => (await client.send('KEYS', `${database.name}:*`)).map(String)
  let next = 0
  /** Reads rows by the one until the other finds one in Redis; resolves with its id. */
  const warm = (one, other) =>
    eventually(
      async () => {
        const id = next++
        const { redisWrites } = one.stats()
        const read = await one.streamer.query(ROW, [id])
        // It may not come: the connection to Redis is still being made, or the place in the log is not known yet.
        await eventually(() => one.stats().redisWrites > redisWrites, { deadlineMs: 500 }).catch(() => {})
        const { redisHits } = other.stats()
        assert.deepEqual(await other.streamer.query(ROW, [id]), read)
        return other.stats().redisHits > redisHits ? { id } : false
      },
      { what: 'an answer from Redis' }
    )
  return { connection, open, client, keys, warm, end }
}

for (const kind of ['mysql', 'mariadb']) {
  test(`what one process has asked for, another finds in Redis, until it changes (${kind})`, async () => {
    const { connection, open, keys, warm, end } = await shared(kind)
    const [one, other] = [await open(), await open()]
    const { id } = await warm(one, other)
    assert.ok((await keys()).length > 0)
    const { loads } = other.stats()
    await other.streamer.query(ROW, [id])
    assert.equal(other.stats().loads, loads)
    for (let v = 1; v <= 20; v++) {
      await connection.query('UPDATE t SET v = ? WHERE id = ?', [v, id])
      await eventually(() => one.told.get(id) === v || other.told.get(id) === v, { what: 'the event' })
      for (const { streamer, told } of [one, other]) {
        const least = told.get(id) ?? 0
        const [row] = await streamer.query(ROW, [id])
        assert.ok(row.v >= least, `told of ${least}, given ${row.v}`)
      }
    }
    await eventually(() => one.told.get(id) === 20 && other.told.get(id) === 20, { what: 'the last event' })
    for (const { streamer } of [one, other]) assert.equal((await streamer.query(ROW, [id]))[0].v, 20)
    await end()
  })

  test(`a process that begins later does not believe what is older than its beginning (${kind})`, async () => {
    const { connection, open, keys, warm, end } = await shared(kind)
    const [one, other] = [await open(), await open()]
    const { id } = await warm(one, other)
    await Promise.all([one.streamer.stop(), other.streamer.stop()])
    await connection.query('UPDATE t SET v = 5')
    assert.ok((await keys()).length > 0)
    const late = await open()
    for (let asked = 0; asked <= id; asked++)
      assert.equal((await late.streamer.query(ROW, [asked]))[0].v, 5, `row ${asked}`)
    await eventually(
      async () => {
        // Not because Redis was not asked.
        await late.streamer.cache.clear()
        for (let asked = 0; asked <= id; asked++)
          assert.equal((await late.streamer.query(ROW, [asked]))[0].v, 5)
        return late.stats().redisMisses > 0 && late.stats().redisWrites > 0
      },
      { what: 'entries that were looked at and refused' }
    )
    await end()
  })

  test(`entries that were altered, swapped or of another kind are misses, counted, and dropped (${kind})`, async () => {
    for (const encryptionKey of [undefined, KEY]) {
      const { open, keys, client, warm, end } = await shared(kind, encryptionKey ? { encryptionKey } : {})
      const [one, other] = [await open(), await open()]
      await warm(one, other)
      const begin = ROWS / 2
      for (let id = begin; id < begin + 40; id++) {
        // Those of `warm` are there already: all 40 must be altered, each by itself.
        const { length } = await keys()
        await one.streamer.query(ROW, [id])
        await eventually(async () => (await keys()).length > length, { what: `row ${id} in Redis` })
      }
      const names = await keys()
      const values = await Promise.all(names.map(name => client.send('GET', name)))
      assert.equal(
        values.some(value => value.includes(Buffer.from('text of', 'utf16le'))),
        encryptionKey === undefined
      )
      for (const [index, name] of names.entries()) {
        const bytes = Buffer.from(values[index])
        const how = index % 4
        if (how === 0) bytes[(index * 37) % bytes.length] ^= 1 << (index % 8)
        const altered = [bytes, values[(index + 1) % values.length], bytes.subarray(0, index % bytes.length)][
          how
        ]
        await client.send('DEL', name)
        if (how === 3) await client.send('HSET', name, 'a', 'b')
        else await client.send('SET', name, altered)
      }
      const { redisHits } = other.stats()
      for (let id = begin; id < begin + 40; id++)
        assert.deepEqual(await other.streamer.query(ROW, [id]), [{ id, v: 0, text: `text of ${id} é 東京` }])
      const stats = other.stats()
      assert.equal(stats.redisHits, redisHits)
      assert.ok(stats.redisRefused >= 30, `${stats.redisRefused} were refused`)
      await end()
    }
  })

  test(`a Redis that is frozen or gone costs nobody more than a moment, and is used again afterwards (${kind})`, async t => {
    const { open, warm, end } = await shared(kind)
    const [one, other] = [await open(), await open()]
    await warm(one, other)
    let asked = 0
    for (const fault of ['pause', 'kill']) {
      const { redisFailures } = one.stats()
      await held.servers.redis[fault]()
      let worst = 0
      const began = performance.now()
      let reads = 0
      while (performance.now() - began < 1500) {
        const started = performance.now()
        // Each asks for something that nobody asked for before.
        await one.streamer.query('SELECT id FROM t WHERE id = ? AND v > ?', [1, -++asked])
        worst = Math.max(worst, performance.now() - started)
        reads++
      }
      t.diagnostic(`${fault}: ${reads} reads, the longest took ${Math.round(worst)} ms`)
      assert.ok(one.stats().redisFailures > redisFailures, 'Redis was not asked while it was away')
      assert.ok(reads > 20, `${reads} reads in 1.5 s`)
      if (fault === 'pause') await held.servers.redis.resume()
      else await held.servers.redis.restart()
      await warm(one, other)
    }
    await end()
  })
}

test('values are told apart by the key that they are encrypted with; those of wrap() are shared only with one', async () => {
  const { open, client, keys, warm, end } = await shared('mysql', { encryptionKey: KEY })
  const [one, other] = [await open(), await open()]
  await warm(one, other)
  const stranger = await open({ encryptionKey: Buffer.alloc(32, 8).toString('base64') })
  const plain = [await open({ encryptionKey: undefined }), await open({ encryptionKey: undefined })]
  await warm(plain[0], plain[1])
  let loads = 0
  const get = ({ streamer }, key) =>
    streamer.cache.wrap(
      key,
      async () => {
        loads++
        return { secret: 'hidden', at: new Date(5) }
      },
      { dependsOn: [{ table: 't', key: 1 }] }
    )
  const loadsOf = async (reader, key) => {
    const before = loads
    assert.deepEqual(await get(reader, key), { secret: 'hidden', at: new Date(5) })
    return loads - before
  }
  let n = 0
  await eventually(
    async () => {
      const key = `page:${n++}`
      const { redisWrites } = one.stats()
      assert.equal(await loadsOf(one, key), 1)
      await eventually(() => one.stats().redisWrites > redisWrites, { what: 'a write' })
      return (await loadsOf(other, key)) === 0
    },
    { what: 'a value that another process has loaded' }
  )
  assert.equal(await loadsOf(stranger, `page:${n - 1}`), 1)
  for (const value of await Promise.all((await keys()).map(key => client.send('GET', key))))
    assert.equal(value?.includes('hidden') ?? false, false)
  await loadsOf(plain[0], 'plain')
  assert.equal(await loadsOf(plain[1], 'plain'), 1)
  await end()
})

test('a Redis that takes only TLS with a certificate is shared, and one that is not trusted is left alone', async () => {
  const { tls } = await held.kit.mysql({ tls: true })
  assert.ok(tls)
  const port = await freePort()
  await held.kit.redis({
    own: true,
    args: [
      '--tls-port',
      `${port}`,
      '--tls-cert-file',
      tls.cert,
      '--tls-key-file',
      tls.key,
      '--tls-ca-cert-file',
      tls.ca,
    ],
  })
  const own = { ca: tls.ca, cert: tls.clientCert, key: tls.clientKey }
  const { open, warm, end } = await shared('mysql', { url: `rediss://localhost:${port}`, tls: own })
  const [one, other] = [await open(), await open()]
  await warm(one, other)
  // Without a certificate, and without the authority that the server's is of.
  for (const tls of [{ ca: own.ca }, {}]) {
    const stranger = await open({ tls })
    await eventually(
      async () => {
        assert.equal((await stranger.streamer.query(ROW, [1]))[0].id, 1)
        await stranger.streamer.cache.clear()
        return stranger.stats().redisFailures > 0
      },
      { what: 'a refusal' }
    )
    assert.equal(stranger.stats().redisHits, 0)
  }
  await end()
})

test('what the application says has changed is asked for again, whatever lies in Redis', async () => {
  const { open, warm, end } = await shared('mariadb')
  const [one, other] = [await open(), await open()]
  const { id } = await warm(one, other)
  const { redisHits, loads } = other.stats()
  await other.streamer.cache.invalidate({ table: 't', key: id })
  await other.streamer.query(ROW, [id])
  assert.deepEqual([other.stats().redisHits, other.stats().loads], [redisHits, loads + 1])
  await end()
})
