'use strict'

// What the tests of the cache on MySQL and MariaDB have in common.

const { after, before } = require('node:test')
const { eventually, openKit } = require('./servers')

/**
 * Servers for the tests of a file, and their kit; filled in before the first test.
 * @param {(held: { kit: Awaited<ReturnType<typeof openKit>>, servers: Record<string, any> }) => Promise<void>} [more]
 */
function cacheServers(more) {
  const held = {
    /** @type {Awaited<ReturnType<typeof openKit>>} */
    kit: /** @type {any} */ (undefined),
    /** @type {Record<string, any>} */
    servers: {},
  }
  before(async () => {
    held.kit = await openKit()
    held.servers.mysql = await held.kit.mysql({
      args: ['--gtid-mode=ON', '--enforce-gtid-consistency=ON'],
    })
    held.servers.mariadb = await held.kit.mariadb({ args: [] })
    await more?.(held)
  })
  after(() => held.kit?.close())
  return held
}

/** How many SELECTs the server has run. @param {any} connection */
async function selects(connection) {
  const [rows] = await connection.query("SHOW GLOBAL STATUS LIKE 'Com_select'")
  return Number(rows[0].Value)
}

/** Asks until memory answers. @param {any} streamer @param {() => Promise<unknown>} ask */
function warmed(streamer, ask) {
  return eventually(
    async () => {
      const { hits } = streamer.cache.stats()
      await ask()
      return streamer.cache.stats().hits > hits
    },
    { what: 'an answer from memory' }
  )
}

module.exports = { cacheServers, selects, warmed }
