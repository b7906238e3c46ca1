'use strict'

// What the engine is handed, and how its refusals arrive.

const assert = require('node:assert/strict')
const { afterEach, test } = require('node:test')
const { ScriptedEngine, scripted } = require('./support/engine')
const { StreamerError } = require('..')
const { readConfig } = require('../lib/config')

afterEach(() => {
  ScriptedEngine.refusal = null
})

function handedOver(config) {
  return scripted(config).engine.config
}

test('a configuration reaches the engine as it is', () => {
  assert.equal(handedOver('mysql://h/d'), 'mysql://h/d')
  const config = {
    sources: { a: { url: 'mysql://h/d', tables: ['x.*'], tls: undefined } },
    delivery: { batchSize: 7 },
  }
  assert.deepEqual(handedOver(config), JSON.parse(JSON.stringify(config)))
})

test('values that JSON cannot hold are named, not lost', () => {
  const config = {
    source: {
      url: () => {},
      serverId: 5n,
      from: Symbol('x'),
      tables: [undefined, new Map()],
      tls: new Date(0),
    },
    heartbeat: { intervalMs: NaN, timeoutMs: -Infinity },
    logger: null,
  }
  assert.deepEqual(handedOver(config), {
    source: {
      url: { $unsupported: 'function' },
      serverId: { $unsupported: 'bigint' },
      from: { $unsupported: 'symbol' },
      tables: [{ $unsupported: 'undefined' }, { $unsupported: 'Map' }],
      tls: { $unsupported: 'Date' },
    },
    heartbeat: { intervalMs: { $unsupported: 'NaN' }, timeoutMs: { $unsupported: '-Infinity' } },
    logger: null,
  })
  assert.equal(readConfig(undefined).json, '{"$unsupported":"undefined"}')
  const strange = JSON.parse('{"__proto__":{"x":1},"source":"mysql://h/d"}')
  assert.deepEqual(Object.keys(handedOver(strange)), ['__proto__', 'source'])
})

test('what cannot be read is one clear error', () => {
  const cyclic = { source: {} }
  cyclic.source.url = cyclic
  const throwing = {
    get source() {
      throw new Error('secret')
    },
  }
  let deep = {}
  for (let n = 0; n < 1000; n++) deep = { deep }
  for (const config of [cyclic, throwing, deep]) {
    assert.throws(
      () => scripted(config),
      error => {
        assert.ok(error instanceof StreamerError)
        assert.equal(error.code, 'ERR_STREAMER_CONFIG_INVALID')
        assert.equal(error.details.problems.length, 1)
        assert.doesNotMatch(error.message, /secret/)
        return true
      }
    )
  }
})

test('every problem of the engine arrives in one error', () => {
  const details = { problems: [{ path: 'source.url', message: 'missing' }] }
  ScriptedEngine.refusal = {
    code: 'ERR_STREAMER_CONFIG_INVALID',
    retry: 'never',
    message: '1 problem',
    details,
  }
  assert.throws(() => scripted({}), {
    name: 'StreamerError',
    code: 'ERR_STREAMER_CONFIG_INVALID',
    message: '1 problem',
    details,
  })
})

test('a logger without its methods is refused by name', () => {
  const sentence = 'expected an object with the methods debug, info, warn and error, found an object'
  const details = { problems: [{ path: 'logger', message: sentence }] }
  const message = `1 problem in the configuration: logger: ${sentence}`
  ScriptedEngine.refusal = { code: 'ERR_STREAMER_CONFIG_INVALID', retry: 'never', message, details }
  const logger = { info() {}, error() {} }
  assert.throws(() => scripted({ source: 'mysql://h/d', logger }), {
    message: `${message} without debug, warn`,
    details: { problems: [{ path: 'logger', message: `${sentence} without debug, warn` }] },
  })
})

test('stages of a pipeline may hold what the driver takes, and reach the engine as extended JSON', () => {
  const { Long, ObjectId } = require('bson')
  const _id = new ObjectId('0123456789abcdef01234567')
  const pipeline = [
    { $match: { 'fullDocument.owner': _id, 'fullDocument.at': { $gt: new Date(5) }, name: /^a/i } },
    { $project: { a: 1, b: 1.5, c: Long.fromString('9007199254740993'), d: [true, null, 'x'] } },
  ]
  const { source } = handedOver({ source: { url: 'mongodb://h/d', pipeline } })
  assert.deepEqual(source.pipeline, [
    {
      $match: {
        'fullDocument.owner': { $oid: '0123456789abcdef01234567' },
        'fullDocument.at': { $gt: { $date: { $numberLong: '5' } } },
        name: { $regularExpression: { pattern: '^a', options: 'i' } },
      },
    },
    {
      $project: {
        a: 1,
        b: { $numberDouble: '1.5' },
        c: { $numberLong: '9007199254740993' },
        d: [true, null, 'x'],
      },
    },
  ])
  // Of other sources, the engine refuses them as they stand.
  assert.deepEqual(handedOver({ url: 'mysql://h/d', pipeline: [new Date()] }).pipeline, [
    { $unsupported: 'Date' },
  ])
  const cyclic = []
  cyclic.push({ $match: cyclic })
  assert.throws(() => readConfig({ url: 'mongodb://h/d', pipeline: cyclic }), {
    code: 'ERR_STREAMER_CONFIG_INVALID',
  })
})

test('integers arrive as each source wants them', () => {
  const named = readConfig({ sources: { a: { url: 'u', integers: 'string' }, b: 'u' } })
  assert.deepEqual(
    [...named.integers],
    [
      ['a', 'string'],
      ['b', 'bigint'],
    ]
  )
  for (const config of [
    { url: 'u', integers: 'always-bigint' },
    { source: { url: 'u', integers: 'always-bigint' } },
  ]) {
    assert.deepEqual([...readConfig(config).integers], [['default', 'always-bigint']])
  }
  assert.equal(readConfig('u').batchSize, 256)
})

test('an error of ours can be logged', () => {
  const error = new StreamerError('No.', {
    code: 'ERR_STREAMER_TIMEOUT',
    retry: 'automatic',
    details: { a: 1 },
  })
  const logged = {
    name: 'StreamerError',
    code: 'ERR_STREAMER_TIMEOUT',
    retry: 'automatic',
    message: 'No.',
    details: { a: 1 },
  }
  assert.deepEqual(JSON.parse(JSON.stringify(error)), logged)
  assert.match(error.stack, /^StreamerError: No\./)
})
