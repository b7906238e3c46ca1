'use strict'

// The table of `benchmark/snapshot.js` in each kind of database: made, filled, written to at a pace, read by the usual client.

const { spawn } = require('node:child_process')
const path = require('node:path')
const readline = require('node:readline')
const mysql = require('mysql2/promise')
const { MongoClient } = require('mongodb')
const { freshDatabase } = require('../../__test__/support/servers')
const { freshMongodb } = require('../../__test__/support/mongodb')
const { freshSqlite } = require('../../__test__/support/sqlite')

/** Connections that write at a time: one alone waits for the disk too long. */
const WRITERS = 16

/** One row in so many is deleted after it was written. */
const DELETES = 50

const rowOf = id => [id, 0, `text of row ${id}`, `b${id % 1000}`]

/** Of a text column that is written: a few values. */
const someText = () => `written ${Math.floor(Math.random() * 1e6)}`

/**
 * Writes at a pace, with several writers. `end()` resolves with how often was written, and in how many seconds.
 * @param {number} rate @param {number} ids @param {{ write(id: number): Promise<unknown>, remove(id: number): Promise<unknown>, close(): Promise<unknown> }[]} writers
 */
function steady(rate, ids, writers) {
  let [isOver, written] = [false, 0]
  const began = performance.now()
  const elapsed = () => (performance.now() - began) / 1000
  const id = () => Math.floor(Math.random() * ids)
  const one = async writer => {
    while (!isOver) {
      if (written >= elapsed() * rate) {
        await new Promise(resolve => setTimeout(resolve, 1))
        continue
      }
      const number = ++written
      if (number % DELETES === 0) await writer.remove(id())
      else await writer.write(id())
    }
    await writer.close()
  }
  const all = Promise.all(writers.map(one))
  return {
    async end() {
      const seconds = elapsed()
      isOver = true
      await all
      return { written, seconds }
    },
  }
}

/** @param {'mariadb' | 'mysql'} kind */
const sql = kind => ({
  async open(kit) {
    const args = kind === 'mysql' ? ['--gtid-mode=ON', '--enforce-gtid-consistency=ON'] : []
    const server = await kit[kind]({ args })
    const database = await freshDatabase(server)
    const connection = await database.connect()
    return {
      url: database.url,
      name: `${kind === 'mysql' ? 'MySQL' : 'MariaDB'} ${server.version}`,
      async fill(count) {
        await connection.query(
          'CREATE TABLE t (id INT PRIMARY KEY, v INT NOT NULL, a VARCHAR(60), b VARCHAR(20))'
        )
        for (let from = 0; from < count; from += 10_000) {
          const rows = Array.from({ length: Math.min(10_000, count - from) }, (_, n) => rowOf(from + n))
          await connection.query('INSERT INTO t VALUES ?', [rows])
        }
      },
      async write(rate, ids) {
        const statement =
          'INSERT INTO t VALUES (?, 1, ?, NULL) ON DUPLICATE KEY UPDATE v = v + 1, a = VALUES(a)'
        const writer = async () => {
          const writing = await database.connect()
          const run = async (text, values) => {
            try {
              await writing.execute(text, values)
            } catch (error) {
              // Two rows beside each other, by two writers: the server gave one of them up.
              if (error.code !== 'ER_LOCK_DEADLOCK') throw error
              await run(text, values)
            }
          }
          return {
            write: id => run(statement, [id, someText()]),
            remove: id => run('DELETE FROM t WHERE id = ?', [id]),
            close: () => writing.end(),
          }
        }
        return steady(rate, ids, await Promise.all(Array.from({ length: WRITERS }, writer)))
      },
      finish: () =>
        connection
          .query('CREATE TABLE finished (id INT PRIMARY KEY)')
          .then(() => connection.query('INSERT INTO finished VALUES (1)')),
      async *rows() {
        const [rows] = await connection.query('SELECT * FROM t')
        yield* /** @type {any[]} */ (rows)
      },
      async close() {
        await connection.end()
        await server.remove()
      },
    }
  },
  async client(url) {
    const connection = await mysql.createConnection({ uri: url })
    return {
      all: async () => /** @type {any[]} */ ((await connection.query('SELECT * FROM t'))[0]).length,
      close: () => connection.end(),
    }
  },
  selects: '`SELECT *` through mysql2',
})

