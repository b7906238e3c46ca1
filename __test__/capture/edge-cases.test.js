'use strict'

// Edge cases that hurt users of other systems, as far as no other file shows them; docs/delivery.md lists all of them.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { setTimeout: sleep } = require('node:timers/promises')
const { collect } = require('../support/collect')
const { eventually, freshDatabase, openKit } = require('../support/servers')

const QUICK = { initialMs: 10, maxMs: 100 }

/** @type {import('../support/servers').Kit} */
let kit
before(async () => {
  kit = await openKit()
})
after(() => kit?.close())

/** @param {readonly any[]} changes */
const ids = changes => changes.map(change => change.after?.id)

test('edge case 3: GTIDs with holes, delivered out of order, are all delivered once (MySQL)', async () => {
  const server = await kit.mysql({ args: ['--gtid-mode=ON', '--enforce-gtid-consistency=ON'] })
  const database = await freshDatabase(server)
  const writer = await database.connect()
  await writer.query('CREATE TABLE t (id INT PRIMARY KEY)')
  const uuid = '11111111-2222-3333-4444-555555555555'
  const write = async number => {
    await writer.query(`SET gtid_next = '${uuid}:${number}'`)
    await writer.query('INSERT INTO t VALUES (?)', [number])
    await writer.query("SET gtid_next = 'AUTOMATIC'")
  }
  const first = await collect(database.url)
  for (const number of [1, 2, 3, 5, 9, 7]) await write(number)
  await first.until(() => first.changes.length === 6, 'six rows')
  assert.deepEqual(ids(first.changes), [1, 2, 3, 5, 9, 7])
  const { position } = first.changes[5]
  assert.match(position, new RegExp(`${uuid}:1-3:5:7:9`))
  await first.stop()
  for (const number of [4, 8, 10]) await write(number)
  const second = await collect({ url: database.url, from: position })
  await second.until(() => second.changes.length === 3, 'the holes')
  assert.deepEqual([ids(second.changes), second.gaps], [[4, 8, 10], []])
  await second.stop()
  await writer.end()
  await server.stop()
})

for (const kind of /** @type {const} */ (['mysql', 'mariadb'])) {
  test(`edge case 10: EXCHANGE PARTITION is a gap of both tables (${kind})`, async () => {
    const database = await freshDatabase(await kit[kind]())
    const writer = await database.connect()
    await writer.query(
      'CREATE TABLE parted (id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)'
    )
    await writer.query('CREATE TABLE plain (id INT PRIMARY KEY)')
    await writer.query('INSERT INTO parted VALUES (1), (20)')
    const seen = await collect(database.url)
    await writer.query('ALTER TABLE parted EXCHANGE PARTITION p0 WITH TABLE plain')
    await writer.query('INSERT INTO parted VALUES (2)')
    await seen.until(() => seen.changes.length === 1, 'the row behind it')
    assert.deepEqual(
      seen.gaps.flatMap(({ reason, tables }) => [reason, ...tables]).sort(),
      [`${database.name}.parted`, `${database.name}.plain`, 'undecodable', 'undecodable'].sort()
    )
    await seen.stop()
    await writer.end()
  })

  test(`edge case 19: a half-open link is noticed within the timeout, said, and mended (${kind})`, async () => {
    const server = await kit[kind]()
    const database = await freshDatabase(server)
    const writer = await database.connect()
    await writer.query('CREATE TABLE t (id INT PRIMARY KEY)')
    const proxy = await kit.proxy(server)
    const url = new URL(database.url)
    url.port = String(proxy.port)
    const seen = await collect({
      source: url.href,
      heartbeat: { intervalMs: 100, timeoutMs: 500 },
      reconnect: QUICK,
    })
    await writer.query('INSERT INTO t VALUES (1)')
    await seen.until(() => seen.changes.length === 1, 'the first row')
    const states = []
    seen.streamer.on('health', ({ status }) => states.push(status))
    await proxy.fault({ kind: 'blackhole' })
    await writer.query('INSERT INTO t VALUES (2)')
    await seen.until(() => seen.disconnects.length > 0, 'the silence to be noticed')
    assert.notEqual(seen.streamer.health().status, 'healthy')
    await eventually(() => states.some(status => status !== 'healthy'), { what: 'a health event' })
    assert.ok((await proxy.counters()).held > 0, 'the proxy swallowed bytes')
    const { freshUntil } = seen.streamer.health().sources.default
    await proxy.fault({ kind: 'heal' })
    await seen.until(() => seen.changes.length === 2, 'the row that was written meanwhile')
    await eventually(() => seen.streamer.health().status === 'healthy', { what: 'health to be back' })
    assert.ok(Number(seen.streamer.health().sources.default.freshUntil) > Number(freshUntil))
    assert.deepEqual([ids(seen.changes), seen.gaps], [[1, 2], []])
    await seen.stop()
    await writer.end()
  })

  test(`edge case 19: a reader slower than net_write_timeout keeps its connection (${kind})`, async () => {
    const server = await kit[kind]({ args: ['--net-write-timeout=1'] })
    const database = await freshDatabase(server)
    const writer = await database.connect()
    await writer.query('CREATE TABLE t (id INT PRIMARY KEY, text MEDIUMTEXT)')
    const seen = await collect({
      source: database.url,
      delivery: { bufferBytes: 64 << 10 },
      heartbeat: { intervalMs: 200, timeoutMs: 2000 },
      reconnect: QUICK,
    })
    const handled = []
    seen.streamer.consume(
      async batch => {
        // Longer than the server would wait for its socket by itself, and than the heartbeat timeout.
        if (handled.length === 0) await sleep(3000)
        handled.push(...ids(batch))
      },
      { batchSize: 10 }
    )
    const ROWS = 400
    for (let id = 0; id < ROWS; id++)
      await writer.query("INSERT INTO t VALUES (?, REPEAT('x', 100000))", [id])
    await eventually(() => handled.length === ROWS, { deadlineMs: 60_000, what: 'every row to be handled' })
    assert.deepEqual(
      handled,
      Array.from({ length: ROWS }, (_, id) => id)
    )
    assert.deepEqual([seen.disconnects, seen.gaps], [[], []])
    await seen.stop()
    await writer.end()
    await server.stop()
  })
}
