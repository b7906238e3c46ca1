'use strict'

// Starting, stopping, breaking and resuming against real servers.

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const { once } = require('node:events')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { Worker } = require('node:worker_threads')
const { Streamer } = require('../..')
const { freshDatabase, openKit } = require('../support/servers')
const { collect } = require('../support/collect')

const ROOT = path.join(__dirname, '../..')

/** @type {Awaited<ReturnType<typeof openKit>>} */
let kit
/** @type {Record<string, any>} */
const servers = {}
before(async () => {
  kit = await openKit()
  servers.mysql = await kit.mysql({ args: [] })
  servers.mariadb = await kit.mariadb({ args: [] })
})
after(() => kit?.close())

async function table(kind) {
  const database = await freshDatabase(servers[kind])
  const connection = await database.connect()
  await connection.query('CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(500))')
  return { database, connection }
}

/** Runs a script with the library and resolves with its exit code and output. */
async function run(script, args = []) {
  const child = spawn(process.execPath, ['-e', script, ...args], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  child.stdout.on('data', chunk => (output += chunk))
  child.stderr.on('data', chunk => (output += chunk))
  const [code] = await once(child, 'exit')
  return { code, output }
}

test('a write made after start() resolved is seen, every time', async () => {
  for (const kind of ['mysql', 'mariadb']) {
    const { database, connection } = await table(kind)
    for (let id = 0; id < 20; id++) {
      const seen = await collect({ url: database.url })
      await connection.query('INSERT INTO t VALUES (?, ?)', [id, 'v'])
      await seen.until(() => seen.changes.length >= 1, `row ${id}`)
      assert.equal(seen.changes[0].after.id, id)
      await seen.stop()
    }
    await connection.end()
  }
})

test('a streamer starts by itself with its first listener for changes', async () => {
  const { database, connection } = await table('mysql')
  const streamer = new Streamer(database.url)
  const changed = once(streamer, 'change')
  await once(streamer, 'ready')
  await connection.query("INSERT INTO t VALUES (1, 'v')")
  const [change] = await changed
  assert.deepEqual(change.after, { id: 1, v: 'v' })
  await streamer.stop()
  await connection.end()
})

test('a process that has stopped its streamers exits by itself, and one that never started too', async () => {
  const { database, connection } = await table('mysql')
  const stopped = await run(
    `const { Streamer } = require('.')
     const streamer = new Streamer(process.argv[1])
     streamer.start().then(() => streamer.stop()).then(() => console.log('stopped'))`,
    [database.url]
  )
  assert.deepEqual([stopped.code, stopped.output.trim()], [0, 'stopped'])
  const idle = await run(`const { Streamer } = require('.'); new Streamer(process.argv[1])`, [database.url])
  assert.deepEqual([idle.code, idle.output], [0, ''])
  const unrefed = await run(
    `const { Streamer } = require('.'); new Streamer(process.argv[1]).on('change', () => {}).unref()`,
    [database.url]
  )
  assert.deepEqual([unrefed.code, unrefed.output], [0, ''])
  await connection.end()
})

test('a listener that throws is an uncaught exception, and loses nothing of what follows', async () => {
  const { database, connection } = await table('mysql')
  const script = `
    const { Streamer } = require('.')
    let caught = 0, seen = []
    process.on('uncaughtException', error => { if (error.message === 'thrown') caught++; else throw error })
    const streamer = new Streamer(process.argv[1])
    streamer.on('change', change => { if (change.after.id === 1) throw new Error('thrown') })
    streamer.on('change', change => {
      seen.push(change.after.id)
      if (change.after.id === 3) streamer.stop().then(() => console.log(JSON.stringify({ caught, seen })))
    })
    streamer.start().then(() => console.log('started'))`
  const child = spawn(process.execPath, ['-e', script, database.url], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.on('data', chunk => (output += chunk))
  while (!output.includes('started')) await once(child.stdout, 'data')
  await connection.query("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')")
  const [code] = await once(child, 'exit')
  assert.equal(code, 0)
  assert.deepEqual(JSON.parse(output.split('\n')[1]), { caught: 1, seen: [1, 2, 3] })
  await connection.end()
})

test('stop() is idempotent, and start() after it is refused', async () => {
  const { database, connection } = await table('mysql')
  const seen = await collect({ url: database.url })
  await Promise.all([seen.streamer.stop(), seen.streamer.stop()])
  await seen.streamer.stop()
  assert.equal(seen.streamer.health().status, 'stopped')
  await assert.rejects(seen.streamer.start(), { code: 'ERR_STREAMER_STOPPED' })
  await connection.end()
})

test('many streamers live in one process', async () => {
  const { database, connection } = await table('mariadb')
  const all = await Promise.all(Array.from({ length: 10 }, () => collect({ url: database.url })))
  await connection.query("INSERT INTO t VALUES (1, 'v')")
  await Promise.all(all.map(seen => seen.until(() => seen.changes.length === 1, 'the row')))
  const ids = new Set(all.map(seen => seen.changes[0].id))
  assert.equal(ids.size, 1, 'the same change has the same id everywhere')
  await Promise.all(all.map(seen => seen.stop()))
  await connection.end()
})

test('several sources in one streamer', async () => {
  const first = await table('mysql')
  const second = await table('mariadb')
  const seen = await collect({ sources: { left: first.database.url, right: { url: second.database.url } } })
  await first.connection.query("INSERT INTO t VALUES (1, 'left')")
  await second.connection.query("INSERT INTO t VALUES (2, 'right')")
  await seen.until(() => seen.changes.length >= 2, 'both rows')
  const bySource = Object.fromEntries(seen.changes.map(change => [change.source, change.after.v]))
  assert.deepEqual(bySource, { left: 'left', right: 'right' })
  assert.deepEqual(Object.keys(seen.streamer.health().sources).sort(), ['left', 'right'])
  await seen.stop()
  await first.connection.end()
  await second.connection.end()
})

test('changes() hands out changes one by one and ends with an abort', async () => {
  const { database, connection } = await table('mysql')
  const streamer = new Streamer(database.url)
  await streamer.start()
  const leaving = new AbortController()
  const taken = []
  const loop = (async () => {
    for await (const change of streamer.changes({ tables: ['t'], ops: ['insert'], signal: leaving.signal })) {
      taken.push(change.after.id)
      if (taken.length === 500) leaving.abort(new Error('enough'))
    }
  })()
  const ended = assert.rejects(loop, /enough/)
  await connection.query('INSERT INTO t VALUES ?', [Array.from({ length: 500 }, (_, id) => [id, 'v'])])
  await ended
  assert.deepEqual(
    taken,
    Array.from({ length: 500 }, (_, id) => id)
  )
  await streamer.stop()
  await connection.end()
})

test('worker threads stream, and may be terminated in the middle', async () => {
  const { database, connection } = await table('mysql')
  const script = `
    const { parentPort, workerData } = require('node:worker_threads')
    const { Streamer } = require(${JSON.stringify(ROOT)})
    const streamer = new Streamer(workerData)
    streamer.on('change', change => parentPort.postMessage(change))
    streamer.start().then(() => parentPort.postMessage('ready'))`
  for (let turn = 0; turn < 5; turn++) {
    const worker = new Worker(script, { eval: true, workerData: database.url })
    const messages = []
    worker.on('message', message => messages.push(message))
    while (!messages.includes('ready')) await once(worker, 'message')
    await connection.query('REPLACE INTO t VALUES (?, ?)', [turn, 'from a worker'])
    while (messages.length < 2) await once(worker, 'message')
    assert.deepEqual(messages[1].after, { id: turn, v: 'from a worker' })
    const flood = connection.query('INSERT INTO t VALUES ?', [
      Array.from({ length: 2000 }, (_, i) => [1000 * (turn + 1) * 10 + i, 'flood']),
    ])
    await worker.terminate()
    // The next worker begins behind it.
    await flood
  }
  await connection.end()
})

for (const kind of ['mysql', 'mariadb']) {
  test(`a connection cut inside a large transaction loses and doubles nothing (${kind})`, async () => {
    const { database, connection } = await table(kind)
    const proxy = await kit.proxy(servers[kind])
    const url = database.url.replace(String(servers[kind].port), String(proxy.port))
    const seen = await collect({ source: url, reconnect: { initialMs: 10, maxMs: 50 } })
    const wanted = 50_000
    await proxy.fault({ kind: 'resetAfter', bytes: 1_000_000 })
    await connection.query('START TRANSACTION')
    for (let at = 0; at < wanted; at += 5000) {
      await connection.query('INSERT INTO t VALUES ?', [
        Array.from({ length: 5000 }, (_, i) => [at + i, 'x'.repeat(100)]),
      ])
    }
    await connection.query('COMMIT')
    await seen.until(() => seen.disconnects.length >= 1, 'the cut')
    await proxy.fault({ kind: 'heal' })
    await connection.query("INSERT INTO t VALUES (1000000, 'end')")
    await seen.until(() => seen.changes.at(-1)?.after?.id === 1_000_000, 'the last row')
    const counters = await proxy.counters()
    assert.ok(counters.resets >= 1, 'the cut was made')
    assert.equal(seen.changes.length, wanted + 1)
    seen.changes.slice(0, wanted).forEach((change, index) => {
      assert.equal(change.after.id, index)
      assert.equal(change.transaction.index, index)
      assert.equal(change.transaction.last, index === wanted - 1)
    })
    assert.deepEqual(seen.gaps, [])
    await seen.stop()
    await connection.end()
  })

  test(`a server that is killed and started again is followed without loss (${kind})`, async () => {
    const server = await kit[kind]({ args: ['--sync-binlog=1', '--innodb-flush-log-at-trx-commit=1'] })
    const database = await freshDatabase(server)
    let connection = await database.connect()
    await connection.query('CREATE TABLE t (id INT PRIMARY KEY)')
    const seen = await collect({ source: database.url, reconnect: { initialMs: 10, maxMs: 200 } })
    for (let id = 0; id < 20; id++) await connection.query('INSERT INTO t VALUES (?)', [id])
    connection.on('error', () => {})
    await server.kill()
    await seen.until(() => seen.disconnects.length >= 1, 'the loss of the server')
    assert.notEqual(seen.streamer.health().status, 'healthy')
    await server.restart()
    connection = await database.connect()
    const [rows] = await connection.query('SELECT id FROM t ORDER BY id')
    await connection.query('INSERT INTO t VALUES (1000)')
    await seen.until(() => seen.changes.at(-1)?.after?.id === 1000, 'the row after the restart')
    assert.deepEqual(
      seen.changes.map(change => change.after.id),
      [...rows.map(row => row.id), 1000]
    )
    await seen.until(() => seen.streamer.health().status === 'healthy', 'health after the restart')
    await seen.stop()
    await connection.end()
    await server.stop()
  })

  test(`a frozen server is noticed within the heartbeat timeout (${kind})`, async () => {
    const server = await kit[kind]({ args: [] })
    const seen = await collect({
      source: server.url,
      heartbeat: { intervalMs: 200, timeoutMs: 600 },
      reconnect: { initialMs: 10, maxMs: 100 },
    })
    await seen.until(() => seen.streamer.health().sources.default.freshUntil !== null, 'the first proof')
    await server.pause()
    await seen.until(() => seen.disconnects.length >= 1, 'the silence')
    assert.equal(seen.disconnects[0].error.code, 'ERR_STREAMER_CONNECTION_LOST')
    await server.resume()
    await seen.until(() => seen.streamer.health().status === 'healthy', 'the recovery')
    await seen.stop()
    await server.stop()
  })
}