const mongodb = {
  async open(kit) {
    const server = await kit.mongodb()
    const database = await freshMongodb(server)
    const [t, finished] = ['t', 'finished'].map(name => database.db.collection(name))
    return {
      url: database.url,
      name: `MongoDB ${server.version}`,
      async fill(count) {
        for (let from = 0; from < count; from += 10_000) {
          const documents = Array.from({ length: Math.min(10_000, count - from) }, (_, n) => {
            const [_id, v, a, b] = rowOf(from + n)
            return { _id, v, a, b }
          })
          await t.insertMany(/** @type {any[]} */ (documents))
        }
      },
      async write(rate, ids) {
        const quick = database.client.db(database.name).collection('t', { writeConcern: { w: 1 } })
        const writer = () => ({
          write: id =>
            quick.updateOne(
              /** @type {any} */ ({ _id: id }),
              { $inc: { v: 1 }, $set: { a: someText() }, $setOnInsert: { b: null } },
              { upsert: true }
            ),
          remove: id => quick.deleteOne(/** @type {any} */ ({ _id: id })),
          close: () => Promise.resolve(),
        })
        return steady(rate, ids, Array.from({ length: WRITERS }, writer))
      },
      finish: () => finished.insertOne({}),
      async *rows() {
        for await (const { _id, ...rest } of t.find()) yield { id: _id, ...rest }
      },
      async close() {
        await database.client.close()
        await server.remove()
      },
    }
  },
  async client(url) {
    const client = await MongoClient.connect(url)
    return {
      all: async () => (await client.db().collection('t').find().toArray()).length,
      close: () => client.close(),
    }
  },
  selects: '`find()` of the driver',
}

const SQLITE_WRITER = path.join(__dirname, 'sqlite.py')

/** A process that writes or reads with Python's SQLite. @param {string[]} args */
function python(args) {
  const child = spawn('python3', [SQLITE_WRITER, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
  const line = new Promise((resolve, reject) => {
    readline.createInterface({ input: child.stdout }).once('line', resolve)
    child.once('error', reject)
    child.once('exit', code => code !== 0 && reject(new Error(`python3 ended with ${code}`)))
  })
  return { child, line }
}

const sqlite = {
  async open() {
    const database = await freshSqlite()
    const [{ version }] = await database.query('SELECT sqlite_version() AS version')
    return {
      url: database.url,
      name: `SQLite (writer ${version})`,
      async fill(count) {
        await database.run(`
          CREATE TABLE t (id INTEGER PRIMARY KEY, v INT NOT NULL, a TEXT, b TEXT);
          WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ${count - 1})
            INSERT INTO t SELECT i, 0, 'text of row ' || i, 'b' || (i % 1000) FROM n`)
      },
      async write(rate, ids) {
        const { child, line } = python(['write', database.file, String(rate), String(ids), String(DELETES)])
        return {
          async end() {
            child.stdin.end()
            const [written, seconds] = String(await line)
              .split(' ')
              .map(Number)
            return { written, seconds }
          },
        }
      },
      finish: () =>
        database.run('CREATE TABLE finished (id INTEGER PRIMARY KEY); INSERT INTO finished VALUES (1)'),
      async *rows() {
        for (let from = 0; ; from += 10_000) {
          const rows = await database.query(`SELECT * FROM t WHERE id >= ${from} AND id < ${from + 10_000}`)
          if (rows.length === 0) return
          yield* rows
        }
      },
      close: () => database.drop(),
    }
  },
  async client(url) {
    const file = url.replace('sqlite:', '')
    return {
      // Measured there: this process only waits.
      async report() {
        const [rows, seconds, atStart, peak] = String(await python(['select', file]).line)
          .split(' ')
          .map(Number)
        return { rows, seconds, atStart, peak }
      },
      close: () => Promise.resolve(),
    }
  },
  selects: '`fetchall()` of Python’s sqlite3',
}

module.exports = { mariadb: sql('mariadb'), mysql: sql('mysql'), mongodb, sqlite }
