'use strict'

// Starting, delivering, looping and stopping, with an engine that does what the test says.

const assert = require('node:assert/strict')
const { EventEmitter, once } = require('node:events')
const { afterEach, test } = require('node:test')
const { inspect } = require('node:util')
const { ScriptedEngine, scripted, settled, stopAll, until } = require('./support/engine')
const { StreamerError } = require('..')

afterEach(stopAll)

const ids = changes => changes.map(change => change.after?.id ?? change.before.id)

/** Runs `body` while uncaught exceptions are collected. */
async function collectingUncaught(body) {
  const caught = []
  const listeners = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  process.on('uncaughtException', error => caught.push(error))
  try {
    await body(caught)
  } finally {
    process.removeAllListeners('uncaughtException')
    for (const listener of listeners) process.on('uncaughtException', listener)
  }
}

async function started(config) {
  const pair = scripted(config)
  pair.engine.started.resolve()
  await pair.streamer.start()
  return pair
}

test('a batch that arrives while an acknowledgement is told is delivered', async () => {
  const { streamer, engine } = await started()
  const seen = []
  engine.acknowledge = () => seen.length < 3 && engine.rows([seen.length])
  streamer.on('change', change => seen.push(change.after.id))
  engine.rows([0])
  await until(() => seen.length === 3)
  assert.deepEqual(seen, [0, 1, 2])
})

test('the first listener for changes starts the streamer after the running code, other listeners do not', async () => {
  for (const event of ['change', 'insert', 'update', 'replace', 'delete', 'batch', 'schema', 'gap']) {
    const { streamer, engine } = scripted()
    streamer.once(event, () => {})
    assert.equal(engine.starts, 0)
    await settled()
    assert.equal(engine.starts, 1, event)
    await streamer.stop()
  }
  const { streamer, engine } = scripted()
  for (const event of ['error', 'health', 'heartbeat', 'ready', 'stop']) streamer.on(event, () => {})
  await settled()
  assert.equal(engine.starts, 0)
})

test('start() is idempotent and resolves with the streamer', async () => {
  const { streamer, engine } = scripted()
  const first = streamer.start()
  assert.equal(streamer.start(), first)
  engine.started.resolve()
  assert.equal(await first, streamer)
  assert.equal(engine.starts, 1)
  await streamer.stop()
})

test('a failed start rejects with a StreamerError; one that began by itself is an error event', async () => {
  const failure = new Error(
    JSON.stringify({
      code: 'ERR_STREAMER_GRANT_MISSING',
      retry: 'operator',
      message: 'No.',
      details: { a: 1 },
    })
  )
  const explicit = scripted()
  explicit.engine.started.reject(failure)
  await assert.rejects(explicit.streamer.start(), error => {
    assert.ok(error instanceof StreamerError)
    const { code, retry, message, details } = error
    assert.deepEqual({ code, retry, message, details }, JSON.parse(failure.message))
    return true
  })
  const automatic = scripted()
  automatic.streamer.on('change', () => {})
  const failed = once(automatic.streamer, 'ready').catch(error => error)
  automatic.engine.started.reject(failure)
  assert.equal((await failed).code, 'ERR_STREAMER_GRANT_MISSING')
})

test('changes reach all listeners in order, and are acknowledged once these have returned', async () => {
  const { streamer, engine } = await started()
  const seen = []
  streamer.on('batch', changes => seen.push(['batch', ...ids(changes)]))
  const acknowledged = []
  streamer.on('change', change => {
    seen.push(['change', change.after?.id ?? null])
    acknowledged.push(engine.acknowledged.at(-1) ?? 0)
  })
  streamer.on('delete', change => seen.push(['delete', change.before.id]))
  engine.rows([1, 2])
  engine.rows([3], { op: 2 })
  // An idle stream delivers at once; what is left, if the machine is busy, in the turns that follow.
  assert.ok(seen.length > 0)
  // Cumulative: one acknowledgement may stand for both.
  await until(() => engine.acknowledged.at(-1) === 2)
  assert.deepEqual(seen, [
    ['batch', 1, 2],
    ['change', 1],
    ['change', 2],
    ['batch', 3],
    ['change', null],
    ['delete', 3],
  ])
  assert.deepEqual(acknowledged.slice(0, 2), [0, 0])
  assert.ok(acknowledged[2] <= 1)
  await streamer.stop()
})

