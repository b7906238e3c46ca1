'use strict'

// One of the processes of the hammer: `node worker.js <json>`. Reads and writes the same keys as the others, through a cache whose second
// level they share. Every read is held against what had been delivered when it began, every read with `after` against what the same
// caller had written. `end`: it stops writing and asking, and says what it counted; `compare`: it says what it gives for each key;
// `exit`.

const { setTimeout: sleep } = require('node:timers/promises')
const { Streamer } = require('../..')
const { random } = require('../../__test__/support/random')

const { url, redis, keys, seed, callers } = JSON.parse(process.argv[2])
const ROW = 'SELECT id, v FROM hammered WHERE id = ?'
const LIST = 'SELECT id, v FROM hammered WHERE id IN (?, ?) ORDER BY id'
/** `insertId` is the new version. */
const WRITE = 'UPDATE hammered SET v = LAST_INSERT_ID(v + 1) WHERE id = ?'
const FIRST_MS = 5000

const counts = { reads: 0, stale: 0, afters: 0, violations: 0, writes: 0, gaps: 0 }
/** @type {Record<string, number>} */
const errors = {}
/** @type {string[]} */
const findings = []

const streamer = new Streamer({
  source: { url, tables: ['hammered'] },
  cache: { redis },
  heartbeat: { intervalMs: 100, timeoutMs: 1000 },
  reconnect: { initialMs: 20, maxMs: 500 },
})
const delivered = new Map()
streamer.on('batch', batch => {
  for (const { after } of /** @type {any[]} */ (batch))
    if (after !== null) delivered.set(after.id, Math.max(delivered.get(after.id) ?? 0, after.v))
})
streamer.on('gap', () => counts.gaps++)
streamer.on('error', error => failed(error))

/** @param {any} error */
function failed(error) {
  const code = error?.code ?? String(error)
  errors[code] = (errors[code] ?? 0) + 1
}

/** @param {number[]} ids @param {() => Promise<any[]>} ask */
async function checked(ids, ask) {
  const known = ids.map(id => delivered.get(id) ?? 0)
  const rows = await ask()
  for (const [index, id] of ids.entries()) {
    counts.reads++
    const row = rows.find(row => row.id === id)
    if (row === undefined || row.v < known[index]) {
      counts.stale++
      findings.push(`read ${id}: was told of ${known[index]}, was given ${row?.v}`)
    }
  }
}

/** @param {ReturnType<typeof random>} rng */
async function one(rng) {
  const id = 1 + rng.below(keys)
  const roll = rng.next()
  if (roll < 0.1) {
    const { insertId, position } = await streamer.execute(WRITE, [id])
    counts.writes++
    const [row] = await streamer.query(ROW, [id], { after: /** @type {string} */ (position) })
    counts.afters++
    if (row.v < Number(insertId)) {
      counts.violations++
      findings.push(`after a write of ${id}: wrote ${insertId}, was given ${row.v}`)
    }
  } else if (roll < 0.2) {
    const load = async () => (await streamer.query(ROW, [id], { cache: false }))[0]
    const options = { dependsOn: [{ table: 'hammered', key: id }] }
    await checked([id], async () => [await streamer.cache.wrap(`row ${id}`, load, options)])
  } else if (roll < 0.3) {
    const other = 1 + (id % keys)
    await checked([id, other], () => streamer.query(LIST, [id, other]))
  } else {
    await checked([id], () => streamer.query(ROW, [id]))
  }
}

async function main() {
  await streamer.start()
  let isEnding = false
  const caller = async number => {
    const rng = random(seed * 1000 + number)
    while (!isEnding) {
      try {
        await one(rng)
      } catch (error) {
        failed(error)
        await sleep(20)
      }
      // Hits need no turn of the event loop; the listeners do.
      if (rng.next() < 0.2) await sleep(1)
    }
  }
  const all = Promise.all(Array.from({ length: callers }, (_, number) => caller(number)))
  /** @type {Record<string, () => Promise<object>>} */
  const answers = {
    end: async () => {
      isEnding = true
      await all
      return { counts, errors, findings: findings.slice(0, 20), stats: streamer.cache.stats() }
    },
    compare: async () => {
      const rows = []
      for (let id = 1; id <= keys; id++) rows.push((await streamer.query(ROW, [id]))[0].v)
      return { rows, delivered: Array.from({ length: keys }, (_, index) => delivered.get(index + 1) ?? 0) }
    },
    exit: async () => {
      await streamer.stop()
      setTimeout(() => process.exit(), FIRST_MS).unref()
      process.disconnect()
      return {}
    },
  }
  process.on('message', async (/** @type {string} */ question) => {
    const answer = await answers[question]().catch(error => ({ error: String(error?.stack ?? error) }))
    if (process.connected) process.send?.(answer)
  })
  process.send?.('ready')
}

main()
