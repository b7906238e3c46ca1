'use strict'

// `npm run demo`: builds what is missing, and runs the demo on a SQLite file of its own, or with --url on a server.

const { parseArgs } = require('node:util')
const { addon, packages } = require('./setup')

async function main() {
  const { values } = parseArgs({
    options: { url: { type: 'string' }, seconds: { type: 'string', default: '16' } },
  })
  packages()
  addon({ release: false })
  const { demo } = require('../demo/main')
  const isEqual = await demo({ url: values.url, seconds: Number(values.seconds) })
  process.exitCode = isEqual ? 0 : 1
}

main().catch(error => {
  console.error(error.message)
  process.exit(1)
})
