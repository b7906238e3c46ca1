'use strict'

// The applications under `examples/`, run as their README says, and a browser that looks at them.

const { spawn } = require('node:child_process')
const { once } = require('node:events')
const fs = require('node:fs')
const { createRequire } = require('node:module')
const os = require('node:os')
const path = require('node:path')
const { ROOT, packages } = require('../../scripts/setup')

const EXAMPLES = path.join(ROOT, 'examples')
const DEADLINE_MS = 120_000

/** A process in the folder of the examples. */
class Program {
  output = ''
  #process
  #wake = () => {}

  /** @param {string[]} args of node @param {Record<string, string>} env */
  constructor(args, env) {
    this.#process = spawn(process.execPath, args, {
      cwd: EXAMPLES,
      env: { ...process.env, NEXT_TELEMETRY_DISABLED: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream.on('data', data => {
        this.output += data
        this.#wake()
      })
    }
    this.exited = once(this.#process, 'close').then(([code, signal]) => {
      this.#wake()
      return code ?? signal
    })
  }

  /** Resolves when the output holds it. @param {RegExp} words */
  async says(words) {
    const end = Date.now() + DEADLINE_MS
    let isGone = false
    this.exited.then(() => (isGone = true))
    while (!words.test(this.output)) {
      if (isGone || Date.now() > end) throw new Error(`waited for ${words}, it said: ${this.output}`)
      await new Promise(resolve => {
        const timer = setTimeout(resolve, 200)
        this.#wake = () => {
          clearTimeout(timer)
          resolve(undefined)
        }
      })
    }
  }

  /** Ends it as Ctrl-C does; resolves with its exit code or the signal that it died of. */
  async interrupt() {
    this.#process.kill('SIGINT')
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), 30_000)
    const code = await this.exited
    clearTimeout(timer)
    return code
  }

  kill() {
    this.#process.kill('SIGKILL')
    return this.exited
  }
}

/** A shop in a SQLite file of its own, with a process that writes to it. */
async function openShop() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'streamer-shop-'))
  const env = { DATABASE_URL: `sqlite:${path.join(folder, 'shop.db')}` }
  const writer = new Program(['shop.js', '100'], env)
  await writer.says(/order 1\n/)
  return {
    env,
    writer,
    async close() {
      await writer.kill()
      fs.rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Debian's Chromium without a window, with a profile that is thrown away. */
async function openBrowser() {
  const { chromium } = createRequire(path.join(EXAMPLES, 'package.json'))('playwright-core')
  return chromium.launch({
    executablePath: process.env.STREAMER_TEST_CHROMIUM ?? '/usr/bin/chromium',
    timeout: DEADLINE_MS,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
}

/** Installs the packages of the examples where they are missing. */
function installExamples() {
  packages('examples')
}

module.exports = { DEADLINE_MS, EXAMPLES, Program, installExamples, openBrowser, openShop }
