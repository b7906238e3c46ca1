'use strict'

// Inside a contender's process: watches the event loop, and answers HTTP requests, while it drains. A few are answered before, so that
// what a process does for the first time is not counted.

const http = require('node:http')
const { monitorEventLoopDelay } = require('node:perf_hooks')

/** Requests that are answered before. */
const WARM = 200

/** @param {() => Promise<any>} drain */
async function watched(drain) {
  let answered = 0
  /** @type {() => void} */
  let beWarm = () => {}
  const warm = new Promise(resolve => (beWarm = () => resolve(undefined)))
  const server = http.createServer((_, response) => {
    response.end('here')
    if (++answered === WARM) beWarm()
  })
  await new Promise(resolve => server.listen(0, '127.0.0.1', () => resolve(undefined)))
  process.send?.({ port: /** @type {any} */ (server.address()).port })
  await warm
  process.send?.({ begun: true })
  const histogram = monitorEventLoopDelay({ resolution: 1 })
  histogram.enable()
  const report = await drain()
  histogram.disable()
  process.send?.({ ended: true })
  server.close()
  // The timer itself is due every ms.
  return { ...report, loop99: histogram.percentile(99) / 1e6 - 1, loopMax: histogram.max / 1e6 - 1 }
}

module.exports = { watched }