test('batches are no larger than delivery.batchSize', async () => {
  const { streamer, engine } = await started({ source: 'mysql://h/d', delivery: { batchSize: 3 } })
  const sizes = []
  streamer.on('batch', changes => sizes.push(changes.length))
  engine.rows([1, 2, 3, 4, 5, 6, 7])
  await until(() => engine.acknowledged.length === 1)
  assert.deepEqual(sizes, [3, 3, 1])
  await streamer.stop()
})

test('a long delivery leaves turns to the event loop', async () => {
  const { streamer, engine } = await started()
  let delivered = 0
  streamer.on('change', () => {
    const end = performance.now() + 1
    while (performance.now() < end);
    delivered++
  })
  engine.rows(Array.from({ length: 40 }, (_, n) => n))
  assert.ok(delivered < 10, `${delivered} at once`)
  let turns = 0
  while (delivered < 40) {
    await new Promise(resolve => setImmediate(resolve))
    turns++
  }
  assert.ok(turns >= 5)
  await until(() => engine.acknowledged.length === 1)
  await streamer.stop()
})

test('a listener that throws surfaces as an uncaught exception before the next change, and nothing is lost', async () => {
  await collectingUncaught(async caught => {
    const { streamer, engine } = await started()
    const seen = []
    streamer.on('change', change => {
      if (change.after.id === 1) throw new Error('thrown')
    })
    streamer.on('change', change => seen.push([change.after.id, caught.length]))
    engine.rows([1, 2, 3])
    await until(() => engine.acknowledged.length === 1)
    assert.deepEqual(
      caught.map(error => error.message),
      ['thrown']
    )
    assert.deepEqual(seen, [
      [1, 0],
      [2, 1],
      [3, 1],
    ])
    assert.deepEqual(engine.acknowledged, [1])
    await streamer.stop()
  })
})

test('a rejected listener is an error event with its cause', async () => {
  const { streamer, engine } = await started()
  const cause = new Error('rejected')
  streamer.on('insert', async () => {
    throw cause
  })
  const failed = once(streamer, 'ready').catch(error => error)
  engine.rows([1])
  const error = await failed
  assert.deepEqual(
    [error.code, error.cause, error.details],
    ['ERR_STREAMER_HANDLER_FAILED', cause, { event: 'insert' }]
  )
  await streamer.stop()
})

test('an error without a listener is an uncaught exception', async () => {
  await collectingUncaught(async caught => {
    const { streamer, engine } = await started()
    const error = { code: 'ERR_STREAMER_TIMEOUT', retry: 'automatic', message: 'No answer.', details: {} }
    engine.notice({ type: 'error', error })
    await until(() => caught.length === 1)
    assert.deepEqual(
      caught.map(({ code }) => code),
      ['ERR_STREAMER_TIMEOUT']
    )
    // A listener for errors that fails has nobody else to tell.
    streamer.on('error', async () => {
      throw new Error('again')
    })
    engine.notice({ type: 'error', error })
    await until(() => caught.length === 2)
    assert.equal(caught[1].message, 'again')
    await streamer.stop()
  })
})

test('once, off and prependListener count while changes are being delivered', async () => {
  const { streamer, engine } = await started()
  const seen = []
  const second = change => seen.push(`second ${change.after.id}`)
  streamer.once('change', change => {
    seen.push(`once ${change.after.id}`)
    streamer.off('change', second)
    streamer.prependListener('change', next => seen.push(`prepended ${next.after.id}`))
  })
  streamer.on('change', second)
  engine.rows([1, 2])
  await until(() => engine.acknowledged.length === 1)
  assert.deepEqual(seen, ['once 1', 'second 1', 'prepended 2'])
  await streamer.stop()
})

