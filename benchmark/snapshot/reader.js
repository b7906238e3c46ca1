'use strict'

// A process of `benchmark/snapshot.js` that reads a table, once: `node reader.js <json>`. It tells the parent what it sees.

const { Image } = require('./image')
const databases = require('./databases')

const MB = 1024 ** 2

/** The most memory that this process had, in MB. */
const peak = () => process.resourceUsage().maxRSS / 1024

/** @param {{ all(): Promise<number> }} client */
async function timed({ all }) {
  const atStart = process.memoryUsage.rss() / MB
  const began = performance.now()
  const rows = await all()
  return { rows, seconds: (performance.now() - began) / 1000, atStart, peak: peak() }
}

/** All rows as the usual client of the database reads them. @param {{ source: string, url: string }} task */
async function select({ source, url }) {
  const client = await databases[source].client(url)
  const report = client.report ?? (() => timed(client))
  process.send?.({ over: true, ...(await report()) })
  await client.close()
}

/** A snapshot, joined with the log, applied to an image. @param {{ config: object, file: string }} task */
async function follow({ config, file }) {
  const { Streamer } = require('../..')
  const image = new Image(file)
  const streamer = new Streamer(/** @type {any} */ (config))
  let [reads, changes] = [0, 0]
  streamer.on('batch', batch => {
    let isFinished = false
    for (const change of batch) {
      if (change.table === 'finished') isFinished = true
      if (change.table !== 't') continue
      image.apply(change)
      if (change.op === 'read') reads++
      else changes++
    }
    image.flush()
    if (isFinished) process.send?.({ finished: true })
  })
  const atStart = process.memoryUsage.rss() / MB
  const began = performance.now()
  streamer.on('snapshot', ({ done, remaining }) => {
    if (!done || remaining > 0) return
    const seconds = (performance.now() - began) / 1000
    process.send?.({ over: true, rows: reads, changes, seconds, atStart, peak: peak() })
  })
  streamer.on('error', error => process.send?.({ failed: `${error.code} ${error.message}` }))
  await streamer.start()
  process.send?.({ ready: true })
}

// Nobody is told any more.
process.once('disconnect', () => process.exit())
const { kind, ...task } = JSON.parse(process.argv[2])
const run = kind === 'select' ? select : follow
run(task).catch(error => process.send?.({ failed: String(error.stack) }))
