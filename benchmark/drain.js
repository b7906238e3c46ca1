'use strict'

// How fast a log that is already there is read to the end: rows a second from the first row to the last, in the steady state that a
// reader falls back to whenever it has fallen behind.

const { freshDatabase } = require('../__test__/support/servers')
const { alternate, measure } = require('./run')
const { COLUMNS, checksum, insert, insertBlocks, insertSingly, logEnd } = require('./workload')

/** Who takes part, and with which of its measurements. */
const CONTENDERS = {
  'server alone': ['socket', 'drain'],
  'ultimate-streaming, batch': ['ultimate', 'drain'],
  'ultimate-streaming, change': ['ultimate', 'drainSingly'],
  '@vlasky/zongji': ['zongji', 'drain'],
  '@powersync/mysql-zongji': ['powersync', 'drain'],
}

/** How servers are started: with names of columns in the log, which every reader here can use. */
const SERVER = ['--binlog-row-metadata=FULL']

/** What each of them reads. */
const SHAPES = [
  { title: 'transactions of 1,000 rows, one statement each', each: 1000, singly: false },
  { title: 'transactions of 1,000 rows, one row a statement', each: 1000, singly: true },
  { title: 'one row a statement, one statement a transaction', each: 1, singly: true },
]

/** Rows that a long log repeats. */
const BLOCK = 100_000

/** Empties the log, so that what follows is all of it. @param {any} connection @param {string} kind */
async function emptyLog(connection, kind) {
  await connection.query(kind === 'mysql' ? 'RESET BINARY LOGS AND GTIDS' : 'RESET MASTER')
}

/** Fills a log; where it begins, and what its rows add up to. */
async function fill(server, shape, rows) {
  const database = await freshDatabase(server)
  const connection = await database.connect()
  await connection.query(`CREATE TABLE origin (${COLUMNS})`)
  await connection.query(`CREATE TABLE t (${COLUMNS})`)
  if (shape.singly) await insert(connection, 'origin', rows)
  await emptyLog(connection, server.kind)
  const at = await logEnd(connection)
  if (shape.singly) await insertSingly(connection, 'origin', 't', rows, shape.each)
  else await insert(connection, 't', rows, shape.each)
  await connection.end()
  return {
    database,
    task: { url: database.url, tables: ['t'], from: 'earliest', at, rows, sum: checksum(0, rows) },
  }
}

/** A log of many rows, cheaply made: the same again and again. @param {any} server @param {number} rows */
async function longLog(server, rows) {
  const database = await freshDatabase(server)
  const connection = await database.connect()
  await connection.query(`CREATE TABLE origin (${COLUMNS})`)
  // Keeps nothing but what is in the log.
  await connection.query(`CREATE TABLE t (${COLUMNS.replace(' PRIMARY KEY', '')}) ENGINE=MyISAM`)
  await insert(connection, 'origin', BLOCK)
  await emptyLog(connection, server.kind)
  const at = await logEnd(connection)
  await insertBlocks(connection, 'origin', 't', rows, BLOCK)
  await connection.end()
  const sum = Number(BigInt.asIntN(32, BigInt(checksum(0, BLOCK)) * BigInt(rows / BLOCK)))
  return { database, task: { url: database.url, tables: ['t'], from: 'earliest', at, rows, sum } }
}

/** Measures one kind of log on one server. */
async function drainShape(server, shape, { rows, runs, contenders = Object.keys(CONTENDERS) }) {
  const { database, task } = await fill(server, shape, rows)
  const results = await alternate(runs, contenders, async name => {
    const [file, kind] = CONTENDERS[name]
    const report = await measure(file, kind, task)
    if (report.rows !== rows || report.sum !== task.sum)
      throw new Error(
        `${name} gave ${report.rows} rows that add up to ${report.sum}, not ${rows} and ${task.sum}`
      )
    return report
  })
  await database.drop()
  return results
}

module.exports = { CONTENDERS, SERVER, SHAPES, drainShape, emptyLog, fill, longLog }

if (require.main === module) {
  const { runAlone } = require('./alone')
  const defaults = { rows: '300000', runs: '3', server: 'mariadb,mysql', shape: '0,1,2', only: '' }
  runAlone(defaults, async (kit, values, print) => {
    for (const kind of values.server.split(',')) {
      const server = await kit[kind]({ args: SERVER })
      for (const index of values.shape.split(',')) {
        const shape = SHAPES[Number(index)]
        const contenders = Object.keys(CONTENDERS).filter(name => new RegExp(values.only).test(name))
        const options = { rows: Number(values.rows), runs: Number(values.runs), contenders }
        print(`${kind} ${server.version}: ${shape.title}`, await drainShape(server, shape, options))
      }
      await server.remove()
    }
  })
}
