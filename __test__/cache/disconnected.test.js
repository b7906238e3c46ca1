'use strict'

// What reads do while the source is not followed: the server is killed, or frozen.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { Streamer } = require('../..')
const { eventually, freshDatabase, openKit } = require('../support/servers')

const ROW = 'SELECT id, v FROM t WHERE id = ?'
const STALE = Symbol.for('ultimate-streaming.stale')

/** @type {Awaited<ReturnType<typeof openKit>>} */
let kit
/** @type {any} */
let server
before(async () => {
  kit = await openKit()
  server = await kit.mariadb({ own: true })
})
after(() => kit?.close())

/** A streamer that has one row in memory. @param {'bypass' | 'stale' | 'refuse'} whenDisconnected */
async function warm(whenDisconnected) {
  const database = await freshDatabase(server)
  const connection = await database.connect()
  await connection.query('CREATE TABLE t (id INT PRIMARY KEY, v INT NOT NULL)')
  await connection.query('INSERT INTO t VALUES (1, 1)')
  await connection.end()
  const streamer = new Streamer({
    source: database.url,
    cache: { whenDisconnected },
    heartbeat: { intervalMs: 100, timeoutMs: 500 },
    reconnect: { initialMs: 20, maxMs: 200 },
  })
  streamer.on('error', () => {})
  await streamer.start()
  await eventually(
    async () => {
      const { hits } = streamer.cache.stats()
      await streamer.query(ROW, [1])
      return streamer.cache.stats().hits > hits
    },
    { what: 'a hit' }
  )
  return { database, streamer }
}

/** @param {any} database */
async function change(database) {
  const connection = await database.connect()
  await connection.query('UPDATE t SET v = v + 1')
  await connection.end()
}

for (const [fault, heal] of [
  ['kill', 'restart'],
  ['pause', 'resume'],
]) {
  test(`'stale' answers from memory, marked and counted, until the source is followed again (${fault})`, async () => {
    const { database, streamer } = await warm('stale')
    assert.equal((await streamer.query(ROW, [1]))[STALE], undefined)
    await server[fault]()
    const rows = await eventually(
      async () => {
        const rows = await streamer.query(ROW, [1])
        return rows[STALE] && rows
      },
      { what: 'a marked answer' }
    )
    assert.deepEqual([...rows], [{ id: 1, v: 1 }])
    assert.ok(streamer.cache.stats().stale > 0)
    await server[heal]()
    await change(database)
    await eventually(
      async () => {
        const rows = await streamer.query(ROW, [1]).catch(() => [])
        return rows[0]?.v === 2 && rows[STALE] === undefined
      },
      { what: 'the new row' }
    )
    await streamer.stop()
  })

  test(`'refuse' rejects, until the source is followed again (${fault})`, async () => {
    const { streamer } = await warm('refuse')
    await server[fault]()
    await eventually(
      () =>
        streamer.query(ROW, [1]).then(
          () => false,
          error => error.code === 'ERR_STREAMER_CONNECTION_LOST'
        ),
      { what: 'a refusal' }
    )
    await server[heal]()
    await eventually(async () => (await streamer.query(ROW, [1]))[0].v === 1, { what: 'an answer' })
    await streamer.stop()
  })

  test(`'bypass' asks the database, whatever is in memory (${fault})`, async () => {
    const { database, streamer } = await warm('bypass')
    await server[fault]()
    const { bypassed } = streamer.cache.stats()
    /** @type {Promise<any>[]} */
    const asked = []
    await eventually(
      () => {
        asked.push(streamer.query(ROW, [1]).catch(() => []))
        return streamer.cache.stats().bypassed > bypassed
      },
      { what: 'a read that asks the database' }
    )
    await server[heal]()
    await Promise.all(asked)
    await change(database)
    await eventually(async () => (await streamer.query(ROW, [1]))[0].v === 2, { what: 'the new row' })
    await streamer.stop()
  })
}
