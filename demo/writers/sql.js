'use strict'

// Writes to a small shop on MySQL or MariaDB: `node sql.js URL TABLE`. The table is made, and dropped in the end.

const mysql = require('mysql2/promise')
const { below, product, work } = require('./common')

async function main() {
  const [url, table] = process.argv.slice(2)
  const shop = await mysql.createConnection({ uri: url })
  await shop.query(
    `CREATE TABLE ${table} (id INT PRIMARY KEY, product VARCHAR(20), pieces INT, price DOUBLE, at DOUBLE)`
  )
  const one = `WHERE id = (SELECT id FROM (SELECT id FROM ${table} ORDER BY RAND() LIMIT 1) chosen)`
  await work(
    async id => {
      await shop.query('BEGIN')
      await shop.query(`INSERT INTO ${table} VALUES (?)`, [Object.values(product(id))])
      await shop.query(`UPDATE ${table} SET pieces = pieces + 1, at = ? ${one}`, [Date.now()])
      if (below(4) === 0) await shop.query(`DELETE FROM ${table} ${one}`)
      await shop.query('COMMIT')
    },
    async () => {
      const [rows] = await shop.query(`SELECT * FROM ${table}`)
      return /** @type {object[]} */ (rows)
    }
  )
  await new Promise(resolve => process.once('message', resolve))
  await shop.query(`DROP TABLE ${table}`)
  await shop.end()
  process.disconnect?.()
}

main()
