'use strict'

// What is in flight stays within `bufferBytes` and one batch, whatever the server sends and however slow the handler is.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { setTimeout: sleep } = require('node:timers/promises')
const { Streamer } = require('../..')
const { eventually, freshDatabase, openKit } = require('../support/servers')

const LIMIT = 1 << 20

/** @type {import('../support/servers').Kit} */
let kit
before(async () => {
  kit = await openKit()
})
after(() => kit?.close())

/** Bytes that the engine holds for JavaScript. @param {Streamer} streamer */
function inFlight(streamer) {
  return Number(/^streamer_in_flight_bytes (\d+)/m.exec(streamer.metrics())?.[1])
}

for (const kind of /** @type {const} */ (['mysql', 'mariadb'])) {
  test(`a transaction of 200,000 rows and a slow handler stay within the window (${kind})`, async () => {
    const database = await freshDatabase(await kit[kind]())
    const writer = await database.connect()
    await writer.query('CREATE TABLE t (id INT PRIMARY KEY, text VARCHAR(100))')
    await writer.query('CREATE TABLE digits (d INT)')
    await writer.query('INSERT INTO digits VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)')
    const streamer = new Streamer({
      source: { url: database.url, tables: ['t'] },
      delivery: { bufferBytes: LIMIT },
    })
    let [rows, calls, most] = [0, 0, 0]
    streamer.consume(
      async batch => {
        // Slow while the window fills, quick once that was seen.
        if (calls++ < 20) await sleep(50)
        rows += batch.length
        most = Math.max(most, inFlight(streamer))
      },
      { batchSize: 1000 }
    )
    await streamer.start()
    const digit = index => `d${index}.d * ${10 ** index}`
    const six = [0, 1, 2, 3, 4, 5]
    await writer.query(
      `INSERT INTO t SELECT n, REPEAT('x', 50) FROM (SELECT ${six.map(digit).join(' + ')} AS n
       FROM ${six.map(index => `digits d${index}`).join(', ')}) numbers WHERE n < 200000`
    )
    await eventually(() => rows === 200_000, { deadlineMs: 120_000, what: 'every row' })
    assert.ok(most > LIMIT / 2, `the window was never full: ${most}`)
    assert.ok(most <= LIMIT + LIMIT / 4, `${most} bytes were in flight`)
    await streamer.stop()
    await writer.end()
  })

  test(`a row of 64 MB arrives alone, and whole (${kind})`, async () => {
    const redo = kind === 'mysql' ? '--innodb-redo-log-capacity=1G' : '--innodb-log-file-size=1G'
    const server = await kit[kind]({ args: ['--max-allowed-packet=256M', redo] })
    const database = await freshDatabase(server)
    const writer = await database.connect()
    await writer.query('CREATE TABLE t (id INT PRIMARY KEY, text LONGTEXT)')
    const streamer = new Streamer({ source: database.url, delivery: { bufferBytes: LIMIT } })
    const seen = []
    streamer.on('change', change => seen.push([change.after?.id, change.after?.text?.length]))
    await streamer.start()
    await writer.query("INSERT INTO t VALUES (1, 'small')")
    await writer.query("INSERT INTO t VALUES (2, REPEAT('y', 64 * 1024 * 1024))")
    await writer.query("INSERT INTO t VALUES (3, 'small')")
    await eventually(() => seen.length === 3, { deadlineMs: 120_000, what: 'three rows' })
    assert.deepEqual(seen, [
      [1, 5],
      [2, 64 << 20],
      [3, 5],
    ])
    await eventually(() => inFlight(streamer) < LIMIT, { what: 'the window to be free again' })
    await streamer.stop()
    await writer.end()
    await server.stop()
  })
}
