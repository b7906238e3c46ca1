'use strict'

// A consuming process is killed (SIGKILL) at random instants while a writer goes on: nothing may be skipped, and what comes again
// carries the id that it had. `STREAMER_KILLS` sets how often; `STREAMER_KILLS_SEED` repeats the instants.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { setTimeout: sleep } = require('node:timers/promises')
const { Child } = require('../support/child')
const { handled, hasHandled } = require('../support/handled')
const { random } = require('../support/random')
const { freshDatabase, openKit } = require('../support/servers')

const KILLS = Number(process.env.STREAMER_KILLS ?? 12)
const SEED = Number(process.env.STREAMER_KILLS_SEED ?? 1)
/** Longest life of a process, in ms: of every other one from its very beginning, so that some die before they stream, ... */
const LIFE_MS = 700
/** ... and of the others from when they stream. */
const STREAMING_MS = 200

/** @type {import('../support/servers').Kit} */
let kit
/** @type {string} */
let folder
before(async () => {
  kit = await openKit()
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'streamer-kills-'))
})
after(async () => {
  await kit?.close()
  fs.rmSync(folder, { recursive: true, force: true })
})

/** Writes transactions of 1 to 5 rows until it is told to end. @param {any} connection */
function writing(connection) {
  let isEnded = false
  let last = 0
  const work = (async () => {
    while (!isEnded) {
      await connection.query('BEGIN')
      const rows = 1 + (last % 5)
      for (let row = 0; row < rows; row++) await connection.query('INSERT INTO t VALUES (?)', [++last])
      await connection.query('COMMIT')
      // Faster than readers that live for half a second, it would only show how far these fall behind.
      await sleep(5)
    }
  })()
  return async () => {
    isEnded = true
    await work
    return last
  }
}

for (const kind of /** @type {const} */ (['mysql', 'mariadb'])) {
  test(`${KILLS} kills of a consuming process skip nothing, and repeat only known ids (${kind})`, async t => {
    const { below } = random(SEED)
    const database = await freshDatabase(await kit[kind]())
    const connection = await database.connect()
    await connection.query('CREATE TABLE t (id INT PRIMARY KEY)')
    const file = path.join(folder, `seen-${kind}`)
    fs.writeFileSync(file, '')
    const argument = {
      config: {
        source: database.url,
        checkpoint: { url: path.join(folder, `checkpoint-${kind}`), intervalMs: 10 },
      },
      options: { batchSize: 7 },
      file,
    }
    // The first start decides where reading begins.
    const first = new Child('consume.js', argument)
    await first.says('ready')
    const end = writing(connection)
    await first.kill()
    for (let kill = 1; kill < KILLS; kill++) {
      const child = new Child('consume.js', argument)
      const isStreaming = kill % 2 === 0
      if (isStreaming) await child.says('ready')
      await sleep(below(isStreaming ? STREAMING_MS : LIFE_MS))
      await child.kill()
    }
    const last = await end()
    const survivor = new Child('consume.js', argument)
    await survivor.says('ready')
    while (!hasHandled(file, `"key":{"id":${last}}`)) {
      assert.ok(!survivor.lines.some(line => line.startsWith('error')), survivor.lines.join('\n'))
      await sleep(50)
    }
    survivor.signal('SIGTERM')
    await survivor.says('stopped')

    const seen = handled(file)
    /** @type {Map<string, number>} */
    const known = new Map()
    let repeats = 0
    let expected = 1
    for (const { id, after } of seen) {
      if (known.has(id)) {
        repeats++
        assert.equal(known.get(id), after.id, 'the same id is the same change')
        continue
      }
      assert.equal(after.id, expected++, 'in order, nothing skipped')
      known.set(id, after.id)
    }
    assert.equal(known.size, last)
    const processes = new Set(seen.map(({ pid }) => pid)).size
    assert.ok(processes > KILLS / 4, `only ${processes} processes came so far as to handle a change`)
    t.diagnostic(
      `seed ${SEED}: ${KILLS} kills, ${last} changes, ${repeats} repeated, ${processes} processes took part`
    )
    await connection.end()
  })
}
