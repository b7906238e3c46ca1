'use strict'

// The patterns of changes({ tables }).

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { tableMatcher } = require('../lib/tables')

test('patterns match as the option `tables` of a source does', () => {
  const cases = [
    [['shop.orders'], 'shop.orders', true],
    [['shop.orders'], 'shop.Orders', false],
    [['shop.*'], 'shop.orders', true],
    [['shop.*'], 'shop2.orders', false],
    [['*.*'], 'a.b', true],
    [['s?op.ord*s'], 'shop.ords', true],
    [['s?op.ord*s'], 'sop.orders', false],
    [['shop.😀?'], 'shop.😀😀', true],
    [['orders'], 'shop.orders', true],
    [['!shop.orders'], 'shop.orders', false],
    [['!shop.orders'], 'shop.items', true],
    [['shop.*', '!*.log_*'], 'shop.log_1', false],
    [['`sh.op`.`a*``b`'], 'sh\u0000op.a*`b', true],
    [[], 'a.b', true],
  ]
  for (const [patterns, name, expected] of cases) {
    const [database, table] = name.split('.').map(part => part.replace('\u0000', '.'))
    const matches = tableMatcher(patterns)
    assert.equal(matches(database, table), expected, `${patterns} ${name}`)
    assert.equal(matches(database, table), expected, 'the answer that is kept')
  }
})

test('patterns that say nothing clear are refused', () => {
  for (const pattern of ['', '.', 'a.', '.b', 'a.b.c', '`a', 'a`b`', '!', '`a`b.c', 'a.b.']) {
    assert.throws(() => tableMatcher([pattern]), { code: 'ERR_STREAMER_ARGUMENT_INVALID' }, pattern)
  }
})

test('no pattern takes exponential time', () => {
  const matches = tableMatcher([`${'a*'.repeat(200)}b.*`])
  const began = performance.now()
  assert.equal(matches('a'.repeat(5000), 't'), false)
  assert.ok(performance.now() - began < 2000)
})
