'use strict'

// Answers through views are kept like others: until a row of a table below changes, or the view is another one.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { Streamer } = require('../..')
const { cacheServers, warmed } = require('../support/cache')
const { eventually, freshDatabase } = require('../support/servers')

const held = cacheServers()

/** Tables, views over them, and a streamer that follows the tables only. @param {string} kind */
async function viewed(kind) {
  const database = await freshDatabase(held.servers[kind])
  const connection = await database.connect()
  for (const sql of [
    'CREATE TABLE t (id INT PRIMARY KEY, open INT NOT NULL, v INT NOT NULL)',
    'CREATE TABLE u (id INT PRIMARY KEY, v INT NOT NULL)',
    'CREATE TABLE mark (id INT PRIMARY KEY, n INT NOT NULL)',
    'INSERT INTO t VALUES (1, 1, 0), (2, 0, 0)',
    'INSERT INTO u VALUES (1, 1000), (2, 1000)',
    'INSERT INTO mark VALUES (1, 0)',
    'CREATE VIEW w AS SELECT id, v FROM t WHERE open = 1',
    'CREATE VIEW joined AS SELECT t.id, t.v AS left_v, u.v AS right_v FROM t JOIN u ON u.id = t.id',
    'CREATE VIEW nested AS SELECT id, left_v + right_v AS total FROM joined WHERE id IN (SELECT id FROM w)',
    'CREATE VIEW moment AS SELECT id, NOW() AS at FROM t',
  ])
    await connection.query(sql)
  const streamer = new Streamer({
    source: { url: database.url, tables: ['t', 'u', 'mark'].map(table => `${database.name}.${table}`) },
    cache: true,
    heartbeat: { intervalMs: 100, timeoutMs: 2000 },
  })
  let marked = 0
  const told = new Map()
  streamer.on('batch', batch => {
    for (const { table, after } of batch) {
      if (table === 'mark') marked = Math.max(marked, after.n)
      else if (after !== null) told.set(`${table}${after.id}`, after.v)
    }
  })
  await streamer.start()
  let marks = 0
  return {
    database,
    connection,
    streamer,
    /** Whatever was committed before has been told of. */
    async settled() {
      const mark = ++marks
      await connection.query('UPDATE mark SET n = ? WHERE id = 1', [mark])
      await eventually(() => marked >= mark, { what: 'the mark' })
    },
    /** @param {string} sql @param {unknown[]} [params] */
    rows: async (sql, params) => [...(await streamer.query(sql, params))].map(row => ({ ...row })),
    async end() {
      await streamer.stop()
      await connection.end()
    },
  }
}

