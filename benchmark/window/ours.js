'use strict'

// Follows a table with a handler that takes `slowMs` for each batch of one change, or with a quick one. Reports on request.

const { Streamer } = require('../..')

const { url, slowMs } = JSON.parse(process.argv[2])
const streamer = new Streamer(url)
let rows = 0
let most = 0

/** Bytes that the engine holds for JavaScript. */
const inFlight = () => Number(/^streamer_in_flight_bytes (\d+)/m.exec(streamer.metrics())?.[1] ?? 0)
setInterval(() => (most = Math.max(most, inFlight())), 50).unref()

if (slowMs > 0) {
  streamer.consume(
    async batch => {
      rows += batch.length
      await new Promise(resolve => setTimeout(resolve, slowMs))
    },
    { batchSize: 1 }
  )
} else streamer.on('batch', batch => (rows += batch.length))
process.on('message', () => process.send?.({ rows, most: Math.max(most, inFlight()) }))
process.on('disconnect', () => process.exit())
streamer.start().then(() => process.send?.('ready'))
