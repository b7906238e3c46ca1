'use strict'

// Of several hosts, the one whose log is read is asked: queries, writes and the cache go with the reader, and nowhere else.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { Streamer } = require('../..')
const { warmed } = require('../support/cache')
const { replicated } = require('../support/replicas')
const { eventually, openKit } = require('../support/servers')

const ROW = 'SELECT id, v FROM t WHERE id = ?'
const OPTIONS = {
  cache: true,
  reconnect: { initialMs: 10, maxMs: 200 },
  heartbeat: { intervalMs: 100, timeoutMs: 2000 },
}

/** @type {import('../support/servers').Kit} */
let kit
before(async () => {
  kit = await openKit()
})
after(() => kit?.close())

/** A streamer that notes the newest value of each row that it was told of. @param {string} url */
async function opened(url) {
  const streamer = new Streamer({ source: url, ...OPTIONS })
  /** @type {Map<number, number>} */
  const told = new Map()
  streamer.on('batch', batch => {
    for (const { after } of batch) if (after !== null) told.set(Number(after.id), Number(after.v))
  })
  await streamer.start()
  const value = async id => /** @type {any} */ ((await streamer.query(ROW, [id]))[0])?.v
  return { streamer, told, value }
}

/** Two servers, and a streamer of both, which keeps the row that both have. @param {'mysql' | 'mariadb'} kind @param {number} id */
async function prepared(kind, id) {
  const pair = await replicated(kit, kind, id)
  await pair.writer.query('CREATE TABLE shop.t (id INT PRIMARY KEY, v INT NOT NULL)')
  const reader = await opened(pair.url)
  await reader.streamer.execute('INSERT INTO t VALUES (1, 1)')
  await eventually(() => reader.told.get(1) === 1, { what: 'the row' })
  await warmed(reader.streamer, () => reader.value(1))
  await eventually(async () => (await pair.replica.query('SELECT v FROM shop.t'))[0].length === 1, {
    what: 'the replica to have the row',
  })
  return { pair, ...reader }
}

