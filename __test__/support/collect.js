'use strict'

// Collects what a streamer delivers, and waits for a condition with a deadline.

const { Streamer } = require('../..')

const DEADLINE_MS = 60_000

/**
 * Starts a streamer and keeps what it delivers.
 * @param {ConstructorParameters<typeof Streamer>[0]} config
 */
async function collect(config) {
  const streamer = new Streamer(config)
  /** @type {import('../..').Change[]} */
  const changes = []
  /** @type {import('../..').Gap[]} */
  const gaps = []
  /** @type {any[]} */
  const schemas = []
  /** @type {any[]} */
  const errors = []
  /** @type {any[]} */
  const disconnects = []
  let wake = () => {}
  const note = list => item => {
    list.push(item)
    wake()
  }
  streamer.on('batch', batch => {
    for (const change of batch) changes.push(change)
    wake()
  })
  streamer.on('gap', note(gaps))
  streamer.on('schema', note(schemas))
  streamer.on('error', note(errors))
  streamer.on('disconnect', note(disconnects))
  await streamer.start()

  /**
   * Resolves when `condition` holds; rejects with what was seen when it does not within the deadline.
   * @param {() => unknown} condition
   * @param {string} what
   * @param {number} [deadlineMs]
   */
  async function until(condition, what, deadlineMs = DEADLINE_MS) {
    const end = Date.now() + deadlineMs
    while (!condition()) {
      const left = end - Date.now()
      if (left <= 0 || errors.length > 0) {
        const seen = `${changes.length} changes, ${gaps.length} gaps, errors: ${errors.map(String).join('; ')}`
        throw new Error(`Waited for ${what}; seen: ${seen}; health: ${JSON.stringify(streamer.health())}`)
      }
      await new Promise(resolve => {
        const timer = setTimeout(resolve, Math.min(left, 1000))
        wake = () => {
          clearTimeout(timer)
          resolve(undefined)
        }
      })
    }
  }

  return { streamer, changes, gaps, schemas, errors, disconnects, until, stop: () => streamer.stop() }
}

/** The error with which a start fails. @param {ConstructorParameters<typeof Streamer>[0]} config @returns {Promise<any>} */
async function refusal(config) {
  const streamer = new Streamer(config)
  streamer.on('error', () => {})
  try {
    await streamer.start()
  } catch (error) {
    return error
  } finally {
    await streamer.stop()
  }
  throw new Error('the start was expected to fail')
}

module.exports = { collect, refusal }
