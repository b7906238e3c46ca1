'use strict'

// Receivers that come and go: what one leaves undone is neither acknowledged nor lost, whatever else receives.

const assert = require('node:assert/strict')
const { afterEach, test } = require('node:test')
const { scripted, settled, stopAll, until } = require('./support/engine')
const { random: seeded } = require('./support/random')

afterEach(stopAll)

const KEPT = { source: 'mysql://h/shop', checkpoint: './positions' }

/** @param {readonly any[]} batch */
const ids = batch => batch.map(change => change.after.id)

/** Goes through a loop until the streamer is stopped. */
async function take(loop, into) {
  for await (const change of loop) into.push(change.after.id)
}

/** A handler that fails until `mend()`. */
function failing() {
  const done = []
  let isBroken = true
  let calls = 0
  const handler = async batch => {
    calls++
    if (isBroken) throw new Error('the database is down')
    done.push(...ids(batch))
  }
  return { handler, done, mend: () => (isBroken = false), calls: () => calls }
}

/** A handler whose first call waits. */
function slow() {
  const done = []
  let release = () => {}
  const gate = new Promise(resolve => {
    release = () => resolve(undefined)
  })
  let calls = 0
  const handler = async batch => {
    calls++
    await gate
    done.push(...ids(batch))
  }
  return { handler, done, release, calls: () => calls }
}

for (const other of ['nobody else', 'a listener', 'another consumer', 'a loop', 'a listener for gaps']) {
  test(`a consumer that is stopped while its handler fails leaves everything to the next one (${other})`, async () => {
    const { streamer, engine } = scripted(KEPT)
    const heard = []
    if (other === 'a listener') streamer.on('change', change => heard.push(change.after.id))
    if (other === 'another consumer') streamer.consume(batch => void heard.push(...ids(batch)))
    if (other === 'a listener for gaps') streamer.on('gap', () => {})
    if (other === 'a loop') {
      const loop = streamer.changes()
      engine.started.resolve()
      void take(loop, heard)
    }
    const first = failing()
    const consumer = streamer.consume(first.handler, { retries: Infinity })
    engine.rows([1, 2])
    await until(() => first.calls() > 0)
    engine.rows([3])
    await consumer.stop()
    engine.notice({ type: 'schema', source: 'default' })
    engine.rows([4])
    await settled()
    assert.deepEqual([engine.acknowledged, engine.progressed], [[], []])
    const second = []
    streamer.consume(batch => void second.push(...ids(batch)))
    const last = engine.rows([5])
    await until(() => engine.acknowledged.at(-1) === last)
    const isHeard = other !== 'nobody else' && other !== 'a listener for gaps'
    // What came while nobody consumed was given to those who were there.
    const expected = isHeard ? [1, 2, 3, 5] : [1, 2, 3, 4, 5]
    assert.deepEqual(
      second.filter(id => id !== 4 || !isHeard),
      expected
    )
    if (isHeard) assert.deepEqual(heard, [1, 2, 3, 4, 5])
  })
}

test('stop() in front of the successor acknowledges nothing of it', async () => {
  const { streamer, engine } = scripted(KEPT)
  const first = failing()
  const consumer = streamer.consume(first.handler, { retries: Infinity })
  engine.rows([1])
  await until(() => first.calls() > 0)
  engine.rows([2])
  await consumer.stop()
  engine.rows([3])
  await streamer.stop()
  assert.deepEqual([engine.acknowledged, engine.progressed], [[], []])
})

test('a consumer that is stopped handles what it was given, and is waited for', async () => {
  const { streamer, engine } = scripted(KEPT)
  const heard = []
  streamer.on('change', change => heard.push(change.after.id))
  const first = slow()
  const consumer = streamer.consume(first.handler, { batchSize: 1 })
  engine.rows([1])
  await until(() => first.calls() === 1)
  engine.rows([2])
  const ended = consumer.stop()
  first.release()
  await ended
  const last = engine.rows([3])
  await until(() => engine.acknowledged.at(-1) === last)
  assert.deepEqual(heard, [1, 2, 3])
  assert.deepEqual(first.done, [1])
})

