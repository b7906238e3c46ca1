'use strict'

const assert = require('node:assert/strict')
const { afterEach, test } = require('node:test')
const { scripted, settled, stopAll, until } = require('./support/engine')

afterEach(stopAll)

const KEPT = { source: 'mysql://h/shop', checkpoint: './positions' }

/** @param {readonly any[]} batch */
const ids = batch => batch.map(change => change.after.id)

function gate() {
  let open = () => {}
  const promise = new Promise(resolve => {
    open = () => resolve(undefined)
  })
  return { promise, open }
}

test('a batch is acknowledged when the promise of its handler has resolved', async () => {
  const { streamer, engine } = scripted(KEPT)
  const gates = [gate(), gate()]
  const seen = []
  streamer.consume(async batch => {
    seen.push(ids(batch))
    await gates[seen.length - 1].promise
  })
  const first = engine.rows([1, 2])
  await until(() => seen.length === 1)
  const second = engine.rows([3])
  await settled()
  assert.deepEqual(engine.acknowledged, [])
  gates[0].open()
  await until(() => seen.length === 2)
  assert.deepEqual(engine.acknowledged, [first])
  gates[1].open()
  await until(() => engine.acknowledged.includes(second))
  assert.deepEqual(seen, [[1, 2], [3]])
})

test('batches are cut at batchSize, and each cut is progress', async () => {
  const { streamer, engine } = scripted(KEPT)
  const seen = []
  streamer.consume(batch => void seen.push(ids(batch)), { batchSize: 2 })
  const sequence = engine.rows([1, 2, 3, 4, 5])
  await until(() => engine.acknowledged.includes(sequence))
  assert.deepEqual(seen, [[1, 2], [3, 4], [5]])
  assert.equal(engine.progressed.length, 2)
  assert.match(engine.progressed[0], /^p0\+t:0\/2$/)
  assert.match(engine.progressed[1], /^p0\+t:0\/4$/)
})

test('batches are cut at about batchBytes', async () => {
  const { streamer, engine } = scripted(KEPT)
  const seen = []
  streamer.consume(batch => void seen.push(batch.length), { batchBytes: 200 })
  const sequence = engine.rows(Array.from({ length: 100 }, (_, id) => id))
  await until(() => engine.acknowledged.includes(sequence))
  assert.ok(seen.length > 2 && Math.max(...seen) < 50, String(seen))
})

test('a batch that is not full waits for more', async () => {
  const { streamer, engine } = scripted(KEPT)
  const seen = []
  streamer.consume(batch => void seen.push(ids(batch)), { batchSize: 3, maxWaitMs: 60_000 })
  engine.rows([1])
  engine.rows([2])
  await settled()
  assert.deepEqual(seen, [])
  const last = engine.rows([3])
  await until(() => engine.acknowledged.includes(last))
  assert.deepEqual(seen, [[1, 2, 3]])
})

test('a rejection is tried again with the same batch, in order', async () => {
  const { streamer, engine } = scripted(KEPT)
  const seen = []
  streamer.consume(
    batch => {
      seen.push(ids(batch))
      if (seen.length < 3) throw new Error('not yet')
    },
    { batchSize: 1 }
  )
  engine.rows([1])
  const last = engine.rows([2])
  await until(() => engine.acknowledged.includes(last))
  assert.deepEqual(seen, [[1], [1], [1], [2]])
})

test('what fails for good goes to the dead letter, and the next batch follows', async () => {
  const { streamer, engine } = scripted(KEPT)
  const [handled, buried] = [[], []]
  streamer.consume(
    batch => {
      if (batch.some(change => change.after?.id === 2)) throw new Error('never')
      handled.push(...ids(batch))
    },
    {
      batchSize: 1,
      retries: 1,
      deadLetter: (batch, error) => void buried.push([...ids(batch), error.message]),
    }
  )
  const last = engine.rows([1, 2, 3])
  await until(() => engine.acknowledged.includes(last))
  assert.deepEqual([handled, buried], [[1, 3], [[2, 'never']]])
})

test('without a dead letter the streamer stops, and the batch stays unacknowledged', async () => {
  const { streamer, engine } = scripted(KEPT)
  const errors = []
  streamer.on('error', error => errors.push(error))
  const stopped = new Promise(resolve => streamer.once('stop', resolve))
  streamer.consume(() => Promise.reject(new Error('secret row')), { retries: 0 })
  engine.rows([1])
  await stopped
  assert.deepEqual(
    errors.map(error => [error.code, error.cause.message]),
    [['ERR_STREAMER_HANDLER_FAILED', 'secret row']]
  )
  assert.ok(!errors[0].message.includes('secret'))
  assert.deepEqual(engine.acknowledged, [])
  assert.equal(engine.settles, 1)
})

