'use strict'

// What a change costs when there are many tables, when there are many columns, and when most tables are not wanted.

const { freshDatabase } = require('../__test__/support/servers')
const { emptyLog } = require('./drain')
const { measure } = require('./run')

/** Rows of one statement. */
const STATEMENT = 100

/** Half numbers, half texts. @param {number} count */
const columnsOf = count =>
  Array.from({ length: count }, (_, n) => `column_${n} ${n % 2 === 0 ? 'INT' : 'VARCHAR(30)'}`)

/** @param {number} count @param {number} n */
const valuesOf = (count, n) =>
  Array.from({ length: count }, (_, column) => (column % 2 === 0 ? n + column : `text ${n} of ${column}`))

/** Fills a log with rows of many tables in turn. */
async function fillTables(server, { tables, columns, rows }) {
  const database = await freshDatabase(server)
  const connection = await database.connect()
  for (let t = 0; t < tables; t++)
    await connection.query(`CREATE TABLE t${t} (id INT PRIMARY KEY, ${columnsOf(columns - 1).join(', ')})`)
  await emptyLog(connection, server.kind)
  for (let first = 0, t = 0; first < rows; first += STATEMENT, t = (t + 1) % tables) {
    const values = []
    for (let n = first; n < first + STATEMENT; n++) values.push([n, ...valuesOf(columns - 1, n)])
    await connection.query(`INSERT INTO t${t} VALUES ?`, [values])
  }
  await connection.end()
  return database
}

/** Drains tables; figures of each run. */
async function drainTables({ url }, tables, rows, runs) {
  const reports = []
  for (let run = 0; run < runs; run++) {
    reports.push(await measure('ultimate', 'drainValues', { url, tables, from: 'earliest', rows }))
  }
  return reports
}

/** @param {any} server @param {{ rows: number, runs: number, tables: number }} options */
async function manyTables(server, { rows, runs, tables }) {
  const database = await fillTables(server, { tables, columns: 10, rows })
  const reports = await drainTables(database, ['*'], rows, runs)
  await database.drop()
  return reports
}

/** @param {any} server @param {{ rows: number, runs: number, columns: number }} options */
async function manyColumns(server, { rows, runs, columns }) {
  const database = await fillTables(server, { tables: 1, columns, rows })
  const reports = await drainTables(database, ['*'], rows, runs)
  await database.drop()
  return reports
}

/** All of 100 tables, and one of them: from the start of the stream to its last row. */
async function filtered(server, { rows, runs }) {
  const tables = 100
  const database = await fillTables(server, { tables, columns: 10, rows })
  const all = await drainTables(database, ['*'], rows, runs)
  const one = await drainTables(database, [`t${tables - 1}`], rows / tables, runs)
  await database.drop()
  return { all, one }
}

module.exports = { filtered, manyColumns, manyTables }

if (require.main === module) {
  const { print, runAlone } = require('./alone')
  const { SERVER } = require('./drain')
  runAlone({ rows: '200000', runs: '3', server: 'mariadb' }, async (kit, values) => {
    const server = await kit[values.server]({ args: SERVER })
    const options = { rows: Number(values.rows), runs: Number(values.runs) }
    const results = new Map()
    for (const tables of [1, 20, 200])
      results.set(`${tables} tables`, await manyTables(server, { ...options, tables }))
    for (const columns of [10, 30, 100])
      results.set(
        `${columns} columns`,
        await manyColumns(server, { ...options, columns, rows: options.rows / 4 })
      )
    const { all, one } = await filtered(server, options)
    results.set('100 tables, all', all).set('100 tables, one wanted', one)
    print('scale', results)
  })
}
