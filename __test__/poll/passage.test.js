'use strict'

// From polling over to the log, while a writer goes on.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { Streamer } = require('../..')
const { freshDatabase, openKit } = require('../support/servers')
const { inState, marked, poll, rebuilt } = require('../support/polling')

/** @type {Awaited<ReturnType<typeof openKit>>} */
let kit
before(async () => {
  kit = await openKit()
})
after(() => kit?.close())

const MONITOR = { mysql: 'REPLICATION CLIENT', mariadb: 'BINLOG MONITOR' }

/** Inserts and updates rows, one after the other, until it is told to stop; resolves with what the table must hold. */
function writer(database) {
  let isOver = false
  const done = (async () => {
    const connection = await database.connect()
    const rows = new Map()
    for (let n = 1; !isOver; n++) {
      try {
        await connection.query('INSERT INTO t (id, v) VALUES (?, ?)', [n, `new ${n}`])
        rows.set(n, `new ${n}`)
        const id = 1 + (n % 50)
        if (rows.has(id)) {
          await connection.query('UPDATE t SET v = ? WHERE id = ?', [`changed ${n}`, id])
          rows.set(id, `changed ${n}`)
        }
      } catch (error) {
        if (!isOver) throw error
      }
    }
    await connection.end()
    return rows
  })()
  return {
    stop() {
      isOver = true
      return done
    },
  }
}

function assertEqual(seen, rows) {
  const found = new Map([...rebuilt(seen.changes, 't').values()].map(({ id, v }) => [id, v]))
  for (const [id, v] of rows) assert.equal(found.get(id), v, `row ${id}`)
  assert.equal(found.size, rows.size)
}

for (const kind of ['mysql', 'mariadb']) {
  test(`when the grant is given the log takes over, and nothing is missed (${kind})`, async () => {
    const server = await kit[kind]({ own: true })
    const database = await freshDatabase(server)
    const admin = await database.connect()
    await admin.query("CREATE USER reader@'%' IDENTIFIED BY 'secret'")
    await admin.query("GRANT SELECT ON *.* TO reader@'%'")
    await admin.query(marked('t'))
    const seen = await poll(database.url.replace('root@', 'reader:secret@'), {}, { cache: true })
    assert.equal(seen.streamer.health().sources.default.state, 'polling')
    assert.match(seen.streamer.health().sources.default.lastError?.message ?? '', /^$|REPLICATION SLAVE/)
    const writing = writer(database)
    await seen.until(() => seen.changes.length > 100, 'polled changes')
    await admin.query(`GRANT REPLICATION SLAVE, ${MONITOR[kind]} ON *.* TO reader@'%'`)
    await inState(seen, 'streaming')
    await seen.until(
      () => seen.changes.filter(({ transaction }) => transaction !== null).length > 100,
      'changes of the log'
    )
    const rows = await writing.stop()
    await admin.query("INSERT INTO t (id, v) VALUES (0, 'last')")
    rows.set(0, 'last')
    await seen.until(() => seen.changes.some(({ key }) => key.id === 0), 'the last row')
    assertEqual(seen, rows)
    assert.deepEqual(seen.gaps, [])
    const first = seen.changes.findIndex(({ transaction }) => transaction !== null)
    assert.ok(
      seen.changes.slice(first).every(({ transaction }) => transaction !== null),
      'never back'
    )
    const explained = await seen.streamer.cache.explain('SELECT * FROM t WHERE id = 1')
    assert.ok(explained.cached, 'what the log tells of may be kept')
    await seen.stop()
    await admin.end()
    await server.remove()
  })
}