test('stop waits for the batch in hand and hands out no other', async () => {
  const { streamer, engine } = scripted(KEPT)
  const hand = gate()
  const seen = []
  streamer.consume(
    async batch => {
      seen.push(ids(batch))
      await hand.promise
    },
    { batchSize: 1 }
  )
  engine.rows([1, 2, 3])
  await until(() => seen.length === 1)
  const stopping = streamer.stop()
  await settled()
  assert.equal(engine.settles, 0)
  hand.open()
  await stopping
  assert.deepEqual(seen, [[1]])
  assert.deepEqual(engine.progressed, ['p0+t:0/1'])
  assert.deepEqual([engine.acknowledged, engine.settles], [[], 1])
})

test('a consumer that is stopped leaves what it has to the next one', async () => {
  const { streamer, engine } = scripted(KEPT)
  const hand = gate()
  const first = []
  const consumer = streamer.consume(
    async batch => {
      first.push(...ids(batch))
      await hand.promise
    },
    { batchSize: 1 }
  )
  engine.rows([1, 2])
  const last = engine.rows([3])
  await until(() => first.length === 1)
  const ended = consumer.stop()
  hand.open()
  await ended
  await settled()
  assert.ok(!engine.acknowledged.includes(last))
  const second = []
  streamer.consume(batch => void second.push(...ids(batch)))
  await until(() => engine.acknowledged.includes(last))
  assert.deepEqual([first, second], [[1], [2, 3]])
})

test('a consumer that wants nothing of a batch does not hold it back', async () => {
  const { streamer, engine } = scripted(KEPT)
  streamer.consume(() => assert.fail('not wanted'), { tables: ['shop.other'] })
  const first = engine.rows([1])
  const second = engine.rows([2])
  await until(() => engine.acknowledged.includes(second))
  assert.ok(engine.acknowledged.includes(first) || engine.acknowledged.includes(second))
})

test('a slow consumer holds the reading back', async () => {
  const { streamer, engine } = scripted(KEPT)
  const hand = gate()
  let calls = 0
  streamer.consume(
    async () => {
      calls++
      await hand.promise
    },
    { batchSize: 2 }
  )
  const listened = []
  streamer.on('change', change => listened.push(change.after.id))
  for (let id = 0; id < 20; id++) engine.rows([id])
  await until(() => calls === 1)
  await settled()
  assert.ok(listened.length <= 6, String(listened.length))
  hand.open()
  await until(() => listened.length === 20)
})

test('a loop that is left gives what it had in hand, and the rest, to the next one', async () => {
  const { streamer, engine } = scripted(KEPT)
  const seen = []
  const loop = streamer.changes()
  const last = engine.rows([1, 2, 3])
  for await (const change of loop) {
    seen.push(change.after.id)
    if (change.after.id === 2) break
  }
  await settled()
  assert.deepEqual([engine.acknowledged, engine.progressed.at(-1)], [[], 'p0+t:0/1'])
  const again = []
  streamer.consume(batch => void again.push(...ids(batch)))
  await until(() => engine.acknowledged.includes(last))
  assert.deepEqual(
    [seen, again],
    [
      [1, 2],
      [2, 3],
    ]
  )
})

test('a loop that is stopped inside keeps the change in hand for the next start', async () => {
  const { streamer, engine } = scripted(KEPT)
  engine.started.resolve()
  const seen = []
  setImmediate(() => engine.rows([1, 2, 3]))
  for await (const change of streamer.changes()) {
    seen.push(change.after.id)
    if (change.after.id === 2) streamer.stop()
  }
  assert.deepEqual(seen, [1, 2, 3])
  assert.deepEqual(engine.acknowledged, [])
  assert.equal(engine.progressed.at(-1), 'p0+t:0/1')
})

test('wrong arguments are refused in a sentence', () => {
  const { streamer } = scripted(KEPT)
  const refused = (...args) =>
    assert.throws(() => streamer.consume(...args), { code: 'ERR_STREAMER_ARGUMENT_INVALID' }, String(args))
  refused()
  refused({})
  refused(() => {}, null)
  refused(() => {}, { batchsize: 1 })
  refused(() => {}, { batchSize: 0 })
  refused(() => {}, { batchSize: 1.5 })
  refused(() => {}, { retries: -1 })
  refused(() => {}, { maxWaitMs: Infinity })
  refused(() => {}, { tables: 'a' })
  refused(() => {}, { deadLetter: 'a' })
})

test('a refused last checkpoint is what stop() rejects with', async () => {
  const { streamer, engine } = scripted(KEPT)
  engine.settleRefusal = {
    code: 'ERR_STREAMER_CHECKPOINT_FAILED',
    retry: 'automatic',
    message: 'Full.',
    details: {},
  }
  streamer.on('change', () => {})
  await assert.rejects(streamer.stop(), { code: 'ERR_STREAMER_CHECKPOINT_FAILED' })
})
