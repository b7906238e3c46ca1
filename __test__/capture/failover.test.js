'use strict'

// A server dies and its replica takes its place: by GTID the reader goes on there; without, nothing is guessed.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const mysql = require('mysql2/promise')
const { collect } = require('../support/collect')
const { eventually, openKit } = require('../support/servers')

/** @type {import('../support/servers').Kit} */
let kit
before(async () => {
  kit = await openKit()
})
after(() => kit?.close())

const QUICK = { initialMs: 10, maxMs: 200 }

const KINDS = {
  mysql: {
    args: id => [
      `--server-id=${id}`,
      '--gtid-mode=ON',
      '--enforce-gtid-consistency=ON',
      '--log-replica-updates=ON',
    ],
    follow: port => [
      `CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = ${port}, SOURCE_USER = 'copier',
       SOURCE_PASSWORD = 'copied', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1`,
      'START REPLICA',
    ],
    promote: ['STOP REPLICA', 'RESET REPLICA ALL'],
  },
  mariadb: {
    args: id => [`--server-id=${id}`, '--log-slave-updates=ON', '--gtid-strict-mode=ON'],
    follow: port => [
      `CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = ${port}, MASTER_USER = 'copier',
       MASTER_PASSWORD = 'copied', MASTER_USE_GTID = slave_pos`,
      'START SLAVE',
    ],
    promote: ['STOP SLAVE', 'RESET SLAVE ALL'],
  },
}

/** @param {any} server */
const root = server => mysql.createConnection({ uri: server.url })

for (const kind of /** @type {const} */ (['mysql', 'mariadb'])) {
  test(`a reader goes on at the replica that took over (${kind})`, async () => {
    const { args, follow, promote } = KINDS[kind]
    const [first, second] = [await kit[kind]({ args: args(11) }), await kit[kind]({ args: args(12) })]
    const [writer, replica] = [await root(first), await root(second)]
    writer.on('error', () => {})
    await writer.query("CREATE USER 'copier'@'%' IDENTIFIED BY 'copied'")
    await writer.query("GRANT REPLICATION SLAVE ON *.* TO 'copier'@'%'")
    for (const sql of follow(first.port)) await replica.query(sql)
    await writer.query('CREATE DATABASE shop')
    await writer.query('CREATE TABLE shop.t (id INT PRIMARY KEY)')
    const rows = async connection => {
      const [[{ n }]] = await connection.query('SELECT COUNT(*) AS n FROM shop.t').catch(() => [[{ n: -1 }]])
      return Number(n)
    }
    const url = new URL(`${first.url}/shop`)
    const seen = await collect({
      source: url.href.replace(url.host, `127.0.0.1:${first.port},127.0.0.1:${second.port}`),
      reconnect: QUICK,
    })
    for (let id = 1; id <= 20; id++) await writer.query('INSERT INTO shop.t VALUES (?)', [id])
    await eventually(async () => (await rows(replica)) === 20, { what: 'the replica to have all rows' })
    await first.kill()
    for (const sql of promote) await replica.query(sql)
    for (let id = 21; id <= 40; id++) await replica.query('INSERT INTO shop.t VALUES (?)', [id])
    await seen.until(() => seen.changes.length >= 40, 'the rows of the new server')
    assert.deepEqual(
      seen.changes.map(change => change.after?.id),
      Array.from({ length: 40 }, (_, index) => index + 1)
    )
    assert.equal(new Set(seen.changes.map(change => change.id)).size, 40)
    assert.deepEqual(seen.gaps, [])
    await seen.stop()
    await replica.end()
    await second.stop()
  })
}

for (const kind of /** @type {const} */ (['mysql', 'mariadb'])) {
  test(`a replica that replicates no more vouches for nothing, and says why (${kind})`, async () => {
    const { args, follow } = KINDS[kind]
    const [first, second] = [await kit[kind]({ args: args(31) }), await kit[kind]({ args: args(32) })]
    const [writer, replica] = [await root(first), await root(second)]
    await writer.query("CREATE USER 'copier'@'%' IDENTIFIED BY 'copied'")
    await writer.query("GRANT REPLICATION SLAVE ON *.* TO 'copier'@'%'")
    for (const sql of follow(first.port)) await replica.query(sql)
    await writer.query('CREATE DATABASE shop')
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
    for (const connection of [writer, replica]) await connection.end()
    for (const server of [second, first]) await server.stop()
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
