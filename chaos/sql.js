'use strict'

// MySQL and MariaDB under chaos: tables, the writer's transactions, and the faults that only they have.

const mysql = require('mysql2/promise')

const TABLES = 6

/** @typedef {import('../__test__/support/servers').Server} Server */

class Sql {
  /** @param {'mysql' | 'mariadb'} kind */
  constructor(kind) {
    this.kind = kind
    this.database = 'chaos'
    /** Names of the columns of the table that the DDL storm changes. */
    this.ddl = 0
  }

  /** @param {import('../__test__/support/servers').Kit} kit */
  async start(kit) {
    const args = ['--binlog-row-metadata=' + (this.kind === 'mysql' ? 'MINIMAL' : 'NO_LOG')]
    // So that a crash loses nothing that was acknowledged.
    args.push('--sync-binlog=1', '--innodb-flush-log-at-trx-commit=1')
    this.server = await kit[this.kind]({ own: true, args })
    const connection = await mysql.createConnection({ uri: this.server.url })
    await connection.query('CREATE DATABASE chaos')
    await connection.query('USE chaos')
    await connection.query('CREATE TABLE truth (n INT PRIMARY KEY)')
    for (let t = 0; t < TABLES; t++)
      await connection.query(`CREATE TABLE t${t} (id INT PRIMARY KEY, v INT NOT NULL, text VARCHAR(100))`)
    await connection.query('CREATE TABLE shape (id INT PRIMARY KEY, c0 VARCHAR(20))')
    await connection.end()
    return this.server
  }

  /** The URL of the database through a proxy. @param {{ port: number }} proxy */
  url(proxy) {
    const url = new URL(/** @type {Server} */ (this.server).url)
    url.port = String(proxy.port)
    url.pathname = '/chaos'
    return url.href
  }

  connect() {
    return mysql.createConnection({
      uri: /** @type {Server} */ (this.server).url,
      database: 'chaos',
      connectTimeout: 2000,
    })
  }

  /** The newest number that is committed. @param {any} connection */
  async newest(connection) {
    const [rows] = await connection.query('SELECT COALESCE(MAX(n), 0) AS n FROM truth')
    return Number(rows[0].n)
  }

  /** One transaction, which writes the number `n`. @param {any} connection @param {number} n @param {any} rng */
  async transact(connection, n, rng) {
    await connection.query('BEGIN')
    const changes = 1 + rng.below(8)
    for (let change = 0; change < changes; change++) {
      const [table, id] = [`t${rng.below(TABLES)}`, rng.below(200)]
      if (rng.next() < 0.25) await connection.query(`DELETE FROM ${table} WHERE id = ?`, [id])
      else {
        await connection.query(
          `INSERT INTO ${table} VALUES (?, 1, ?) ON DUPLICATE KEY UPDATE v = v + 1, text = VALUES(text)`,
          [id, `n${n}`]
        )
      }
    }
    if (n % 10 === 0) await connection.query('INSERT INTO shape VALUES (?, ?)', [n, `c${this.ddl}`])
    await connection.query('INSERT INTO truth VALUES (?)', [n])
    await connection.query('COMMIT')
  }

  /** Renames a column, back and forth with others around it; rows tell the name that was valid. @param {any} connection */
  async storm(connection) {
    for (let turn = 0; turn < 3; turn++) {
      await connection.query(`ALTER TABLE shape CHANGE c${this.ddl} c${this.ddl + 1} VARCHAR(20)`)
      this.ddl++
      await connection.query(`ALTER TABLE shape ADD COLUMN extra${this.ddl} INT FIRST`)
      await connection.query(`ALTER TABLE shape DROP COLUMN extra${this.ddl}`)
    }
  }

  /** Everything that the tables hold. @param {any} connection @returns {Promise<Map<string, Map<number, any>>>} */
  async contents(connection) {
    const contents = new Map()
    for (let t = 0; t < TABLES; t++) {
      const [rows] = await connection.query(`SELECT * FROM t${t}`)
      contents.set(`t${t}`, new Map(rows.map(row => [row.id, { ...row }])))
    }
    return contents
  }

  /** Kills the dumps of all readers; returns how many. @param {any} connection */
  async killReaders(connection) {
    const [rows] = await connection.query(
      "SELECT ID AS id FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'"
    )
    for (const { id } of rows) await connection.query(`KILL ${id}`).catch(() => {})
    return rows.length
  }

  /** Begins a new log file. @param {any} connection */
  async rotate(connection) {
    await connection.query('FLUSH BINARY LOGS')
  }

  /** Whether a change's columns are those that were valid when it was written. @param {any} change */
  hasRightShape(change) {
    if (change.table !== 'shape' || change.op !== 'insert') return true
    const names = Object.keys(change.after).filter(name => name !== 'id')
    return names.length === 1 && change.after[names[0]] === names[0]
  }
}

module.exports = { Sql }
