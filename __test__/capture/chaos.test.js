'use strict'

// A short form of `npm run chaos`, with a fixed seed.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { run } = require('../../chaos/run')

for (const source of ['mysql', 'mariadb', 'mongodb']) {
  test(`chaos loses, doubles and invents nothing (${source})`, async t => {
    const report = await run({ source, seed: 7, minutes: Number(process.env.STREAMER_CHAOS_MINUTES ?? 0.3) })
    t.diagnostic(JSON.stringify(report))
    const { lost, doubledWithin, wrong, gaps, failures } = report
    assert.deepEqual(
      { lost, doubledWithin, wrong, gaps, failures },
      { lost: 0, doubledWithin: 0, wrong: 0, gaps: [], failures: [] }
    )
    assert.ok(report.checked > 100 && Object.values(report.faults).some(count => count > 0))
  })
}
