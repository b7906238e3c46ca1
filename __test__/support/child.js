'use strict'

// A process of a test, that is told to end or killed, and heard.

const { spawn } = require('node:child_process')
const path = require('node:path')
const readline = require('node:readline')

const DEADLINE_MS = 60_000

class Child {
  /** @type {string[]} */
  lines = []
  #process
  #wake = () => {}
  /** @type {Promise<void>} */
  exited

  /** Runs a script of this folder. @param {string} script @param {object} argument Handed over as JSON. */
  constructor(script, argument) {
    this.#process = spawn(process.execPath, [path.join(__dirname, script), JSON.stringify(argument)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    readline.createInterface({ input: this.#process.stdout }).on('line', line => {
      this.lines.push(line)
      this.#wake()
    })
    this.exited = new Promise(resolve => {
      // With everything that it said.
      this.#process.once('close', () => resolve(undefined))
    })
  }

  get pid() {
    return this.#process.pid
  }

  /** @param {NodeJS.Signals} signal */
  signal(signal) {
    this.#process.kill(signal)
  }

  /** Kills it, and resolves when it is gone. */
  async kill() {
    this.signal('SIGKILL')
    await this.exited
  }

  /** Resolves when it has printed a line that begins so. @param {string} beginning */
  async says(beginning) {
    const end = Date.now() + DEADLINE_MS
    let isGone = false
    this.exited.then(() => {
      isGone = true
      this.#wake()
    })
    while (!this.lines.some(line => line.startsWith(beginning))) {
      if (isGone || Date.now() > end)
        throw new Error(`waited for ${JSON.stringify(beginning)}, it said ${JSON.stringify(this.lines)}`)
      await new Promise(resolve => {
        const timer = setTimeout(resolve, 1000)
        this.#wake = () => {
          clearTimeout(timer)
          resolve(undefined)
        }
      })
    }
  }
}

module.exports = { Child }
