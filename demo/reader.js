'use strict'

// The process that follows the shop: `node reader.js <json>`. It is killed in the middle, and begins again at its checkpoint.

const { setTimeout: sleep } = require('node:timers/promises')
const { Streamer } = require('..')

/** So many rows, the last that changed, are read again and again. */
const HOT_ROWS = 50
const READ_MS = 2

const { url, table, checkpoint, options } = JSON.parse(process.argv[2])
const isSql = !url.startsWith('mongodb')
const streamer = new Streamer({ source: { url, tables: [table], ...options }, checkpoint, cache: isSql })
/** @type {number[]} */
const hot = []
let hasEnded = false

/** Reads rows as an application does. A kind of source that has no reads is left alone. */
async function read() {
  while (!hasEnded) {
    const id = hot[Math.floor(Math.random() * hot.length)]
    try {
      if (id !== undefined) await streamer.query(`SELECT * FROM ${table} WHERE id = ?`, [id])
    } catch (error) {
      if (hasEnded || /** @type {any} */ (error).code === 'ERR_STREAMER_ARGUMENT_INVALID') return
      throw error
    }
    await sleep(READ_MS)
  }
}

let told = { hits: 0, misses: 0 }

/** Tells how many reads memory has answered since the last time. */
function tell() {
  const { hits, misses } = streamer.cache.stats()
  process.send?.({ reads: { hits: hits - told.hits, misses: misses - told.misses } })
  told = { hits, misses }
}

streamer.on('error', error => {
  console.error(`${error.message} (${error.code})`)
  process.exit(1)
})
streamer.consume(batch => {
  const now = Date.now()
  for (const { key } of batch) hot.push(/** @type {any} */ (key).id)
  hot.splice(0, hot.length - HOT_ROWS)
  const changes = batch.map(({ id, op, key, before, after, changed }) => ({
    id,
    op,
    key,
    before,
    after,
    changed,
    latency: after?.at === undefined || op === 'delete' ? null : Math.max(0, now - after.at),
  }))
  // Handled once the other process has them.
  return new Promise((resolve, reject) => {
    process.send?.({ changes }, error => (error ? reject(error) : resolve(undefined)))
  })
})
streamer.start().then(() => {
  process.send?.({ ready: streamer.health().status })
  if (!isSql) return
  const timer = setInterval(tell, 500)
  read().finally(() => clearInterval(timer))
})
process.on('message', async () => {
  hasEnded = true
  process.send?.({ health: streamer.health().status })
  await streamer.stop()
  process.disconnect()
})