test('a snapshot of a source without a log begins with its rows, and is read when the log takes over', async () => {
  const server = await kit.mariadb({ own: true })
  const database = await freshDatabase(server)
  const admin = await database.connect()
  await admin.query("CREATE USER reader@'%' IDENTIFIED BY 'secret'")
  await admin.query("GRANT SELECT ON *.* TO reader@'%'")
  await admin.query(marked('t'))
  await admin.query("INSERT INTO t (id, v) VALUES (1, 'one'), (2, 'two')")
  const seen = await poll(database.url.replace('root@', 'reader:secret@'), { snapshot: 'initial' })
  await seen.until(() => rebuilt(seen.changes).size === 2, 'the rows, polled')
  assert.equal(seen.streamer.health().sources.default.state, 'polling')
  const asked = seen.streamer.snapshot(['t'])
  await admin.query(`GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO reader@'%'`)
  await asked
  const reads = seen.changes.filter(({ op }) => op === 'read').map(({ after }) => after.id)
  assert.deepEqual(reads, [1, 2, 1, 2], 'once for the configuration, once for the call')
  await seen.stop()
  await admin.end()
  await server.remove()
})

test('a server that is started again with a binlog is read through it, and a checkpoint of either kind is gone on from', async () => {
  const server = await kit.mariadb({ args: ['--skip-log-bin'], own: true })
  const database = await freshDatabase(server)
  const admin = await database.connect()
  await admin.query(marked('t'))
  const checkpoint = fs.mkdtempSync(path.join(os.tmpdir(), 'passage-'))
  const first = await poll(database.url, {}, { checkpoint })
  await admin.query("INSERT INTO t (id, v) VALUES (1, 'one')")
  await first.until(() => first.changes.length >= 1, 'the first row')
  await first.stop()
  await admin.query("INSERT INTO t (id, v) VALUES (2, 'two')")
  const second = await poll(database.url, {}, { checkpoint, reconnect: { initialMs: 10, maxMs: 100 } })
  await second.until(() => rebuilt(second.changes).has('{"id":2}'), 'what came while nobody read')
  await admin.end()
  await server.restart(['--log-bin'])
  await inState(second, 'streaming')
  const again = await database.connect()
  await again.query("INSERT INTO t (id, v) VALUES (3, 'three')")
  await second.until(
    () => second.changes.at(-1)?.key.id === 3 && second.changes.at(-1)?.transaction,
    'a change of the log'
  )
  await second.stop()
  await again.query("UPDATE t SET v = 'four' WHERE id = 3")
  const third = await poll(database.url, {}, { checkpoint })
  await third.until(
    () => third.changes.some(({ after }) => after.v === 'four'),
    'what came while nobody read'
  )
  assert.equal(third.streamer.health().sources.default.state, 'streaming')
  assert.equal(third.changes.at(-1)?.before?.v, 'three')
  await third.stop()
  // A place in a log is not gone on from by polling, which would skip what lies between.
  await again.end()
  await server.restart(['--skip-log-bin'])
  const fourth = new Streamer({ source: database.url, checkpoint })
  fourth.on('error', () => {})
  await assert.rejects(fourth.start(), { code: 'ERR_STREAMER_SERVER_SETTING_UNSUITABLE' })
  await fourth.stop()
  fs.rmSync(checkpoint, { recursive: true })
  await server.remove()
})

test('what is no question of the log ends the start as ever', async () => {
  const server = await kit.mariadb({ args: ['--skip-log-bin'], own: true })
  const refused = async (url, code) => {
    const streamer = new Streamer({ source: url, reconnect: { attempts: 0 } })
    streamer.on('error', () => {})
    await assert.rejects(streamer.start(), { code })
    await streamer.stop()
  }
  const database = await freshDatabase(server)
  await refused(database.url.replace('root@', 'root:wrong@'), 'ERR_STREAMER_AUTH_REJECTED')
  await refused('mysql://root@127.0.0.1:1/x', 'ERR_STREAMER_CONNECT_FAILED')
  await refused({ url: database.url, capture: 'log' }, 'ERR_STREAMER_SERVER_SETTING_UNSUITABLE')
  await refused({ url: database.url, tables: ['missing'] }, 'ERR_STREAMER_TABLE_UNKNOWN')
  await server.remove()
})