test('what is left waits for a consumer that wants it', async () => {
  const { streamer, engine } = scripted(KEPT)
  const first = failing()
  const orders = streamer.consume(first.handler, { tables: ['orders'], retries: Infinity })
  const users = []
  streamer.consume(batch => void users.push(...ids(batch)), { tables: ['users'] })
  engine.rows([1])
  await until(() => first.calls() > 0)
  await orders.stop()
  const more = []
  streamer.consume(batch => void more.push(...ids(batch)), { tables: ['users'] })
  const last = engine.rows([2], { table: 'users' })
  await until(() => users.length === 1 && more.length === 1)
  await settled()
  assert.deepEqual(engine.acknowledged, [])
  const second = []
  streamer.consume(batch => void second.push(...ids(batch)), { tables: ['orders'] })
  await until(() => engine.acknowledged.at(-1) === last)
  assert.deepEqual([users, more, second], [[2], [2], [1]])
})

test('two consumers that leave the same are succeeded by two', async () => {
  const { streamer, engine } = scripted(KEPT)
  const [a, b] = [failing(), failing()]
  const consumers = [a, b].map(({ handler }) => streamer.consume(handler, { retries: Infinity }))
  const last = engine.rows([1, 2])
  await until(() => a.calls() > 0 && b.calls() > 0)
  for (const consumer of consumers) await consumer.stop()
  const seen = [[], []]
  streamer.consume(batch => void seen[0].push(...ids(batch)))
  await until(() => seen[0].length === 2)
  await settled()
  assert.deepEqual(engine.acknowledged, [])
  streamer.consume(batch => void seen[1].push(...ids(batch)))
  await until(() => engine.acknowledged.at(-1) === last)
  assert.deepEqual(seen, [
    [1, 2],
    [1, 2],
  ])
})

test('a loop takes over from a consumer, and a consumer from that loop', async () => {
  const { streamer, engine } = scripted(KEPT)
  const first = failing()
  const consumer = streamer.consume(first.handler, { retries: Infinity })
  const last = engine.rows([1, 2, 3])
  await until(() => first.calls() > 0)
  await consumer.stop()
  const looped = []
  for await (const change of streamer.changes()) {
    looped.push(change.after.id)
    if (looped.length === 2) break
  }
  await settled()
  assert.ok(!engine.acknowledged.includes(last))
  const second = []
  streamer.consume(batch => void second.push(...ids(batch)))
  await until(() => engine.acknowledged.at(-1) === last)
  // Which of them the loop was done with, the consumer need not see; the one in hand it must.
  assert.deepEqual(
    [looped, second.slice(-2)],
    [
      [1, 2],
      [2, 3],
    ]
  )
})

test('a listener that goes away in the middle leaves the rest to the next one', async () => {
  const { streamer, engine } = scripted(KEPT)
  const seen = []
  streamer.once('change', change => seen.push(change.after.id))
  const last = engine.rows([1, 2, 3])
  await until(() => seen.length === 1)
  await settled()
  assert.deepEqual([seen, engine.acknowledged], [[1], []])
  streamer.on('batch', batch => seen.push(...ids(batch)))
  await until(() => engine.acknowledged.at(-1) === last)
  assert.deepEqual(seen, [1, 2, 3])
})

test('without checkpoints the next consumer gets it too, and others are not held up', async () => {
  const { streamer, engine } = scripted()
  streamer.on('change', () => {})
  const first = failing()
  const consumer = streamer.consume(first.handler, { retries: Infinity })
  const last = engine.rows([1, 2])
  await until(() => first.calls() > 0)
  await consumer.stop()
  await until(() => engine.acknowledged.at(-1) === last)
  const second = []
  streamer.consume(batch => void second.push(...ids(batch)))
  await until(() => second.length === 2)
  assert.deepEqual(second, [1, 2])
})

