'use strict'

// Server-Sent Events to any number of browsers, with a bound on what waits for each.
//
// One that takes less than it is sent is disconnected: its EventSource comes back by itself, and the page then loads the rows
// afresh. So a slow browser costs LIMIT_BYTES and never holds up the others, or the source.

const { toJson } = require('./json')

/** What may wait for one browser. */
const LIMIT_BYTES = 256 * 1024

/** Proxies close connections on which nothing comes. */
const PING_MS = 15_000

class Audience {
  #responses = new Set()
  #ping = setInterval(() => this.#write(': ping\n\n'), PING_MS)

  get size() {
    return this.#responses.size
  }

  /** @param {import('node:http').ServerResponse} response */
  join(response) {
    response.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      // nginx would collect events before it hands them on.
      'x-accel-buffering': 'no',
    })
    response.write('retry: 1000\n\n')
    this.#responses.add(response)
    response.once('close', () => this.#responses.delete(response))
  }

  /** Sends an event to everybody; it is made text once. @param {string} event @param {unknown} value */
  send(event, value) {
    this.#write(`event: ${event}\ndata: ${toJson(value)}\n\n`)
  }

  #write(text) {
    for (const response of this.#responses) {
      if (response.writableLength > LIMIT_BYTES) response.destroy()
      else response.write(text)
    }
  }

  /** Ends all connections: a server that closes waits for them. */
  close() {
    clearInterval(this.#ping)
    for (const response of this.#responses) response.end()
  }
}

module.exports = { Audience, LIMIT_BYTES }
