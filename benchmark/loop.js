'use strict'

// What a drain leaves of the event loop: how late its timers are, and how long an HTTP server in the same process takes to answer.
// Beside it the same of a process that does nothing, on a machine that does nothing, and on one where another process drains: what
// the server, the drain and the scheduler do to anybody is not the library's.

const http = require('node:http')
const { alternate, measure } = require('./run')
const { longLog } = require('./drain')

const IDLE = 'an idle process'
const BESIDE = 'an idle process, while another one drains'

const CONTENDERS = {
  'ultimate-streaming, batch': ['ultimate', 'drain'],
  'ultimate-streaming, change': ['ultimate', 'drainSingly'],
  '@vlasky/zongji': ['zongji', 'drain'],
  '@powersync/mysql-zongji': ['powersync', 'drain'],
}

/** Time between two requests, in ms. */
const PACE_MS = 2

/** How long an idle process is watched. */
const IDLE_MS = 2000

/**
 * Asks a server again and again until told to stop; resolves with how long answers took, in order, since it was told to count.
 * @param {number} port
 */
function client(port) {
  const agent = new http.Agent({ keepAlive: true })
  /** @type {number[]} */
  let took = []
  let isRunning = true
  const once = () =>
    new Promise((resolve, reject) => {
      const began = performance.now()
      const request = http.get({ port, agent, host: '127.0.0.1' }, response => {
        response.resume()
        response.on('end', () => resolve(performance.now() - began))
      })
      request.on('error', reject)
    })
  const done = (async () => {
    while (isRunning) {
      try {
        took.push(/** @type {number} */ (await once()))
      } catch {
        // The process has reported and is gone.
        break
      }
      await new Promise(resolve => setTimeout(resolve, PACE_MS))
    }
    agent.destroy()
    return took.sort((a, b) => a - b)
  })()
  return {
    count() {
      took = []
    },
    stop() {
      isRunning = false
      return done
    },
  }
}

/** @param {number[]} sorted @param {number} share */
const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]

/** A process that does nothing until `busy` has resolved. @param {() => Promise<unknown>} busy */
async function idly(busy) {
  /** @type {Promise<unknown> | undefined} */
  let ending
  return watched('bare', 'wait', {}, child => {
    ending ??= busy().then(() => child.send({ end: true }))
  })
}

/** One contender, once. @param {string} name @param {any} task */
async function once(name, task) {
  if (name === IDLE) return idly(() => new Promise(resolve => setTimeout(resolve, IDLE_MS)))
  if (name === BESIDE) return idly(() => measure('ultimate', 'drain', task))
  const [contender, kind] = CONTENDERS[name]
  return watched(contender, kind, task)
}

/**
 * Measures something in a process that is asked over HTTP meanwhile. `begun` is told when that begins.
 * @param {string} contender @param {string} kind @param {any} task
 * @param {(child: import('node:child_process').ChildProcess) => void} [begun]
 */
async function watched(contender, kind, task, begun = () => {}) {
  /** @type {ReturnType<typeof client> | undefined} */
  let asking
  const report = await measure(contender, kind, { ...task, watch: true }, (message, child) => {
    if (message.port !== undefined) asking = client(message.port)
    if (message.begun) {
      asking?.count()
      begun(child)
    }
    if (message.ended) asking?.stop()
  })
  const took = (await asking?.stop()) ?? []
  return { ...report, http99: quantile(took, 0.99), http50: quantile(took, 0.5), requests: took.length }
}

/** @param {any} server @param {{ rows: number, runs: number, only?: string }} options */
async function loops(server, { rows, runs, only = '' }) {
  const { database, task } = await longLog(server, rows)
  const names = [...Object.keys(CONTENDERS), BESIDE, IDLE].filter(name => new RegExp(only).test(name))
  const results = await alternate(runs, names, name => once(name, task))
  await database.drop()
  return results
}

module.exports = { loops }

if (require.main === module) {
  const { runAlone } = require('./alone')
  const { withSpread } = require('./table')
  const { SERVER } = require('./drain')
  runAlone({ rows: '5000000', runs: '3', server: 'mariadb', only: '' }, async (kit, values) => {
    const server = await kit[values.server]({ args: SERVER })
    const { rows, runs, only } = values
    const results = await loops(server, { rows: Number(rows), runs: Number(runs), only })
    for (const [name, reports] of results) {
      const figures = ['loop99', 'loopMax', 'http50', 'http99', 'requests']
      const texts = figures.map(key => `${key} ${withSpread(reports.map(report => report[key]))}`)
      console.log(name.padEnd(44), texts.join('  '))
    }
  })
}
