'use strict'

// A consuming process that is killed and begins again at its checkpoint. What its handler was given stands in a file.
//
// One that ends by itself because its checkpoint cannot be had (Redis is away while it starts) begins again, as whoever supervises a
// process would see to it. Any other end is a failure.

const fs = require('node:fs')
const { setTimeout: sleep } = require('node:timers/promises')
const { Child } = require('../__test__/support/child')
const { handled, hasHandled } = require('../__test__/support/handled')
const { eventually } = require('../__test__/support/servers')

class Mortal {
  /** @type {Child | null} */
  #child = null
  deaths = 0
  /** How often it ended by itself, because its checkpoint could not be had. */
  restarts = 0
  /** @type {string[]} */
  failures = []

  /** @param {string} file what its handler saw @param {string | object} source @param {string} checkpoint directory or URL */
  constructor(file, source, checkpoint) {
    this.checkpoint = checkpoint
    this.file = file
    fs.writeFileSync(this.file, '')
    this.argument = {
      config: { source, checkpoint: { url: this.checkpoint, intervalMs: 100 } },
      options: { batchSize: 50 },
      file: this.file,
    }
  }

  begin() {
    const child = new Child('consume.js', this.argument)
    this.#child = child
    child.exited.then(() => this.#ended(child))
    return child
  }

  /** A child ended, and nobody has taken it away. @param {Child} child */
  async #ended(child) {
    if (child !== this.#child) return
    if (!child.lines.some(line => line.startsWith('error ERR_STREAMER_CHECKPOINT_FAILED'))) {
      this.failures.push(`a consuming process ended: ${child.lines.join('; ') || 'it said nothing'}`)
      return
    }
    this.restarts++
    await sleep(100)
    if (child === this.#child) this.begin()
  }

  /** Who ends it is not surprised by its end. @returns {Child | null} */
  #take() {
    const child = this.#child
    this.#child = null
    return child
  }

  /** Kills it, and lets it begin again. */
  async kill() {
    await this.#take()?.kill()
    this.deaths++
    this.begin()
  }

  /** Its handler fails, its consumer is stopped, and another one takes its place. */
  async replace() {
    const child = await this.ready()
    child.signal('SIGUSR2')
    await child.says('replaced')
    // The next time is told apart from this one.
    child.lines.length = 0
    child.lines.push('ready')
  }

  /** The process, when it streams: perhaps not the first that was begun. */
  async ready() {
    const isReady = () => this.#child?.lines.includes('ready') || this.failures.length > 0
    await eventually(isReady, { deadlineMs: 60_000, what: 'a consuming process to stream' })
    return /** @type {Child} */ (this.#child)
  }

  /** Stops it in an orderly way; one that has not come so far as to stop is killed. */
  async end() {
    const child = this.#take()
    if (child === null) return
    child.signal('SIGTERM')
    const timer = setTimeout(() => child.signal('SIGKILL'), 15_000)
    await child.exited
    clearTimeout(timer)
  }

  /** Begins, and expects to be refused. @param {string} code */
  async isRefused(code) {
    this.begin()
    const child = /** @type {Child} */ (this.#take())
    await child.says(`error ${code}`)
    child.signal('SIGKILL')
    await child.exited
  }

  /** Every change that its handler was given, in order. */
  changes() {
    return handled(this.file)
  }

  /** Whether it has been given what is written so. @param {string} text */
  hasSeen(text) {
    return hasHandled(this.file, text)
  }
}

module.exports = { Mortal }