for (const kind of ['mysql', 'mariadb']) {
  test(`rows of a view come from memory until a table below it changes (${kind})`, async () => {
    const { database, connection, streamer, settled, rows, end } = await viewed(kind)
    const explained = await streamer.cache.explain('SELECT * FROM nested')
    assert.equal(explained.cached, true)
    assert.deepEqual([...explained.dependsOn].sort(), [`${database.name}.t`, `${database.name}.u`])
    assert.match(
      String((await streamer.cache.explain('SELECT * FROM moment')).reason),
      /(now|current_timestamp)\(\)/i
    )
    await warmed(streamer, () => rows('SELECT v FROM w WHERE id = ?', [1]))
    await warmed(streamer, () => rows('SELECT total FROM nested'))
    const { hits } = streamer.cache.stats()
    await connection.query('UPDATE u SET v = 1001 WHERE id = 1')
    await settled()
    assert.deepEqual(await rows('SELECT v FROM w WHERE id = ?', [1]), [{ v: 0 }])
    assert.equal(streamer.cache.stats().hits, hits + 1)
    assert.deepEqual(await rows('SELECT total FROM nested'), [{ total: 1001 }])
    await connection.query('UPDATE t SET v = 5 WHERE id = 1')
    await settled()
    assert.deepEqual(await rows('SELECT v FROM w WHERE id = ?', [1]), [{ v: 5 }])
    assert.deepEqual(await rows('SELECT total FROM nested'), [{ total: 1006 }])
    await connection.query('UPDATE t SET open = 1 WHERE id = 2')
    await settled()
    assert.equal((await rows('SELECT total FROM nested')).length, 2)
    await end()
  })

  test(`a view that is another one is asked for anew, however it became so (${kind})`, async () => {
    const { connection, streamer, settled, rows, end } = await viewed(kind)
    const value = async () => (await rows('SELECT v FROM w WHERE id = 1'))[0]?.v
    const ofU = 'SELECT id, v FROM u'
    const ofT = 'SELECT id, v FROM t'
    const turns = [
      [[`CREATE OR REPLACE VIEW w AS ${ofU}`], 'u'],
      [[`ALTER ALGORITHM = MERGE VIEW w AS ${ofT}`], 't'],
      [['DROP VIEW w', `CREATE SQL SECURITY INVOKER VIEW w AS ${ofU}`], 'u'],
      [[`CREATE VIEW w_next AS ${ofT}`, 'RENAME TABLE w TO w_last, w_next TO w'], 't'],
      // Another one below it.
      [['CREATE VIEW below AS SELECT * FROM u', 'CREATE OR REPLACE VIEW w AS SELECT * FROM below'], 'u'],
      [['CREATE OR REPLACE VIEW below AS SELECT id, v FROM t'], 't'],
      // A table takes the place of the view.
      [['DROP VIEW w', 'CREATE TABLE w AS SELECT id, v FROM u'], 'u'],
    ]
    let v = 0
    for (const [statements, table] of turns) {
      await warmed(streamer, value).catch(error => {
        // A table that is not followed is not kept.
        if (table !== 'u') throw error
      })
      for (const sql of statements) await connection.query(sql)
      await settled()
      const [[shown]] = await connection.query(`SELECT v FROM ${table} WHERE id = 1`)
      assert.equal(await value(), shown.v, statements.join('; '))
      if (statements.some(sql => sql.startsWith('CREATE TABLE'))) break
      await connection.query(`UPDATE ${table} SET v = ? WHERE id = 1`, [++v])
      await settled()
      assert.equal(await value(), v, `a change of ${table} after ${statements.join('; ')}`)
    }
    await connection.query('DROP TABLE w')
    await settled()
    await assert.rejects(value(), /doesn't exist/)
    await end()
  })

  test(`while a view goes back and forth no read shows what was before (${kind})`, async () => {
    const { connection, streamer, settled, rows, end } = await viewed(kind)
    const value = async () => (await rows('SELECT v FROM w WHERE id = 1'))[0].v
    let isOver = false
    let reads = 0
    const readers = Array.from({ length: 4 }, async () => {
      while (!isOver) {
        await value()
        reads++
        // What memory answers does not wait for anything.
        await new Promise(resolve => setImmediate(resolve))
      }
    })
    try {
      for (let turn = 1; turn <= 60; turn++) {
        const table = turn % 2 === 0 ? 't' : 'u'
        await connection.query(`CREATE OR REPLACE VIEW w AS SELECT id, v FROM ${table}`)
        await connection.query(`UPDATE ${table} SET v = ? WHERE id = 1`, [turn])
        await settled()
        assert.equal(await value(), turn)
      }
    } finally {
      isOver = true
    }
    await Promise.all(readers)
    assert.equal(await value(), 60)
    assert.ok(reads > 60, `${reads} reads`)
    await warmed(streamer, value)
    await end()
  })
}

test('a view whose definition is not shown to the user is not kept, and the reason says so', async () => {
  const { database, connection, end } = await viewed('mysql')
  const user = `viewer_${database.name}`
  await connection.query(`CREATE USER '${user}'@'%' IDENTIFIED BY 'seen'`)
  await connection.query(`GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '${user}'@'%'`)
  await connection.query(`GRANT SELECT ON \`${database.name}\`.* TO '${user}'@'%'`)
  const url = new URL(database.url)
  url.username = user
  url.password = 'seen'
  const streamer = new Streamer({ source: url.href, cache: true })
  await streamer.start()
  const { cached, reason } = await streamer.cache.explain('SELECT * FROM w')
  assert.equal(cached, false)
  assert.match(String(reason), /SHOW VIEW/)
  assert.equal((await streamer.query('SELECT * FROM w')).length, 1)
  await connection.query(`GRANT SHOW VIEW ON \`${database.name}\`.* TO '${user}'@'%'`)
  await streamer.stop()
  const granted = new Streamer({ source: url.href, cache: true })
  await granted.start()
  assert.equal((await granted.cache.explain('SELECT * FROM w')).cached, true)
  await granted.stop()
  await connection.query(`DROP USER '${user}'@'%'`)
  await end()
})
