'use strict'

// Tables that are polled, on servers whose log cannot be had.

const assert = require('node:assert/strict')
const { collect } = require('./collect')
const { eventually } = require('./servers')

/** Quick enough for a test: nothing here waits for the product's own, longer times. */
const QUICK = { minIntervalMs: 20, maxIntervalMs: 200, overlapMs: 5000, checkMs: 200 }

/** A table that every change marks with the server's time. @param {string} name @param {string} [key] */
const marked = (name, key = 'id INT PRIMARY KEY') =>
  `CREATE TABLE ${name} (${key}, v VARCHAR(100), updated_at TIMESTAMP(6) DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), KEY (updated_at))`

/** Log records that are kept. */
function recorder() {
  /** @type {{ level: string, message: string, fields: any }[]} */
  const records = []
  const at = level => (fields, message) => records.push({ level, message, fields })
  return {
    records,
    logger: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') },
    warnings: () => records.filter(({ level }) => level === 'warn').map(({ message }) => message),
  }
}

/** Follows a source by polling. @param {string} url @param {object} [options] of the source @param {object} [more] */
function poll(url, options = {}, more = {}) {
  const { poll, ...source } = /** @type {any} */ (options)
  return collect({ source: { url, ...source, poll: { ...QUICK, ...poll } }, ...more })
}

/** Rows by their key, as the events leave them. @param {readonly import('../..').Change[]} changes @param {string} [table] */
function rebuilt(changes, table) {
  const rows = new Map()
  for (const change of changes) {
    if (table !== undefined && change.table !== table) continue
    const key = JSON.stringify(change.key)
    if (change.op === 'delete') rows.delete(key)
    else rows.set(key, change.after)
  }
  return rows
}

/** Waits for the state of the only source. @param {any} seen @param {string} state */
const inState = (seen, state) =>
  eventually(() => seen.streamer.health().sources.default.state === state, {
    what: `the state ${state}`,
    deadlineMs: 60_000,
  })

/** Every id once. @param {readonly import('../..').Change[]} changes */
function assertOnce(changes) {
  assert.equal(new Set(changes.map(({ id }) => id)).size, changes.length, 'every change once')
}

module.exports = { QUICK, assertOnce, inState, marked, poll, rebuilt, recorder }
