'use strict'

// A server dies and its replica takes its place: by GTID the reader goes on there; without, nothing is guessed.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { collect } = require('../support/collect')
const { replicated, root } = require('../support/replicas')
const { eventually, openKit } = require('../support/servers')

/** @type {import('../support/servers').Kit} */
let kit
before(async () => {
  kit = await openKit()
})
after(() => kit?.close())

const QUICK = { initialMs: 10, maxMs: 200 }

for (const kind of /** @type {const} */ (['mysql', 'mariadb'])) {
  test(`a reader goes on at the replica that took over (${kind})`, async () => {
    const pair = await replicated(kit, kind, 11)
    const { first, writer, replica } = pair
    await writer.query('CREATE TABLE shop.t (id INT PRIMARY KEY)')
    const rows = async connection => {
      const [[{ n }]] = await connection.query('SELECT COUNT(*) AS n FROM shop.t').catch(() => [[{ n: -1 }]])
      return Number(n)
    }
    const seen = await collect({ source: pair.url, reconnect: QUICK })
    for (let id = 1; id <= 20; id++) await writer.query('INSERT INTO shop.t VALUES (?)', [id])
    await eventually(async () => (await rows(replica)) === 20, { what: 'the replica to have all rows' })
    await first.kill()
    await pair.promote()
    for (let id = 21; id <= 40; id++) await replica.query('INSERT INTO shop.t VALUES (?)', [id])
    await seen.until(() => seen.changes.length >= 40, 'the rows of the new server')
    assert.deepEqual(
      seen.changes.map(change => change.after?.id),
      Array.from({ length: 40 }, (_, index) => index + 1)
    )
    assert.equal(new Set(seen.changes.map(change => change.id)).size, 40)
    assert.deepEqual(seen.gaps, [])
    await seen.stop()
    await pair.end()
  })
}

for (const kind of /** @type {const} */ (['mysql', 'mariadb'])) {
  test(`a replica that replicates no more vouches for nothing, and says why (${kind})`, async () => {
    const pair = await replicated(kit, kind, 31)
    const { second, writer, replica } = pair
    await writer.query('CREATE TABLE shop.t (id INT PRIMARY KEY)')
    await eventually(() => replica.query('SELECT * FROM shop.t').catch(() => false), { what: 'the table' })
    const seen = await collect({
      source: `${second.url}/shop`,
      heartbeat: { intervalMs: 100, timeoutMs: 1500 },
    })
    const health = () => seen.streamer.health()
    await eventually(() => health().status === 'healthy', { what: 'a healthy source' })
    await replica.query(kind === 'mysql' ? 'STOP REPLICA SQL_THREAD' : 'STOP SLAVE SQL_THREAD')
    const stopped = Date.now()
    await writer.query('INSERT INTO shop.t VALUES (1)')
    await eventually(() => health().status === 'degraded', { what: 'the standstill to be noticed' })
    const { freshUntil, lastError } = health().sources.default
    assert.ok(Number(freshUntil) < stopped + 200, 'it did not vouch for the row')
    assert.equal(lastError?.code, 'ERR_STREAMER_REPLICA_STALLED')
    assert.deepEqual(seen.changes, [])
    await replica.query(kind === 'mysql' ? 'START REPLICA' : 'START SLAVE')
    await seen.until(() => seen.changes.length === 1, 'the row')
    await eventually(() => health().status === 'healthy', { what: 'a healthy source again' })
    await seen.stop()
    await pair.end()
  })
}

test('without GTIDs another server is another log: a gap, and an error (MySQL)', async () => {
  const args = id => [`--server-id=${id}`, '--gtid-mode=OFF', '--enforce-gtid-consistency=OFF']
  const [first, second] = [await kit.mysql({ args: args(21) }), await kit.mysql({ args: args(22) })]
  const connections = [await root(first), await root(second)]
  connections[0].on('error', () => {})
  for (const connection of connections) {
    await connection.query('CREATE DATABASE shop')
    await connection.query('CREATE TABLE shop.t (id INT PRIMARY KEY)')
  }
  const url = new URL(`${first.url}/shop`)
  const seen = await collect({
    source: url.href.replace(url.host, `127.0.0.1:${first.port},127.0.0.1:${second.port}`),
    reconnect: QUICK,
  })
  await connections[0].query('INSERT INTO shop.t VALUES (1)')
  await seen.until(() => seen.changes.length === 1, 'the first row')
  await first.kill()
  await assert.rejects(
    seen.until(() => false, 'an error'),
    /ERR_STREAMER_POSITION_LOST/
  )
  assert.deepEqual(
    seen.gaps.map(({ reason }) => reason),
    ['source-replaced']
  )
  assert.equal(seen.changes.length, 1)
  await seen.stop()
  await connections[1].end()
  await second.stop()
})
