'use strict'

// `npm run demo`: starts a MariaDB of its own (installed where it is missing), writes to a small shop, and prints every change as
// it arrives. Ends with Ctrl-C, or after --seconds.

const { parseArgs } = require('node:util')
const { addon, packages, servers } = require('./setup')

const { values } = parseArgs({ options: { seconds: { type: 'string' } } })

const PRODUCTS = ['tea', 'coffee', 'cocoa', 'maté', 'chai']
/** @param {number} n */
const below = n => Math.floor(Math.random() * n)

async function main() {
  packages()
  addon({ release: false })
  servers(['mariadb'])
  const { openKit, freshDatabase } = require('../__test__/support/servers')
  const { Streamer } = require('..')
  const kit = await openKit()
  const server = await kit.mariadb({ args: [] })
  const database = await freshDatabase(server)
  const connection = await database.connect()
  await connection.query(
    'CREATE TABLE stock (id INT PRIMARY KEY AUTO_INCREMENT, product VARCHAR(20), pieces INT UNSIGNED, price DECIMAL(6,2))'
  )
  console.log(`\nMariaDB ${server.version} at ${database.url}`)
  console.log('In another terminal: npx ultimate-streaming tail', database.url, '\n')

  const streamer = new Streamer(database.url)
  streamer.on('change', ({ op, table, key, before, after, changed, timestamp }) => {
    const what =
      op === 'update'
        ? changed.map(name => `${name} ${before[name]} → ${after[name]}`).join(', ')
        : JSON.stringify(after ?? before)
    console.log(
      `${new Date(timestamp).toISOString()}  ${op.padEnd(6)} ${table} ${JSON.stringify(key)}  ${what}`
    )
  })
  await streamer.start()

  let running = true
  process.once('SIGINT', () => (running = false))
  if (values.seconds) setTimeout(() => (running = false), Number(values.seconds) * 1000).unref()
  while (running) {
    const roll = Math.random()
    if (roll < 0.4)
      await connection.query('INSERT INTO stock (product, pieces, price) VALUES (?, ?, ?)', [
        PRODUCTS[below(5)],
        below(100),
        (below(1000) / 100).toFixed(2),
      ])
    else if (roll < 0.9)
      await connection.query('UPDATE stock SET pieces = pieces + ? ORDER BY RAND() LIMIT 1', [1 + below(9)])
    else await connection.query('DELETE FROM stock ORDER BY RAND() LIMIT 1')
    await new Promise(resolve => setTimeout(resolve, 300))
  }
  const { status, sources } = streamer.health()
  console.log(
    `\n${status}; ${sources.default.state}, round trip ${sources.default.heartbeatMs?.toFixed(2)} ms`
  )
  await streamer.stop()
  await connection.end()
  await kit.close()
}

main().catch(error => {
  console.error(error.message)
  process.exit(1)
})
