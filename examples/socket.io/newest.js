'use strict'

// Changes to one browser. What it has not taken yet is kept once for each row, the newest: what waits is bounded by the rows of the
// table, and by MAX_ROWS. A browser that is further behind is disconnected; it comes back by itself, and asks for all rows.

/** Packets that the connection may have to send. */
const MAX_PACKETS = 16
/** Rows that may wait. */
const MAX_ROWS = 1000
/** How often one that was behind is looked at. */
const LOOK_MS = 50

class Newest {
  #socket
  /** @type {Map<string, unknown>} */
  #waiting = new Map()
  /** @type {NodeJS.Timeout | null} */
  #timer = null

  /** @param {import('socket.io').Socket} socket */
  constructor(socket) {
    this.#socket = socket
    socket.once('disconnect', () => {
      if (this.#timer !== null) clearInterval(this.#timer)
      this.#waiting.clear()
    })
  }

  /** @param {string} row @param {unknown} change */
  send(row, change) {
    if (this.#timer === null && !this.#isBehind()) {
      this.#socket.emit('change', change)
      return
    }
    // Behind the others, where it stood before: of one row only the newest counts.
    this.#waiting.set(row, change)
    if (this.#waiting.size > MAX_ROWS) this.#socket.disconnect(true)
    else this.#timer ??= setInterval(() => this.#catchUp(), LOOK_MS)
  }

  #isBehind() {
    const { conn } = this.#socket
    return conn.readyState !== 'open' || conn.writeBuffer.length > MAX_PACKETS
  }

  #catchUp() {
    for (const [row, change] of this.#waiting) {
      if (this.#isBehind()) return
      this.#waiting.delete(row)
      this.#socket.emit('change', change)
    }
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }
}

module.exports = { MAX_PACKETS, MAX_ROWS, Newest }
