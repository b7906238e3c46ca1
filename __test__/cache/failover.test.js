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
    const pair = await replicated(kit, kind, 61)
    const { first, writer, replica } = pair
    await writer.query('CREATE TABLE shop.t (id INT PRIMARY KEY, v INT NOT NULL)')
    const { streamer, told, value } = await opened(pair.url)
    await streamer.execute('INSERT INTO t VALUES (1, 1)')
    await eventually(() => told.get(1) === 1, { what: 'the row' })
    await warmed(streamer, () => value(1))
    await eventually(async () => (await replica.query('SELECT v FROM shop.t'))[0].length === 1, {
      what: 'the replica to have the row',
    })
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
