'use strict'

// A SQLite database of a test's own, written to by another process: Python's, which every machine that runs the tests has.

const { spawn } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const readline = require('node:readline')

const WRITER = path.join(__dirname, 'sqlite-writer.py')

/** A value as a change shows it. */
function shown(value) {
  if (value === null || typeof value !== 'object') return value
  if (value.blob !== undefined) return Buffer.from(value.blob, 'hex')
  if (value.integer !== undefined) return BigInt(value.integer)
  return value.infinity * Infinity
}

/** Another process with a connection. */
class Writer {
  #process
  #waiting = []

  constructor(file) {
    this.#process = spawn('python3', [WRITER, 'serve', file], { stdio: ['pipe', 'pipe', 'inherit'] })
    readline.createInterface({ input: this.#process.stdout }).on('line', line => {
      const { resolve, reject } = this.#waiting.shift()
      const answer = JSON.parse(line)
      if (answer.error) reject(new Error(answer.error))
      else
        resolve(
          answer.rows.map(row =>
            Object.fromEntries(Object.entries(row).map(([name, value]) => [name, shown(value)]))
          )
        )
    })
  }

  #ask(command) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      this.#process.stdin.write(`${JSON.stringify(command)}\n`)
    })
  }

  /** Runs statements, each in a transaction of its own where none is begun. @param {string} sql */
  run(sql) {
    return this.#ask({ run: sql })
  }

  /** Rows of a query. @param {string} sql @returns {Promise<any[]>} */
  query(sql) {
    return this.#ask({ query: sql })
  }

  close() {
    this.#process.stdin.end()
    return new Promise(resolve => this.#process.once('exit', resolve))
  }
}

/** A new database in a folder of its own. @param {string} [sql] @param {{ journal?: string }} [options] */
async function freshSqlite(sql = '', { journal = 'wal' } = {}) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'streamer-sqlite-'))
  const file = path.join(folder, 'app.db')
  const writers = [new Writer(file)]
  await writers[0].query(`PRAGMA journal_mode = ${journal}`)
  await writers[0].run(sql)
  return {
    folder,
    file,
    url: `sqlite:${file}`,
    run: text => writers[0].run(text),
    query: text => writers[0].query(text),
    writer() {
      writers.push(new Writer(file))
      return writers.at(-1)
    },
    async drop() {
      await Promise.all(writers.map(writer => writer.close()))
      fs.rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Runs the writer in a mode; resolves with what it printed. @param {string[]} args */
function write(args) {
  return new Promise((resolve, reject) => {
    const child = spawn('python3', [WRITER, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    child.stdout.on('data', chunk => (output += chunk))
    child.on('error', reject)
    child.on('exit', code =>
      code === 0 ? resolve(output) : reject(new Error(`the writer exited with ${code}`))
    )
  })
}

module.exports = { WRITER, freshSqlite, write }
