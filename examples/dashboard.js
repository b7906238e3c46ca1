'use strict'

// Keeps a table in memory and prints its totals whenever a row changes.
//   node examples/dashboard.js mysql://user:password@host/shop

const { Streamer } = require('ultimate-streaming')

const streamer = new Streamer(process.argv[2] ?? 'mysql://root@127.0.0.1/shop')
/** @type {Map<string, any>} */
const orders = new Map()

streamer.on('change', change => {
  const key = JSON.stringify(change.key)
  if (change.after) orders.set(key, { ...orders.get(key), ...change.after })
  else orders.delete(key)
  console.log(
    `${change.table}: ${orders.size} rows, newest change ${change.op} at ${new Date(change.timestamp).toISOString()}`
  )
})
streamer.on('gap', gap => console.error(`changes may be missing (${gap.reason}); reload ${gap.tables}`))
streamer.on('error', error => {
  console.error(error.message)
  process.exitCode = 1
})

process.once('SIGINT', () => streamer.stop())
