'use strict'

// npm run hammer -- --minutes 10 --source mysql --source mariadb --seed 1

const { parseArgs } = require('node:util')
const { machine } = require('../../benchmark/machine')
const { hammer } = require('./run')

async function main() {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      minutes: { type: 'string', default: '10' },
      source: { type: 'string', multiple: true, default: ['mysql', 'mariadb'] },
    },
  })
  console.log(machine())
  for (const source of values.source) {
    if (source !== 'mysql' && source !== 'mariadb')
      throw new Error(`--source: expected mysql or mariadb, found ${source}`)
    const report = await hammer({
      source,
      seed: Number(values.seed),
      minutes: Number(values.minutes),
      say: text => console.log(`  ${new Date().toISOString().slice(11, 19)} ${text}`),
    })
    console.log(JSON.stringify(report, null, 2))
    if (report.stale + report.violations + report.survivors > 0) process.exitCode = 1
  }
}

main()
