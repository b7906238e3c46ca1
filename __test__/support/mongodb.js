'use strict'

// A database of its own for a test on MongoDB, and fail points of a server that was started with `enableTestCommands=1`.

const { randomBytes } = require('node:crypto')
const { MongoClient } = require('mongodb')

let databases = 0

/** The URL of a database. Several hosts are no `URL`. @param {string} url @param {string} name */
function urlOf(url, name) {
  return url.replace(/^(mongodb:\/\/[^/?]+)[^?]*/, `$1/${name}`)
}

/**
 * A database that nobody else uses, and the official driver connected to it.
 * @param {import('./servers').Server} server
 * @param {{ url?: string }} [options] `url`: of a proxy, for the streamer.
 */
async function freshMongodb(server, { url = server.url } = {}) {
  const name = `t${++databases}_${process.pid}_${randomBytes(3).toString('hex')}`
  const client = new MongoClient(server.url, { writeConcern: { w: 'majority' }, retryWrites: true })
  await client.connect()
  return {
    name,
    url: urlOf(url, name),
    client,
    db: client.db(name),
    async drop() {
      await client.db(name).dropDatabase()
      await client.close()
    },
  }
}

/**
 * Databases of one server and client, each with a name of its own and the URL that names it.
 * @param {string} prefix @param {() => { server: import('./servers').Server, client: MongoClient }} of
 */
function inTurn(prefix, of) {
  let last = 0
  return () => {
    const { server, client } = of()
    const name = `${prefix}${++last}`
    const url = new URL(server.url)
    url.pathname = `/${name}`
    return { db: client.db(name), url: url.href, name }
  }
}

/** How often fail points had been entered when they were set: servers count on and on. @type {Map<string, number>} */
const entered = new Map()

/**
 * Makes the server fail, as the driver specification's tests do.
 * @param {import('mongodb').MongoClient} client
 * @param {object} data what happens, as `failCommand` takes it
 * @param {{ times?: number, point?: string }} [options]
 */
async function fail(client, data, { times = 1, point = 'failCommand' } = {}) {
  const { count } = await client.db('admin').command({ configureFailPoint: point, mode: { times }, data })
  entered.set(point, count)
}

/**
 * Ends it; resolves with how often it was entered. For one server in a process.
 * @param {import('mongodb').MongoClient} client @param {string} [point]
 */
async function endFailing(client, point = 'failCommand') {
  const { count } = await client.db('admin').command({ configureFailPoint: point, mode: 'off' })
  return count - (entered.get(point) ?? 0)
}

module.exports = { endFailing, fail, freshMongodb, inTurn, urlOf }
