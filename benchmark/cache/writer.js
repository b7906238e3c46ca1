'use strict'

// Another process that writes: `node writer.js <json>` with `{ url, keys, perSecond }`, until it is told to end.

const mysql = require('mysql2/promise')
const { zipf } = require('./zipf')

const { url, keys, perSecond } = JSON.parse(process.argv[2])
const TICK_MS = 5

async function main() {
  const connection = await mysql.createConnection({ uri: url })
  const next = zipf(keys, 2)
  const began = performance.now()
  let written = 0
  let isEnding = false
  process.on('message', () => (isEnding = true))
  process.send?.('ready')
  while (!isEnding) {
    const due = ((performance.now() - began) / 1000) * perSecond
    while (written < due && !isEnding) {
      await connection.execute('UPDATE items SET version = version + 1 WHERE id = ?', [next()])
      written++
    }
    await new Promise(resolve => setTimeout(resolve, TICK_MS))
  }
  await connection.end()
  process.send?.({ written }, () => process.disconnect())
}

main()
