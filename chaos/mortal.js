'use strict'

// A consuming process that is killed and begins again at its checkpoint. What its handler was given stands in a file.

const fs = require('node:fs')
const { Child } = require('../__test__/support/child')
const { handled, hasHandled } = require('../__test__/support/handled')

class Mortal {
  /** @type {Child | null} */
  #child = null
  deaths = 0

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
    this.#child = new Child('consume.js', this.argument)
    return this.#child
  }

  /** Kills it, and lets it begin again. */
  async kill() {
    await this.#child?.kill()
    this.deaths++
    this.begin()
  }

  /** Its handler fails, its consumer is stopped, and another one takes its place. */
  async replace() {
    const child = this.#child
    if (child === null) return
    await child.says('ready')
    child.signal('SIGUSR2')
    await child.says('replaced')
    // The next time is told apart from this one.
    child.lines.length = 0
    child.lines.push('ready')
  }

  /** Stops it in an orderly way; one that has not come so far as to stop is killed. */
  async end() {
    const child = this.#child
    if (child === null) return
    child.signal('SIGTERM')
    const timer = setTimeout(() => child.signal('SIGKILL'), 15_000)
    await child.exited
    clearTimeout(timer)
  }

  /** Begins, and expects to be refused. @param {string} code */
  async isRefused(code) {
    const child = this.begin()
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