for (const kind of /** @type {const} */ (['mysql', 'mariadb'])) {
  test(`queries, writes and the cache follow the reader to another host (${kind})`, async () => {
    const pair = await replicated(kit, kind, 51)
    const { first, writer, replica } = pair
    await writer.query('CREATE TABLE shop.t (id INT PRIMARY KEY, v INT NOT NULL)')
    const { streamer, told, value } = await opened(pair.url)
    const { position } = await streamer.execute('INSERT INTO t VALUES (1, 1), (2, 1)')
    await eventually(() => told.get(2) === 1, { what: 'the rows' })
    await warmed(streamer, () => value(1))
    assert.deepEqual(await streamer.query(ROW, [1], { after: position }), [{ id: 1, v: 1 }])
    // Values of the application come from connections of its own, of which nothing is known.
    for (let loads = 1; loads <= 2; loads++)
      assert.equal(
        await streamer.cache.wrap('own', async () => loads, { dependsOn: [{ table: 't' }] }),
        loads
      )

    // The first host lives on, with all its connections but the reader's, which is not let in again.
    await eventually(async () => (await replica.query('SELECT v FROM shop.t'))[0].length === 2, {
      what: 'the replica to have the rows',
    })
    await pair.promote()
    const [[{ account }]] = await writer.query('SELECT CURRENT_USER() AS account')
    await writer.query('SET SESSION sql_log_bin = 0')
    await writer.query(`ALTER USER '${account.replace('@', "'@'")}' ACCOUNT LOCK`)
    const [sessions] = await writer.query(
      "SELECT id AS session FROM information_schema.processlist WHERE user = 'root' AND command LIKE 'Binlog Dump%'"
    )
    for (const { session } of sessions) await writer.query(`KILL ${session}`)
    await replica.query('UPDATE shop.t SET v = 2 WHERE id = 1')
    await eventually(() => told.get(1) === 2, { what: 'an event of the second host' })
    assert.equal(await value(1), 2)
    await warmed(streamer, () => value(1))
    const written = await streamer.execute('UPDATE t SET v = 3 WHERE id = 1')
    assert.equal(written.affectedRows, 1)
    const [now] = await streamer.query(ROW, [1], { after: written.position })
    assert.equal(/** @type {any} */ (now).v, 3)
    assert.deepEqual((await replica.query('SELECT v FROM shop.t ORDER BY id'))[0], [{ v: 3 }, { v: 1 }])
    assert.deepEqual((await writer.query('SELECT v FROM shop.t ORDER BY id'))[0], [{ v: 1 }, { v: 1 }])
    for (let v = 4; v <= 20; v++) {
      await replica.query('UPDATE shop.t SET v = ? WHERE id = 1', [v])
      await eventually(() => told.get(1) === v, { what: 'the event' })
      assert.equal(await value(1), v)
    }
    await first.kill()
    assert.equal(await value(2), 1)
    await streamer.stop()
    await pair.end()
  })

  test(`a host that dies is left for the next one (${kind})`, async () => {
    const { pair, streamer, told, value } = await prepared(kind, 61)
    const { first, replica } = pair
    await first.kill()
    await pair.promote()
    await replica.query('UPDATE shop.t SET v = 2')
    await eventually(() => told.get(1) === 2, { what: 'an event of the second host' })
    assert.equal(await value(1), 2)
    await warmed(streamer, () => value(1))
    await streamer.stop()
    // A process that begins now finds the second host by itself.
    const late = await opened(pair.url)
    assert.equal(await late.value(1), 2)
    await warmed(late.streamer, () => late.value(1))
    await late.streamer.stop()
    await pair.end()
  })

  test(`a host that falls silent holds up nothing once another one is read (${kind})`, async () => {
    const { pair, streamer, told, value } = await prepared(kind, 81)
    const { first, replica } = pair
    await pair.promote()
    await first.pause()
    await streamer.cache.clear()
    let left = 0
    const outcomes = [
      ...Array.from({ length: 6 }, () => value(1)),
      streamer.query('SELECT NOW() AS at'),
      streamer.query('SELECT COUNT(*) AS n FROM t'),
      streamer.execute('UPDATE t SET v = 9'),
    ].map(outcome => {
      left++
      return outcome
        .then(
          () => 'answered',
          error => error.code
        )
        .finally(() => left--)
    })
    await replica.query('UPDATE shop.t SET v = 2')
    await eventually(() => told.get(1) === 2, { what: 'an event of the second host' })
    assert.equal(await value(1), 2)
    // Long before the 60 s that an answer may take.
    await eventually(() => left === 0, {
      deadlineMs: 20_000,
      what: 'the questions to the first host to be settled',
    })
    for (const outcome of await Promise.all(outcomes))
      assert.match(outcome, /answered|ERR_STREAMER_CONNECTION_LOST/)
    await warmed(streamer, () => value(1))
    await streamer.stop()
    await first.resume()
    await pair.end()
  })

  test(`connections that lead to another server prove nothing (${kind})`, async () => {
    const pair = await replicated(kit, kind, 91)
    const { first, second, writer, replica } = pair
    await writer.query('CREATE TABLE shop.t (id INT PRIMARY KEY, v INT NOT NULL)')
    await writer.query('INSERT INTO shop.t VALUES (1, 1)')
    await eventually(async () => (await replica.query('SELECT v FROM shop.t'))[0].length === 1, {
      what: 'the replica to have the row',
    })
    await pair.promote()
    const proxy = await kit.proxy(first)
    const { streamer, told, value } = await opened(`${proxy.url}/shop`)
    await warmed(streamer, () => value(1))
    await writer.query('UPDATE shop.t SET v = 2')
    await eventually(() => told.get(1) === 2, { what: 'the event' })
    await warmed(streamer, () => value(1))
    // New connections only, as behind a name with two addresses; that of the log stays.
    await proxy.lead(second)
    const ask = index => streamer.query('SELECT id, v FROM t WHERE v > ?', [-index])
    const rows = await Promise.all(Array.from({ length: 8 }, (_, index) => ask(index)))
    const foreign = rows.filter(([row]) => /** @type {any} */ (row).v === 1).length
    assert.ok(foreign > 0, 'no connection led to the other server: nothing was tested')
    assert.equal(await value(1), 2)
    const { hits } = streamer.cache.stats()
    for (let index = 0; index < 8; index++) if (/** @type {any} */ (rows[index][0]).v === 1) await ask(index)
    assert.equal(streamer.cache.stats().hits, hits, 'what another server said was kept')
    assert.ok(streamer.cache.stats().unproved >= foreign)
    await streamer.stop()
    await pair.end()
  })

  test(`stop() settles what is still asked, and nothing is asked afterwards (${kind})`, async () => {
    const pair = await replicated(kit, kind, 101)
    const { first, writer, replica } = pair
    await writer.query('CREATE TABLE shop.t (id INT PRIMARY KEY, v INT NOT NULL)')
    const { streamer, told, value } = await opened(pair.url)
    await streamer.execute('INSERT INTO t VALUES (1, 1)')
    await eventually(async () => (await replica.query('SELECT v FROM shop.t'))[0].length === 1, {
      what: 'the replica to have the row',
    })
    const slow = streamer.query('SELECT SLEEP(20) AS s')
    slow.catch(() => {})
    const running = "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(20)%'"
    await eventually(async () => (await writer.query(running))[0].length > 0, {
      what: 'the slow query to run',
    })
    // Nothing is asked between the reader's move and the stop.
    await first.pause()
    await pair.promote()
    await replica.query('UPDATE shop.t SET v = 2')
    await eventually(() => told.get(1) === 2, { what: 'an event of the second host' })
    const lost = { code: 'ERR_STREAMER_CONNECTION_LOST' }
    await assert.rejects(slow, lost)
    await streamer.stop()
    await assert.rejects(value(2), { ...lost, message: /closed/ })
    await assert.rejects(streamer.execute('UPDATE t SET v = 99'), { ...lost, message: /closed/ })
    assert.deepEqual((await replica.query('SELECT v FROM shop.t'))[0], [{ v: 2 }])
    // What runs at the stop is settled as well.
    const late = await opened(`${pair.second.url}/shop`)
    const asked = late.streamer.query('SELECT SLEEP(20) AS s')
    asked.catch(() => {})
    await eventually(async () => (await replica.query(running))[0].length > 0, {
      what: 'the slow query to run',
    })
    await late.streamer.stop()
    await assert.rejects(asked, { ...lost, message: /closed/ })
    await first.resume()
    await pair.end()
  })

  test(`a replica is waited for until it has the write that a position names (${kind})`, async () => {
    const pair = await replicated(kit, kind, 71)
    const { second, writer, replica } = pair
    await writer.query('CREATE TABLE shop.t (id INT PRIMARY KEY, v INT NOT NULL)')
    await eventually(() => replica.query('SELECT * FROM shop.t').catch(() => false), { what: 'the table' })
    const [there, here] = [await opened(pair.url), await opened(`${second.url}/shop`)]
    await replica.query(kind === 'mysql' ? 'STOP REPLICA SQL_THREAD' : 'STOP SLAVE SQL_THREAD')
    const { position } = await there.streamer.execute('INSERT INTO t VALUES (1, 1)')
    // Its own log goes on meanwhile.
    if (kind === 'mysql') await replica.query('CREATE DATABASE aside')
    const before = here.streamer.query(ROW, [1], { after: position })
    const settled = await Promise.race([
      before,
      here.streamer.query('SELECT SLEEP(0.3) AS s').then(() => 'still waiting'),
    ])
    assert.equal(settled, 'still waiting')
    await replica.query(kind === 'mysql' ? 'START REPLICA' : 'START SLAVE')
    assert.deepEqual(await before, [{ id: 1, v: 1 }])
    for (const { streamer } of [there, here]) await streamer.stop()
    await pair.end()
  })
}
