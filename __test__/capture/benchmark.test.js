'use strict'

// The short form of `npm run bench`: every contender runs against real servers and gives every value. What it measures is not looked
// at: a machine that runs tests measures nothing.

const assert = require('node:assert/strict')
const { spawnSync } = require('node:child_process')
const path = require('node:path')
const { test } = require('node:test')

test('the short form of the benchmark runs to its end', () => {
  const main = path.join(__dirname, '../../benchmark/main.js')
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, '--quick'], {
    encoding: 'utf8',
    timeout: 240_000,
  })
  assert.equal(status, 0, stderr)
  assert.match(stdout, /MongoDB: a change stream that has fallen behind\n\|/)
})
