'use strict'

// A mongod that is no member of a replica set, as long as it is not told to be one.

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const { once } = require('node:events')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { MongoClient } = require('mongodb')
const { freePort } = require('./port')
const { eventually } = require('./servers')

/** The program of the kit's own servers, looked up as the kit does. */
function program() {
  const home = process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache')
  const folders = (process.env.PATH ?? '').split(path.delimiter)
  const kept = process.env.STREAMER_TEST_CACHE ?? path.join(home, 'ultimate-streaming')
  if (fs.existsSync(kept)) folders.push(...fs.readdirSync(kept).map(name => path.join(kept, name)))
  const found = folders.map(place => path.join(place, 'mongod')).find(file => fs.existsSync(file))
  assert.ok(found, 'mongod is there')
  return found
}

/** Starts one. */
async function standalone() {
  const dbPath = fs.mkdtempSync(path.join(os.tmpdir(), 'streamer-standalone-'))
  const port = await freePort()
  /** @type {import('node:child_process').ChildProcess | undefined} */
  let child
  const url = `mongodb://127.0.0.1:${port}/?directConnection=true`
  // What was acknowledged survives a kill.
  const connect = () =>
    new MongoClient(url, { serverSelectionTimeoutMS: 1000, writeConcern: { w: 1, journal: true } }).connect()
  /** @param {string[]} [args] */
  async function launch(args = []) {
    const fixed = ['--dbpath', dbPath, '--port', String(port), '--bind_ip', '127.0.0.1', '--nounixsocket']
    child = spawn(program(), [...fixed, '--wiredTigerCacheSizeGB', '0.25', ...args], { stdio: 'ignore' })
    child.unref()
  }
  async function end() {
    if (child === undefined) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
    child = undefined
  }
  process.once('exit', () => child?.kill('SIGKILL'))
  await launch()
  // A client whose first connection fails is of no use any more.
  const client = await eventually(connect, { what: 'mongod to answer', deadlineMs: 60_000 })
  return {
    client,
    url: (/** @type {string} */ database) => `mongodb://127.0.0.1:${port}/${database}`,
    /** Becomes a replica set of one member, as an operator makes it one. */
    async becomeSet() {
      await end()
      await launch(['--replSet', 'rs0'])
      const members = [{ _id: 0, host: `127.0.0.1:${port}` }]
      const initiate = () => client.db('admin').command({ replSetInitiate: { _id: 'rs0', members } })
      await eventually(initiate, { what: 'mongod to become a set', deadlineMs: 60_000 })
    },
    async remove() {
      await client.close()
      await end()
      fs.rmSync(dbPath, { recursive: true, force: true })
    },
  }
}

module.exports = { standalone }
