'use strict'

// The engine, the typings, the package and the manual list the same error codes.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const { errorCodes } = require('..')

const read = file => fs.readFileSync(path.join(__dirname, '..', file), 'utf8')
const codes = (text, pattern) => [...text.matchAll(pattern)].map(match => match[1])

test('the engine, the typings, the package and the manual list the same error codes, in one order', () => {
  const rust = codes(read('crates/streamer-core/src/code.rs'), /= "(ERR_STREAMER_[A-Z_]+)"/g)
  assert.ok(rust.length > 20)
  assert.deepEqual([...errorCodes], rust)
  assert.deepEqual(codes(read('index.d.ts'), /^ {2}\| '(ERR_STREAMER_[A-Z_]+)'$/gm), rust)
  assert.deepEqual(codes(read('docs/errors.md'), /^### `(ERR_STREAMER_[A-Z_]+)`$/gm), rust)
  assert.ok(Object.isFrozen(errorCodes))
})

test('the manual says of each code who can help, as the engine does', () => {
  const rust = Object.fromEntries(
    [...read('crates/streamer-core/src/code.rs').matchAll(/"(ERR_STREAMER_[A-Z_]+)", (\w+);/g)].map(
      ([, code, retry]) => [code, retry.toLowerCase()]
    )
  )
  for (const section of read('docs/errors.md').split(/^### /m).slice(1)) {
    const [, code] = /^`(\w+)`/.exec(section)
    const [, retry] = /^Retry: (\w+)\.$/m.exec(section) ?? []
    assert.equal(retry, rust[code], code)
    assert.match(section, /^\*\*Cause\.\*\* /m, code)
    assert.match(section, /^\*\*Remedy\.\*\* /m, code)
  }
})
