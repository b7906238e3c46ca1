'use strict'

// Another process that writes: `node writer.js <json>` with `{ kind, url, keys, perSecond }`, until it is told to end.

const { databaseOf } = require('./databases')
const { zipf } = require('./zipf')

const { kind, url, keys, perSecond } = JSON.parse(process.argv[2])
const TICK_MS = 5

async function main() {
  const { write, end } = await databaseOf(kind).writer(url)
  const next = zipf(keys, 2)
  const began = performance.now()
  let written = 0
  let isEnding = false
  process.on('message', () => (isEnding = true))
  process.send?.('ready')
  while (!isEnding) {
    const due = ((performance.now() - began) / 1000) * perSecond
    while (written < due && !isEnding) {
      await write(next())
      written++
    }
    await new Promise(resolve => setTimeout(resolve, TICK_MS))
  }
  await end()
  process.send?.({ written }, () => process.disconnect())
}

main()