test('notices become events with errors as StreamerError', async () => {
  const { streamer, engine } = await started()
  const seen = {}
  for (const event of ['schema', 'gap', 'health', 'heartbeat', 'disconnect', 'reconnect', 'ready']) {
    streamer.on(event, value => (seen[event] = value))
  }
  const error = { code: 'ERR_STREAMER_TIMEOUT', retry: 'automatic', message: 'No answer.', details: {} }
  const schema = { source: 's', database: 'd', table: null, statement: 'DROP DATABASE d', position: 'p' }
  engine.notice({ type: 'schema', ...schema })
  engine.notice({ type: 'disconnect', source: 's', error, retryInMs: 5, attempt: 1 })
  engine.notice({
    type: 'health',
    health: { status: 'down', sources: { s: { lastError: error }, t: { lastError: null } } },
  })
  engine.notice({ type: 'ready' })
  await until(() => engine.acknowledged.at(-1) === 4)
  assert.deepEqual(seen.schema, schema)
  assert.ok(seen.disconnect.error instanceof StreamerError)
  assert.ok(seen.health.sources.s.lastError instanceof StreamerError)
  assert.equal(seen.health.sources.t.lastError, null)
  assert.ok('ready' in seen)
  assert.ok(streamer.health().sources.default.lastError instanceof StreamerError)
  assert.equal(streamer.metrics(), 'streamer_up 1\n')
  await streamer.stop()
})

test('stop() delivers what was read, emits stop, and is idempotent; start() after it is refused', async () => {
  const { streamer, engine } = await started()
  const seen = []
  streamer.on('change', change => {
    seen.push(change.after.id)
    const end = performance.now() + 1
    while (performance.now() < end);
  })
  streamer.on('stop', () => seen.push('stop'))
  engine.rows(Array.from({ length: 20 }, (_, n) => n))
  const stopping = streamer.stop({ timeoutMs: 10_000 })
  assert.equal(streamer.stop(), stopping)
  await stopping
  assert.deepEqual(seen, [...Array.from({ length: 20 }, (_, n) => n), 'stop'])
  assert.deepEqual(engine.stops, [10_000])
  await assert.rejects(streamer.start(), { code: 'ERR_STREAMER_STOPPED' })
  engine.rows([99])
  assert.equal(seen.includes(99), false)
})

test('stop() is bounded, and ends a start that is under way', async () => {
  const { streamer, engine } = scripted()
  engine.stopResult = new Promise(() => {})
  const starting = streamer.start()
  const refused = assert.rejects(starting, { code: 'ERR_STREAMER_STOPPED' })
  const began = performance.now()
  await streamer.stop({ timeoutMs: 50 })
  assert.ok(performance.now() - began < 5000)
  await refused
  await assert.rejects(scripted().streamer.stop({ timeoutMs: NaN }), {
    code: 'ERR_STREAMER_ARGUMENT_INVALID',
  })
})

test('await using stops the streamer', async () => {
  const { streamer, engine } = await started()
  await streamer[Symbol.asyncDispose]()
  assert.equal(engine.stops.length, 1)
})

test('changes() acknowledges an item only when the loop asks for more', async () => {
  const { streamer, engine } = scripted()
  const loop = streamer.changes()
  assert.equal(engine.starts, 1)
  engine.started.resolve()
  engine.rows([1, 2])
  engine.rows([3])
  await settled()
  assert.deepEqual(engine.acknowledged, [], 'nothing was asked for')
  assert.equal((await loop.next()).value.after.id, 1)
  assert.equal((await loop.next()).value.after.id, 2)
  await settled()
  assert.deepEqual(engine.acknowledged, [])
  assert.equal((await loop.next()).value.after.id, 3)
  assert.deepEqual(engine.acknowledged, [1])
  const waiting = loop.next()
  await until(() => engine.acknowledged.at(-1) === 2)
  await streamer.stop()
  assert.deepEqual(await waiting, { value: undefined, done: true })
})

test('several loops and listeners go at the pace of the slowest, until it leaves', async () => {
  const { streamer, engine } = await started()
  const heard = []
  streamer.on('change', change => heard.push(change.after.id))
  const slow = streamer.changes()
  const quick = streamer.changes({ tables: ['*.orders', '!shop.gone'], ops: ['insert'] })
  const quickly = []
  const finished = (async () => {
    for await (const change of quick) quickly.push(change.after.id)
  })()
  slow.next()
  engine.rows([1])
  engine.rows([2], { table: 'gone' })
  engine.rows([3], { table: 'orders' })
  await until(() => heard.length === 1)
  await settled()
  assert.deepEqual(heard, [1], 'the slow loop has asked for one')
  await slow.return()
  await until(() => engine.acknowledged.at(-1) === 3)
  assert.deepEqual(heard, [1, 2, 3])
  assert.deepEqual(quickly, [1, 3])
  await streamer.stop()
  await finished
})

