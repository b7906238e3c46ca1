'use strict'

// Figures of one process: `node --expose-gc small.js <json>` with `{ name, url, entries }`. How much memory small entries take, how long a
// hit takes from JavaScript, and how many queries a thousand callers of one missing key cause.

const { setTimeout: sleep } = require('node:timers/promises')
const mysql = require('mysql2/promise')
const { Streamer } = require('../..')

const { name, url, entries } = JSON.parse(process.argv[2])
const SQL = 'SELECT id, version, text FROM items WHERE id = ?'
const CALLERS = 1000
const HITS = 100_000
const AT_ONCE = 500
const WARM = 5000

/** @param {number} id */
const small = id => ({ id, name: `item ${id}`, price: id / 100 })
const key = id => `item:${id}`

async function memory() {
  for (let turn = 0; turn < 3; turn++) {
    global.gc?.()
    await sleep(50)
  }
  return process.memoryUsage().rss
}

/** Nanoseconds that one call takes, the best of five rounds. @param {() => any} call */
async function nanoseconds(call) {
  for (let n = 0; n < WARM; n++) await call()
  let best = Infinity
  for (let round = 0; round < 5; round++) {
    const began = process.hrtime.bigint()
    for (let n = 0; n < HITS; n++) await call()
    best = Math.min(best, Number(process.hrtime.bigint() - began) / HITS)
  }
  return best
}

async function selects(connection) {
  const [rows] = await connection.query("SHOW GLOBAL STATUS LIKE 'Com_select'")
  return Number(rows[0].Value)
}

async function ours(connection) {
  const streamer = new Streamer({
    source: { url, tables: ['items'] },
    cache: { maxBytes: 2 ** 31, ttlMs: 3_600_000 },
  })
  await streamer.start()
  const get = id =>
    streamer.cache.wrap(key(id), () => small(id), { dependsOn: [{ table: 'items', key: id }] })
  const row = () => streamer.query(SQL, [1])
  for (let hits = 0; hits === 0; hits = streamer.cache.stats().hits) await row()
  await get(0)
  // The table's definition is known from here on; what it took to learn it is not counted.
  const [before, missing] = [await selects(connection), streamer.cache.stats()]
  await Promise.all(Array.from({ length: CALLERS }, () => streamer.query(SQL, [2])))
  const asked = (await selects(connection)) - before
  const loads = streamer.cache.stats().loads - missing.loads
  const empty = await memory()
  for (let id = 0; id < entries; id += AT_ONCE)
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, entries - id) }, (_, n) => get(id + n)))
  const full = await memory()
  const stats = streamer.cache.stats()
  const hit = await nanoseconds(row)
  const own = await nanoseconds(() => get(1))
  await streamer.stop()
  return { kept: stats.entries, bytes: full - empty, hit, own, asked, loads }
}

async function lru(connection) {
  const { LRUCache } = require('lru-cache')
  const cache = new LRUCache({ max: entries + 1, ttl: 3_600_000 })
  const empty = await memory()
  for (let id = 0; id < entries; id++) cache.set(key(id), small(id))
  const full = await memory()
  const pool = mysql.createPool({ uri: url, connectionLimit: 10 })
  const load = async id => /** @type {any} */ (await pool.execute(SQL, [Number(id)]))[0][0]
  const rows = new LRUCache({ max: 1000, fetchMethod: load })
  await rows.fetch('1')
  const before = await selects(connection)
  await Promise.all(Array.from({ length: CALLERS }, () => rows.fetch('2')))
  const asked = (await selects(connection)) - before
  const hit = await nanoseconds(() => rows.fetch('1'))
  const own = await nanoseconds(() => cache.get(key(1)))
  await pool.end()
  return { kept: cache.size, bytes: full - empty, hit, own, asked, loads: 1 }
}

async function main() {
  const connection = await mysql.createConnection({ uri: url })
  const figures = await (name === 'lru-cache' ? lru(connection) : ours(connection))
  await connection.end()
  process.send?.(figures, () => process.disconnect())
}

main()