test('a handler may empty its batch', async () => {
  const { streamer, engine } = scripted(KEPT)
  const seen = []
  let calls = 0
  streamer.consume(batch => {
    calls++
    const rows = /** @type {any[]} */ (batch)
    while (rows.length > 0) {
      const change = rows.shift()
      if (calls === 1 && rows.length === 0) throw new Error('once')
      seen.push(change.after.id)
    }
  })
  const last = engine.rows([1, 2, 3])
  await until(() => engine.acknowledged.at(-1) === last)
  assert.deepEqual([calls, seen], [2, [1, 2, 1, 2, 3]])
})

test('a listener for batches may empty its array', async () => {
  const { streamer, engine } = scripted(KEPT)
  const [batches, singles, looped] = [[], [], []]
  streamer.on('batch', batch => void (/** @type {any[]} */ (batch).splice(0)))
  streamer.on('batch', batch => batches.push(...ids(batch)))
  streamer.on('change', change => singles.push(change.after.id))
  const loop = streamer.changes()
  engine.started.resolve()
  void take(loop, looped)
  const last = engine.rows([1, 2, 3])
  await until(() => engine.acknowledged.at(-1) === last)
  assert.deepEqual(
    { batches, singles, looped },
    { batches: [1, 2, 3], singles: [1, 2, 3], looped: [1, 2, 3] }
  )
})

// Whatever receivers do: what is acknowledged was handled by somebody.
for (let seed = 1; seed <= 40; seed++) {
  test(`nothing is acknowledged that nobody has handled (seed ${seed})`, async () => {
    const { next: random, below: pick } = seeded(seed)
    const { streamer, engine } = scripted(KEPT)
    streamer.on('error', () => {})
    /** Items: the ids in each, by sequence. @type {[number, number[]][]} */
    const items = []
    const handled = new Set()
    const receivers = []
    let next = 1
    const check = () => {
      const acknowledged = engine.acknowledged.at(-1) ?? 0
      for (const [sequence, rows] of items) {
        if (sequence > acknowledged) break
        for (const id of rows) assert.ok(handled.has(id), `${id} was acknowledged unhandled`)
      }
    }
    const actions = [
      () => {
        const rows = Array.from({ length: 1 + pick(5) }, () => next++)
        items.push([engine.rows(rows, { table: random() < 0.7 ? 'orders' : 'users' }), rows])
      },
      () => engine.notice({ type: 'schema', source: 'default' }),
      () => {
        if (receivers.length >= 3) return
        const state = { isBroken: random() < 0.5 }
        const consumer = streamer.consume(
          async batch => {
            if (random() < 0.5) await settled()
            if (state.isBroken) throw new Error('broken')
            for (const id of ids(batch)) handled.add(id)
          },
          { batchSize: 1 + pick(4), retries: Infinity }
        )
        receivers.push(() => consumer.stop())
      },
      () => {
        if (receivers.length > 0) return
        const loop = streamer.changes()
        let isLeft = false
        const ended = (async () => {
          for await (const change of loop) {
            if (isLeft || random() < 0.2) break
            await settled()
            handled.add(change.after.id)
          }
        })()
        receivers.push(async () => {
          isLeft = true
          await loop.return?.()
          await ended.catch(() => {})
        })
      },
      async () => {
        if (receivers.length > 0) await receivers.splice(pick(receivers.length), 1)[0]()
      },
    ]
    for (let round = 0; round < 60; round++) {
      await actions[pick(actions.length)]()
      if (random() < 0.5) await settled()
      check()
    }
    for (const close of receivers.splice(0)) await close()
    check()
    // Successors of all: everything is handled in the end.
    for (let i = 0; i < 40; i++) streamer.consume(batch => ids(batch).forEach(id => handled.add(id)))
    const last = engine.rows([next++])
    items.push([last, [next - 1]])
    await until(() => engine.acknowledged.at(-1) === last)
    check()
    assert.equal(handled.size, next - 1)
  })
}
