'use strict'

// Runs contenders: each measurement in a process of its own, one contender after the other, again and again, so that what the
// machine does meanwhile hits all alike.

const { fork } = require('node:child_process')
const path = require('node:path')

/** Longest time that one measurement may take, beyond what it is to last. */
const DEADLINE_MS = 300_000

/**
 * One measurement in a process of its own. `onMessage` hears what it says before it reports.
 * @param {string} contender @param {string} measure @param {any} task
 * @param {(message: any, child: import('node:child_process').ChildProcess) => void} [onMessage]
 * @param {string[]} [execArgv]
 * @returns {Promise<any>}
 */
function measure(contender, measure, task, onMessage = () => {}, execArgv = []) {
  return new Promise((resolve, reject) => {
    const child = fork(path.join(__dirname, 'contender.js'), [], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      // Some contenders make dates in local time.
      env: { ...process.env, TZ: 'UTC' },
      execArgv,
    })
    let report
    const timer = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS + (task.ms ?? 0))
    child.on('message', (/** @type {any} */ message) => {
      if (message.report !== undefined) report = message.report
      else onMessage(message, child)
    })
    child.on('exit', (code, signal) => {
      clearTimeout(timer)
      if (report !== undefined) resolve(report)
      else reject(new Error(`${contender} (${measure}) ended with ${signal ?? code} and did not report`))
    })
    child.send({ contender, measure, task })
  })
}

/**
 * Measures all contenders in turn, `runs` times; which of them begins alternates.
 * @template T
 * @param {number} runs @param {string[]} names @param {(name: string) => Promise<T>} once
 * @returns {Promise<Map<string, T[]>>}
 */
async function alternate(runs, names, once) {
  const results = new Map(names.map(name => [name, /** @type {T[]} */ ([])]))
  for (let run = 0; run < runs; run++) {
    const order = run % 2 === 0 ? names : [...names].reverse()
    for (const name of order) results.get(name)?.push(await once(name))
  }
  return results
}

module.exports = { alternate, measure }
