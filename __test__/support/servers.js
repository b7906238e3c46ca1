'use strict'

// Real servers for a test file: started by the test kit on free ports, with data directories of their own; gone with
// the process, however it ends.

const { spawn, spawnSync } = require('node:child_process')
const { randomBytes } = require('node:crypto')
const fs = require('node:fs')
const path = require('node:path')
const readline = require('node:readline')
const { inspect } = require('node:util')
const mysql = require('mysql2/promise')

const ROOT = path.join(__dirname, '../..')
const TARGET = process.env.CARGO_TARGET_DIR ?? path.join(ROOT, 'target')
const DEADLINE_MS = 30_000
const POLL_MS = 10

/** @typedef {'mysql' | 'mariadb'} SqlKind */
/** @typedef {SqlKind | 'mongodb' | 'redis'} Kind */
/** @typedef {{ ca: string, cert: string, key: string, expiredCert: string, clientCert: string, clientKey: string }} TlsPaths PEM files */
/**
 * A server of the kit's own is one that can be killed, paused and restarted; without `args`, `tls` and `own`, a server
 * that the environment names (`STREAMER_TEST_MYSQL_URL`) is used instead.
 * @typedef {{ args?: string[], tls?: boolean, own?: boolean }} ServerOptions
 */
/** @typedef {ServerOptions & { members?: 1 | 3 }} MongodbOptions */
/**
 * @typedef {object} Server
 * @property {Kind} kind
 * @property {string} name
 * @property {number} port on 127.0.0.1
 * @property {string} socket unix socket of MySQL and MariaDB
 * @property {string} url root, without a database
 * @property {string} version as the server says it
 * @property {string} dataDir
 * @property {TlsPaths | null} tls
 * @property {boolean} external was running before, and cannot be ended
 * @property {() => Promise<void>} kill at once, as a crash
 * @property {() => Promise<void>} stop in an orderly way
 * @property {() => Promise<void>} pause connections stay open, nothing answers
 * @property {() => Promise<void>} resume
 * @property {(args?: string[]) => Promise<void>} restart on the same port and data; `args` replace the former ones
 * @property {() => Promise<void>} remove ends it and deletes its data
 */
/**
 * @typedef {{ kind: 'heal' | 'drip' }
 *   | { kind: 'cut', how?: 'rst' | 'fin', once?: boolean }
 *   | { kind: 'blackhole', direction?: 'both' | 'toServer' | 'toClient' }
 *   | { kind: 'throttle', bytes: number }
 *   | { kind: 'resetAfter', bytes: number, how?: 'rst' | 'fin' }} Fault
 */
/**
 * @typedef {object} Counters
 * @property {number} connections taken
 * @property {number} open open now
 * @property {number} toServer bytes delivered
 * @property {number} toClient bytes delivered
 * @property {number} resets connections closed by a fault
 * @property {number} refused connections closed as soon as they were taken
 * @property {number} held bytes swallowed by a black hole
 * @property {number} drips bytes delivered one by one
 * @property {number} throttled bytes delivered slowly
 */
/**
 * @typedef {object} Proxy
 * @property {string} name
 * @property {number} port on 127.0.0.1
 * @property {string} url the server's, through the proxy
 * @property {(server: Server) => Promise<void>} lead new connections go to another server, as when an address moves
 * @property {(fault: Fault) => Promise<void>} fault holds until another one; after a cut, the connections are closed
 * @property {() => Promise<Counters>} counters
 */
/**
 * @typedef {object} Kit
 * @property {(options?: ServerOptions) => Promise<Server>} mysql
 * @property {(options?: ServerOptions) => Promise<Server>} mariadb
 * @property {(options?: MongodbOptions) => Promise<Server>} mongodb a replica set of one member or three
 * @property {(options?: ServerOptions) => Promise<Server>} redis
 * @property {(server: Server) => Promise<Proxy>} proxy breaks connections to a server
 * @property {() => Promise<void>} close ends every server
 */

/** When a file or anything in a folder was last changed. @param {string} file @returns {number} */
function changedAt(file) {
  const stat = fs.statSync(file)
  if (!stat.isDirectory()) return stat.mtimeMs
  return Math.max(...fs.readdirSync(file).map(name => changedAt(path.join(file, name))))
}

/** The kit's binary, built where it is missing or older than its sources. */
function binary() {
  if (process.env.STREAMER_TESTKIT) return process.env.STREAMER_TESTKIT
  const file = path.join(
    TARGET,
    'debug',
    process.platform === 'win32' ? 'streamer-testkit.exe' : 'streamer-testkit'
  )
  const crate = path.join(ROOT, 'crates/streamer-testkit')
  const sources = [path.join(crate, 'src'), path.join(crate, 'Cargo.toml')]
  if (fs.existsSync(file) && sources.every(source => changedAt(source) <= changedAt(file))) return file
  const { status, error } = spawnSync('cargo', ['build', '--locked', '--quiet', '-p', 'streamer-testkit'], {
    cwd: ROOT,
    stdio: 'inherit',
  })
  if (status !== 0)
    throw new Error(`the test kit could not be built: ${error?.message ?? `cargo ended with ${status}`}`)
  return file
}

/**
 * Starts the kit. It keeps the process alive only while an answer is awaited, and ends with it.
 * @returns {Promise<Kit>}
 */
