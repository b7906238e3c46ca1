'use strict'

// The process that follows the shop: `node reader.js <json>`. It is killed in the middle, and begins again at its checkpoint.

const { Streamer } = require('..')

const { url, table, checkpoint, options } = JSON.parse(process.argv[2])
const streamer = new Streamer({ source: { url, tables: [table], ...options }, checkpoint })

streamer.on('error', error => {
  console.error(`${error.message} (${error.code})`)
  process.exit(1)
})
streamer.consume(batch => {
  const now = Date.now()
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
streamer.start().then(() => process.send?.({ ready: streamer.health().status }))
process.on('message', async () => {
  process.send?.({ health: streamer.health().status })
  await streamer.stop()
  process.disconnect()
})
