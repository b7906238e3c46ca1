'use strict'

// npm run chaos -- --seed 1 --minutes 20 --source mysql

const os = require('node:os')
const { parseArgs } = require('node:util')
const { run } = require('./run')

const SOURCES = ['mysql', 'mariadb', 'mongodb']

async function main() {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: process.env.STREAMER_CHAOS_SEED ?? '1' },
      minutes: { type: 'string', default: '2' },
      source: { type: 'string', multiple: true, default: SOURCES },
      quiet: { type: 'boolean', default: false },
    },
  })
  const { seed, minutes } = { seed: Number(values.seed), minutes: Number(values.minutes) }
  console.log(
    `node ${process.version}, ${os.cpus().length} cores, ${os.type()} ${os.release()}; seed=${seed}, ${minutes} min a source`
  )
  let isClean = true
  for (const source of values.source) {
    if (!SOURCES.includes(source))
      throw new Error(`--source: expected ${SOURCES.join(', ')}, found ${source}`)
    const say = values.quiet
      ? undefined
      : text => console.log(`  ${new Date().toISOString().slice(11, 19)} ${text}`)
    const report = await run({ source, seed, minutes, say })
    console.log(JSON.stringify(report, null, 2))
    isClean &&=
      report.lost + report.doubledWithin + report.wrong + report.gaps.length + report.failures.length === 0
    isClean &&= report.longestBlindMs <= report.blindLimitMs
  }
  process.exitCode = isClean ? 0 : 1
}

main()
