'use strict'

// Real servers for a test file: started by the test kit on free ports, with data directories of their own; gone with the process.

const { spawn, spawnSync } = require('node:child_process')
const path = require('node:path')
const readline = require('node:readline')
const mysql = require('mysql2/promise')

const ROOT = path.join(__dirname, '../..')

/**
 * @typedef {object} Server
 * @property {'mysql' | 'mariadb'} kind
 * @property {string} name
 * @property {number} port
 * @property {string} socket
 * @property {string} url root, without a database
 * @property {string} version
 * @property {{ ca: string, cert: string, key: string, clientCert: string, clientKey: string } | null} tls
 * @property {() => Promise<void>} kill
 * @property {() => Promise<void>} stop
 * @property {() => Promise<void>} pause
 * @property {() => Promise<void>} resume
 * @property {(args?: string[]) => Promise<void>} restart
 */
/** @typedef {{ args?: string[], tls?: boolean }} ServerOptions */

/** Starts the kit; `close()` ends every server that it started. */
async function openKit() {
  const built = spawnSync('cargo', ['build', '--locked', '--quiet', '-p', 'streamer-testkit'], {
    cwd: ROOT,
    stdio: 'inherit',
  })
  if (built.status !== 0) throw new Error('the test kit could not be built')
  const child = spawn(path.join(ROOT, 'target/debug/streamer-testkit'), ['serve'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  /** @type {Map<number, { resolve: (value: any) => void, reject: (error: Error) => void }>} */
  const waiting = new Map()
  let lastId = 0
  readline.createInterface({ input: child.stdout }).on('line', line => {
    const { id, ok, error } = JSON.parse(line)
    const promise = waiting.get(id)
    waiting.delete(id)
    if (error) promise?.reject(new Error(error))
    else promise?.resolve(ok)
  })
  const exited = new Promise(resolve => child.once('exit', resolve))
  child.once('exit', code => {
    for (const { reject } of waiting.values()) reject(new Error(`the test kit exited with ${code}`))
  })

  /** @param {object} command @returns {Promise<any>} */
  function ask(command) {
    const id = ++lastId
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject })
      child.stdin.write(`${JSON.stringify({ id, ...command })}\n`)
    })
  }

  /** @param {'mysql' | 'mariadb'} kind @param {ServerOptions} [options] @returns {Promise<Server>} */
  async function start(kind, { args = [], tls = false } = {}) {
    const facts = await ask({ do: 'start', server: kind, args, tls })
    const { name } = facts
    const connection = await mysql.createConnection({ uri: facts.url })
    const [rows] = await connection.query('SELECT VERSION() AS version')
    await connection.end()
    return {
      kind,
      ...facts,
      version: /** @type {any[]} */ (rows)[0].version,
      kill: () => ask({ do: 'kill', name }),
      stop: () => ask({ do: 'stop', name }),
      pause: () => ask({ do: 'pause', name }),
      resume: () => ask({ do: 'resume', name }),
      restart: args => ask({ do: 'restart', name, ...(args && { args }) }),
    }
  }

  return {
    /** @param {ServerOptions} [options] */
    mysql: options => start('mysql', options),
    /** @param {ServerOptions} [options] */
    mariadb: options => start('mariadb', options),
    /** A proxy in front of a server that breaks connections. @param {Server} server */
    async proxy(server) {
      const { name, port } = await ask({ do: 'proxy', to: server.port })
      return {
        port,
        /** @param {{ kind: string, bytes?: number }} fault */
        fault: fault => ask({ do: 'fault', name, ...fault }),
        /** @returns {Promise<{ connections: number, toServer: number, toClient: number, resets: number, held: number, drips: number }>} */
        counters: () => ask({ do: 'counters', name }),
      }
    },
    async close() {
      child.stdin.end()
      await exited
    },
  }
}

let databases = 0

/** A database of its own for a test. @param {Server} server */
async function freshDatabase(server) {
  const name = `t${process.pid}_${++databases}`
  const admin = await mysql.createConnection({ uri: server.url })
  await admin.query(`CREATE DATABASE \`${name}\` CHARACTER SET utf8mb4`)
  await admin.end()
  return {
    name,
    url: `${server.url}/${name}`,
    /** @param {object} [options] */
    connect: (options = {}) => mysql.createConnection({ uri: server.url, database: name, ...options }),
  }
}

module.exports = { freshDatabase, openKit }
