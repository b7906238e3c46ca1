'use strict'

// A short form of `npm run hammer`, with a fixed seed.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { hammer } = require('../../chaos/hammer/run')

for (const source of /** @type {const} */ (['mysql', 'mariadb'])) {
  test(`four processes under faults read what they wrote, and keep nothing that is stale (${source})`, async t => {
    const minutes = Number(process.env.STREAMER_HAMMER_MINUTES ?? 0.3)
    const report = await hammer({ source, seed: 5, minutes })
    t.diagnostic(JSON.stringify(report))
    const { stale, violations, survivors } = report
    assert.deepEqual(
      { stale, violations, survivors },
      { stale: 0, violations: 0, survivors: 0 },
      report.findings.join('; ')
    )
    assert.ok(
      report.reads > 1000 && report.afters > 50,
      `${report.reads} reads, ${report.afters} after a write`
    )
    assert.ok(report.stats.redisHits > 0, 'nobody was answered by Redis')
    for (const [fault, count] of Object.entries(report.faults))
      assert.ok(count > 0, `${fault} did not happen`)
  })
}