test('a loop may stop its own streamer, and sees what was read before', async () => {
  const { streamer, engine } = await started()
  const seen = []
  const finished = (async () => {
    for await (const change of streamer.changes()) {
      seen.push(change.after.id)
      if (change.after.id === 1) await streamer.stop({ timeoutMs: 10_000 })
    }
  })()
  engine.rows([1, 2])
  engine.rows([3])
  await finished
  assert.deepEqual(seen, [1, 2, 3])
})

test('an abort rejects the loop with its reason and frees the others', async () => {
  const { streamer, engine } = await started()
  const controller = new AbortController()
  const loop = streamer.changes({ signal: controller.signal })
  const waiting = loop.next()
  controller.abort(new Error('enough'))
  await assert.rejects(waiting, { message: 'enough' })
  assert.deepEqual(await loop.next(), { value: undefined, done: true })
  await assert.rejects(
    streamer.changes({ signal: AbortSignal.abort('now') }).next(),
    reason => reason === 'now'
  )
  engine.rows([1])
  await until(() => engine.acknowledged.length === 1)
  await streamer.stop()
})

test('an error that ends a source ends the loops, also a failed start', async () => {
  const { streamer, engine } = await started()
  const loop = streamer.changes()
  const waiting = loop.next()
  const facts = { code: 'ERR_STREAMER_POSITION_LOST', retry: 'operator', message: 'Gone.', details: {} }
  engine.notice({ type: 'error', error: facts })
  await assert.rejects(waiting, { code: 'ERR_STREAMER_POSITION_LOST' })
  await streamer.stop()
  await assert.rejects(streamer.changes().next(), { code: 'ERR_STREAMER_STOPPED' })
  const second = scripted()
  second.engine.started.reject(new Error(JSON.stringify(facts)))
  await assert.rejects(second.streamer.changes().next(), { code: 'ERR_STREAMER_POSITION_LOST' })
})

test('options of changes() that cannot be understood are refused at once', () => {
  const { streamer } = scripted()
  for (const options of [
    null,
    { table: [] },
    { tables: 'a.b' },
    { tables: ['a.b.c'] },
    { tables: [''] },
    { ops: ['inserts'] },
    { signal: 1 },
  ]) {
    assert.throws(
      () => streamer.changes(options),
      { code: 'ERR_STREAMER_ARGUMENT_INVALID' },
      JSON.stringify(options)
    )
  }
})

test('a batch that cannot be read ends the stream without passing it', async () => {
  const { streamer, engine } = await started()
  const failed = new Promise(resolve => streamer.on('error', resolve))
  const stop = new Promise(resolve => streamer.on('stop', () => resolve()))
  streamer.on('change', () => assert.fail('nothing may follow'))
  engine.batch([77], '')
  engine.rows([1])
  assert.equal((await failed).code, 'ERR_STREAMER_INTERNAL')
  await stop
  assert.deepEqual(engine.acknowledged, [])
})

test('log records go to the logger', async () => {
  const records = []
  const logger = Object.fromEntries(
    ['debug', 'info', 'warn', 'error'].map(level => [
      level,
      (fields, message) => records.push([level, fields, message]),
    ])
  )
  const { streamer, engine } = await started({ source: 'mysql://h/d', logger })
  assert.deepEqual(engine.config.logger, { $logger: true })
  engine.notice({ type: 'log', level: 'warn', message: 'hello', fields: { source: 'default' } })
  assert.deepEqual(records, [['warn', { source: 'default' }, 'hello']])
  await streamer.stop()
})

test('nothing that shows a streamer shows its password', () => {
  const { streamer } = scripted('mysql://root:C4n4ry@h/shop')
  for (const shown of [
    inspect(streamer, { depth: 9, showHidden: true }),
    JSON.stringify(streamer),
    String(streamer),
  ]) {
    assert.doesNotMatch(shown, /C4n4ry/)
  }
})

test('the class is an ordinary emitter', () => {
  const { streamer } = scripted()
  assert.ok(streamer instanceof EventEmitter)
  assert.equal(
    streamer.on('health', () => {}),
    streamer
  )
  assert.equal(ScriptedEngine.refusal, null)
})