async function openKit() {
  const child = spawn(binary(), ['serve'], { stdio: ['pipe', 'pipe', 'inherit'] })
  /** @type {Map<number, { resolve: (value: any) => void, reject: (error: Error) => void }>} */
  const waiting = new Map()
  const handles = /** @type {any[]} */ ([child, child.stdin, child.stdout])
  /** @type {string | undefined} */
  let ended
  let lastId = 0
  const exited = new Promise(resolve => child.once('close', resolve))

  /** @param {string} why */
  function end(why) {
    ended ??= why
    for (const { reject } of waiting.values()) reject(new Error(ended))
    waiting.clear()
  }
  child.once('error', error => end(`the test kit could not be started: ${error.message}`))
  child.once('close', (code, signal) => end(`the test kit has ended (${signal ?? code})`))
  // The end of the child says more than the broken pipe that it causes.
  child.stdin.on('error', () => {})
  readline.createInterface({ input: child.stdout }).on('line', line => {
    const { id, ok, error } = JSON.parse(line)
    const promise = waiting.get(id)
    waiting.delete(id)
    if (waiting.size === 0) for (const handle of handles) handle.unref()
    if (error === undefined) promise?.resolve(ok ?? undefined)
    else promise?.reject(new Error(error))
  })
  for (const handle of handles) handle.unref()

  /** @param {object} command @returns {Promise<any>} */
  function ask(command) {
    if (ended) return Promise.reject(new Error(ended))
    const id = ++lastId
    for (const handle of handles) handle.ref()
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject })
      child.stdin.write(`${JSON.stringify({ id, ...command })}\n`)
    })
  }

  /** @param {Kind} kind @param {MongodbOptions} [options] @returns {Promise<Server>} */
  async function start(kind, options = {}) {
    const facts = await ask({ do: 'start', server: kind, ...options })
    const { name } = facts
    if (facts.external && kind !== 'mongodb' && kind !== 'redis') facts.version = await versionOf(facts.url)
    return {
      kind,
      ...facts,
      tls: facts.tls ?? null,
      kill: () => ask({ do: 'kill', name }),
      stop: () => ask({ do: 'stop', name }),
      pause: () => ask({ do: 'pause', name }),
      resume: () => ask({ do: 'resume', name }),
      restart: args => ask({ do: 'restart', name, ...(args && { args }) }),
      remove: () => ask({ do: 'remove', name }),
    }
  }

  return {
    mysql: options => start('mysql', options),
    mariadb: options => start('mariadb', options),
    mongodb: options => start('mongodb', options),
    redis: options => start('redis', options),
    async proxy(server) {
      const url = new URL(server.url)
      const place = ({ url, port }) => `${new URL(url).hostname}:${port}`
      const { name, port } = await ask({ do: 'proxy', to: place(server) })
      return {
        name,
        port,
        url: server.url.replace(url.host, `127.0.0.1:${port}`),
        lead: other => ask({ do: 'lead', name, to: place(other) }),
        fault: fault => ask({ do: 'fault', name, ...fault }),
        counters: () => ask({ do: 'counters', name }),
      }
    },
    async close() {
      child.ref()
      child.stdin.end()
      await exited
    },
  }
}

/** @param {string} url @returns {Promise<string>} */
async function versionOf(url) {
  const connection = await mysql.createConnection({ uri: url })
  const [rows] = await connection.query('SELECT VERSION() AS version')
  await connection.end()
  return /** @type {any[]} */ (rows)[0].version
}

/** @type {Promise<Kit> | undefined} */
let sharedKit
/** @type {Map<Kind, Promise<Server>>} */
const sharedServers = new Map()

/**
 * One server of a kind for all tests of this process, which must leave it as it was: no kill, no pause, no global
 * setting. It ends with the process.
 * @param {Kind} kind
 * @returns {Promise<Server>}
 */
function sharedServer(kind) {
  const known = sharedServers.get(kind)
  if (known) return known
  sharedKit ??= openKit()
  const server = sharedKit.then(kit => kit[kind]())
  sharedServers.set(kind, server)
  return server
}

let databases = 0

/**
 * A database of its own for a test, on MySQL or MariaDB.
 * @param {Server} server
 */
async function freshDatabase(server) {
  // Unique also on a server that several machines share.
  const name = `t${++databases}_${process.pid}_${randomBytes(3).toString('hex')}`
  /** @param {string} statement */
  const administer = async statement => {
    const admin = await mysql.createConnection({ uri: server.url })
    try {
      await admin.query(statement)
    } finally {
      await admin.end()
    }
  }
  await administer(`CREATE DATABASE \`${name}\` CHARACTER SET utf8mb4`)
  return {
    name,
    url: `${server.url}/${name}`,
    /** A connection to it. @param {import('mysql2/promise').ConnectionOptions} [options] */
    connect: (options = {}) => mysql.createConnection({ uri: server.url, database: name, ...options }),
    drop: () => administer(`DROP DATABASE \`${name}\``),
  }
}

/**
 * Looks again and again until `check` returns something truthy, which is returned. Where it does not within the
 * deadline, the error says what it returned, or threw, last.
 * @template T
 * @param {() => T | Promise<T>} check
 * @param {{ deadlineMs?: number, what?: string }} [options]
 * @returns {Promise<NonNullable<Awaited<T>>>}
 */
async function eventually(check, { deadlineMs = DEADLINE_MS, what = 'a condition' } = {}) {
  const end = Date.now() + deadlineMs
  for (;;) {
    /** @type {unknown} */
    let cause
    /** @type {string} */
    let last
    try {
      const value = await check()
      if (value) return /** @type {NonNullable<Awaited<T>>} */ (value)
      last = `it returned ${inspect(value)}`
    } catch (error) {
      cause = error
      last = `it threw ${error instanceof Error ? error.message : inspect(error)}`
    }
    if (Date.now() >= end) throw new Error(`Waited ${deadlineMs} ms for ${what}; last, ${last}.`, { cause })
    await new Promise(resolve => setTimeout(resolve, POLL_MS))
  }
}

module.exports = { eventually, freshDatabase, openKit, sharedServer }
