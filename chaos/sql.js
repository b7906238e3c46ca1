'use strict'

// MySQL and MariaDB under chaos: tables, the writer's transactions, and the faults that only they have.

const mysql = require('mysql2/promise')
const { eventually } = require('../__test__/support/servers')

const TABLES = 6

/** What makes a server one that can be replicated by GTID, and a replica follow it. */
const KINDS = {
  mysql: {
    args: ['--gtid-mode=ON', '--enforce-gtid-consistency=ON', '--binlog-row-metadata=MINIMAL'],
    follow: port =>
      `CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = ${port}, SOURCE_USER = 'copier',
       SOURCE_PASSWORD = 'copied', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_CONNECT_RETRY = 1,
       SOURCE_RETRY_COUNT = 100000`,
    start: 'START REPLICA',
    promote: ['STOP REPLICA', 'RESET REPLICA ALL'],
    purge: 'SHOW BINARY LOG STATUS',
  },
  mariadb: {
    args: ['--log-slave-updates=ON', '--gtid-strict-mode=ON', '--binlog-row-metadata=NO_LOG'],
    follow: port =>
      `CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = ${port}, MASTER_USER = 'copier',
       MASTER_PASSWORD = 'copied', MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1`,
    start: 'START SLAVE',
    promote: ['STOP SLAVE', 'RESET SLAVE ALL'],
    purge: 'SHOW MASTER STATUS',
  },
}
/** So that a crash loses nothing that was acknowledged. */
const DURABLE = ['--sync-binlog=1', '--innodb-flush-log-at-trx-commit=1']

/** @typedef {import('../__test__/support/servers').Server} Server */

class Sql {
  /** @param {'mysql' | 'mariadb'} kind */
  constructor(kind) {
    this.kind = kind
    this.database = 'chaos'
    /** @type {Server | null} */
    this.server = null
    /** Takes over once; `null` from then on. @type {Server | null} */
    this.replica = null
    /** Names of the columns of the table that the DDL storm changes. */
    this.ddl = 0
  }

  /** @param {import('../__test__/support/servers').Kit} kit */
  async start(kit) {
    const { args, follow, start } = KINDS[this.kind]
    const begin = id => kit[this.kind]({ args: [...args, ...DURABLE, `--server-id=${id}`] })
    this.server = await begin(11)
    this.replica = await begin(12)
    const connection = await mysql.createConnection({ uri: this.server.url })
    await connection.query("CREATE USER 'copier'@'%' IDENTIFIED BY 'copied'")
    await connection.query("GRANT REPLICATION SLAVE ON *.* TO 'copier'@'%'")
    const replica = await mysql.createConnection({ uri: this.replica.url })
    await replica.query(follow(this.server.port))
    await replica.query(start)
    await replica.end()
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
      "SELECT ID AS id FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%' AND USER <> 'copier'"
    )
    for (const { id } of rows) await connection.query(`KILL ${id}`).catch(() => {})
    return rows.length
  }

  /** Begins a new log file. @param {any} connection */
  async rotate(connection) {
    await connection.query('FLUSH BINARY LOGS')
  }

  /** Removes every log but the last, where nobody needs them; returns how many. @param {any} connection */
  async purge(connection) {
    if (this.replica !== null) await this.#replicated(connection)
    const logs = async () => (await connection.query('SHOW BINARY LOGS'))[0].length
    const before = await logs()
    const [[{ File: file }]] = await connection.query(KINDS[this.kind].purge)
    // A log that a dump still has open stays.
    const purged = async () => {
      await connection.query('PURGE BINARY LOGS TO ?', [file])
      return before - (await logs())
    }
    return eventually(purged, { what: 'a log to be purged' })
  }

  /** Begins the log anew, and lets it grow to where it was. @param {any} connection */
  async reset(connection) {
    if (this.kind === 'mysql') {
      const [[{ executed }]] = await connection.query('SELECT @@global.gtid_executed AS executed')
      await connection.query('RESET BINARY LOGS AND GTIDS')
      await connection.query(`SET GLOBAL gtid_purged = '${executed}'`)
    } else {
      const [[{ position }]] = await connection.query('SELECT @@global.gtid_binlog_pos AS position')
      await connection.query('RESET MASTER')
      await connection.query(`SET SESSION gtid_seq_no = ${position.split('-')[2]}`)
    }
    await connection.query('INSERT INTO t0 VALUES (-1, 1, NULL)')
  }

  /** Resolves when the replica has everything; nothing is written meanwhile. @param {any} connection */
  async #replicated(connection) {
    const n = await this.newest(connection)
    const replica = await mysql.createConnection({
      uri: /** @type {Server} */ (this.replica).url,
      database: 'chaos',
    })
    const newest = () => this.newest(replica).catch(() => -1)
    await eventually(async () => (await newest()) === n, {
      deadlineMs: 60_000,
      what: 'the replica to have everything',
    })
    await replica.end()
  }

  /** The server dies, its replica takes over, and the readers' addresses lead there. @param {any} connection @param {any[]} proxies */
  async failOver(connection, proxies) {
    const { server, replica } = /** @type {{ server: Server, replica: Server }} */ (this)
    await this.#replicated(connection)
    await server.kill()
    const promoted = await mysql.createConnection({ uri: replica.url })
    for (const sql of KINDS[this.kind].promote) await promoted.query(sql)
    await promoted.end()
    this.server = replica
    this.replica = null
    await Promise.all(proxies.map(proxy => proxy.lead(replica)))
    connection.destroy()
  }

  /** Whether a change's columns are those that were valid when it was written. @param {any} change */
  hasRightShape(change) {
    if (change.table !== 'shape' || change.op !== 'insert') return true
    const names = Object.keys(change.after).filter(name => name !== 'id')
    return names.length === 1 && change.after[names[0]] === names[0]
  }
}

module.exports = { Sql }
