'use strict'

// A process that follows `truth`, heard line by line.

const { spawn } = require('node:child_process')
const path = require('node:path')
const readline = require('node:readline')

class Follower {
  /** When each row came. @type {Map<number, number>} */
  at = new Map()
  doubled = 0
  /** What the application was told, and when. @type {{ at: number, what: string }[]} */
  told = []
  isGone = false
  #process

  /** @param {string} script @param {object} argument */
  constructor(script, argument) {
    this.#process = spawn(process.execPath, [path.join(__dirname, script), JSON.stringify(argument)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    readline.createInterface({ input: this.#process.stdout }).on('line', line => this.#hear(line))
    // An error that nobody handles: the process ends with it.
    readline.createInterface({ input: this.#process.stderr }).on('line', line => {
      if (line.includes('Error')) this.told.push({ at: performance.now(), what: line.trim().slice(0, 120) })
    })
    this.exited = new Promise(resolve => {
      this.#process.once('exit', () => {
        this.isGone = true
        resolve(undefined)
      })
    })
  }

  /** @param {string} line */
  #hear(line) {
    const [, verb, rest] = /** @type {RegExpExecArray} */ (/^(\w+) (.*)$/.exec(line))
    const at = performance.now()
    if (verb === 'told') this.told.push({ at, what: rest })
    else if (this.at.has(Number(rest))) this.doubled++
    else this.at.set(Number(rest), at)
  }

  /** The newest row that has come. */
  get newest() {
    return Math.max(0, ...this.at.keys())
  }

  async end() {
    this.#process.kill('SIGKILL')
    await this.exited
  }
}

module.exports = { Follower }
