'use strict'

// Positions that outlive the process: a new one goes on where the last one stopped, however that ended.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const net = require('node:net')
const os = require('node:os')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { Streamer } = require('../..')
const { Child } = require('../support/child')
const { collect } = require('../support/collect')
const { eventually, freshDatabase, openKit } = require('../support/servers')

const QUICK = { initialMs: 10, maxMs: 100 }

/** @type {import('../support/servers').Kit} */
let kit
/** @type {string} */
let folder
before(async () => {
  kit = await openKit()
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'streamer-checkpoint-'))
})
after(async () => {
  await kit?.close()
  fs.rmSync(folder, { recursive: true, force: true })
})

let places = 0
const place = () => path.join(folder, `place-${places++}`)

/** @param {readonly any[]} changes */
const ids = changes => changes.map(change => change.after.id)

/** A database with an empty table `t`. @param {any} server */
async function table(server) {
  const database = await freshDatabase(server)
  const writer = await database.connect()
  await writer.query('CREATE TABLE t (id INT PRIMARY KEY, text VARCHAR(20))')
  /** @param {number[]} rows */
  const insert = async (...rows) => {
    for (const id of rows) await writer.query('INSERT INTO t VALUES (?, ?)', [id, `row ${id}`])
  }
  return { url: database.url, database, insert, query: sql => writer.query(sql), end: () => writer.end() }
}

/** Sends a command to Redis; resolves with its answer. @param {number} port @param {string} command @returns {Promise<string>} */
function say(port, command) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(`${command}\r\n`))
    socket.once('error', reject)
    let answer = ''
    socket.on('data', data => {
      answer += data.toString('latin1')
      if (answer.endsWith('\r\n')) socket.end()
    })
    socket.once('close', () => resolve(answer))
  })
}

/** Removes all logs but the last; one that a dump still reads stays until that has noticed its end. @param {any} t */
async function purge(t) {
  await eventually(
    async () => {
      const [logs] = await t.query('SHOW BINARY LOGS')
      if (logs.length === 1) return true
      await t.query(`PURGE BINARY LOGS TO '${logs.at(-1).Log_name}'`)
      return false
    },
    { what: 'older logs to be gone' }
  )
}

for (const kind of /** @type {const} */ (['mysql', 'mariadb'])) {
  for (const store of /** @type {const} */ (['a directory', 'Redis'])) {
    test(`a new streamer goes on where the last one stopped: ${kind}, ${store}`, async () => {
      const [server, redis] = [await kit[kind](), await kit.redis()]
      const t = await table(server)
      const config = {
        source: t.url,
        checkpoint: store === 'Redis' ? { url: redis.url, prefix: `${kind}:` } : place(),
      }
      const first = await collect(config)
      await t.insert(1, 2)
      await first.until(() => first.changes.length === 2, 'two rows')
      await first.stop()
      await t.insert(3, 4)
      const second = await collect(config)
      await t.insert(5)
      await second.until(() => second.changes.length === 3, 'three rows')
      assert.deepEqual(
        [ids(first.changes), ids(second.changes)],
        [
          [1, 2],
          [3, 4, 5],
        ]
      )
      assert.deepEqual(second.gaps, [])
      await second.stop()
      await t.end()
      await redis.stop()
    })
  }

  test(`a process that is killed right after its start loses nothing (${kind})`, async () => {
    const t = await table(await kit[kind]())
    const [config, file] = [{ source: t.url, checkpoint: place() }, path.join(folder, `killed-${kind}`)]
    const child = new Child('consume.js', { config, file })
    await child.says('ready')
    await child.kill()
    await t.insert(1, 2)
    const next = await collect(config)
    await next.until(() => next.changes.length === 2, 'what was written meanwhile')
    await next.stop()
    await t.end()
  })

  test(`definitions are kept beside the position: columns have the names of their time (${kind})`, async () => {
    const server = await kit[kind]({
      args: kind === 'mysql' ? ['--binlog-row-metadata=MINIMAL'] : ['--binlog-row-metadata=NO_LOG'],
    })
    const t = await table(server)
    const config = { source: t.url, checkpoint: place() }
    await t.insert(1)
    const first = await collect(config)
    await t.query('ALTER TABLE t ADD COLUMN extra INT DEFAULT 7 AFTER id')
    await t.query("INSERT INTO t VALUES (2, 8, 'b')")
    await first.until(() => first.changes.length === 1, 'the row after the first ALTER')
    await first.stop()
    // Nothing but the checkpoint can tell what the table was before this: the log before it goes.
    await t.query('FLUSH BINARY LOGS')
    await t.query("INSERT INTO t VALUES (3, 9, 'c')")
    await t.query('ALTER TABLE t CHANGE extra renamed INT, DROP COLUMN text')
    await t.query('INSERT INTO t VALUES (4, 10)')
    await purge(t)
    const second = await collect(config)
    await second.until(() => second.changes.length === 2, 'both rows')
    assert.deepEqual(
      second.changes.map(change => ({ ...change.after })),
      [
        { id: 3, extra: 9, text: 'c' },
        { id: 4, renamed: 10 },
      ]
    )
    assert.deepEqual(second.gaps, [])
    await second.stop()
    await t.end()
    await server.stop()
  })

  test(`a place that the log has lost is a gap and an error, and stays so until somebody decides (${kind})`, async () => {
    const server = await kit[kind]({ args: ['--binlog-expire-logs-seconds=0'] })
    const t = await table(server)
    const source = { url: t.url }
    const checkpoint = place()
    const first = await collect({ source, checkpoint })
    await t.insert(1)
    await first.until(() => first.changes.length === 1, 'the first row')
    await first.stop()
    await t.insert(2)
    await t.query('FLUSH BINARY LOGS')
    await t.insert(3)
    await purge(t)
    for (let start = 0; start < 2; start++) {
      const streamer = new Streamer({ source, checkpoint })
      const gaps = []
      streamer.on('gap', gap => gaps.push(gap.reason))
      await assert.rejects(streamer.start(), { code: 'ERR_STREAMER_POSITION_LOST', retry: 'operator' })
      await streamer.stop()
      assert.deepEqual(gaps, ['log-purged'])
    }
    const decided = await collect({ source: { ...source, from: 'earliest' }, checkpoint })
    await decided.until(() => decided.changes.length === 1, 'what is left')
    assert.deepEqual([ids(decided.changes), decided.gaps.length], [[3], 1])
    await decided.stop()
    const after = await collect({ source, checkpoint })
    await t.insert(4)
    await after.until(() => after.changes.length === 1, 'the next row')
    assert.deepEqual([ids(after.changes), after.gaps], [[4], []])
    await after.stop()
    await t.end()
    await server.stop()
  })

  test(`an idle source moves its checkpoint (${kind})`, async () => {
    const server = await kit[kind]({ args: ['--binlog-cache-size=32768'] })
    const [t, other] = [await table(server), await table(server)]
    const checkpoint = place()
    const seen = await collect({
      source: t.url,
      checkpoint: { url: checkpoint, intervalMs: 10 },
      heartbeat: { intervalMs: 50, timeoutMs: 5000 },
    })
    const stored = () => fs.readFileSync(path.join(checkpoint, 'default.checkpoint'), 'utf8')
    const before = stored()
    await other.insert(1)
    await eventually(() => stored() !== before, { what: 'a checkpoint behind changes of others' })
    assert.deepEqual(seen.changes, [])
    await seen.stop()
    await Promise.all([t.end(), other.end()])
    await server.stop()
  })
}

test('a second process is refused, and told who the first is', async () => {
  const t = await table(await kit.mariadb())
  const redis = await kit.redis()
  for (const checkpoint of [place(), redis.url]) {
    const child = new Child('consume.js', {
      config: { source: t.url, checkpoint },
      file: path.join(folder, 'first'),
    })
    await child.says('ready')
    const second = new Streamer({ source: t.url, checkpoint })
    await assert.rejects(second.start(), error => {
      assert.equal(error.code, 'ERR_STREAMER_CHECKPOINT_LOCKED')
      assert.equal(error.details.pid, child.pid)
      assert.match(error.message, new RegExp(`in use by process ${child.pid} on `))
      return true
    })
    await second.stop()
    child.signal('SIGTERM')
    await child.says('stopped')
    const third = await collect({ source: t.url, checkpoint })
    await third.stop()
    const killed = new Child('consume.js', {
      config: { source: t.url, checkpoint },
      file: path.join(folder, 'first'),
    })
    await killed.says('ready')
    await killed.kill()
    // One that was killed is in nobody's way, also not for the rest of its lease.
    const fourth = await collect({ source: t.url, checkpoint })
    await fourth.stop()
  }
  await t.end()
  await redis.stop()
})

test('a damaged checkpoint, and one of a later version, are errors and never a fresh start', async () => {
  const t = await table(await kit.mariadb())
  const checkpoint = place()
  const first = await collect({ source: t.url, checkpoint })
  await first.stop()
  const file = path.join(checkpoint, 'default.checkpoint')
  const good = fs.readFileSync(file, 'utf8')
  const cases = [
    [good.replace(/"position":"./, '"position":"x'), /its checksum does not match/],
    [good.slice(0, good.length / 2), /damaged/],
    ['', /damaged/],
    [good.replace('checkpoint 1', 'checkpoint 3'), /later version/],
  ]
  for (const [text, message] of cases) {
    fs.writeFileSync(file, String(text))
    const streamer = new Streamer({ source: t.url, checkpoint })
    await assert.rejects(streamer.start(), { code: 'ERR_STREAMER_CHECKPOINT_INVALID', message })
    await streamer.stop()
    assert.equal(fs.readFileSync(file, 'utf8'), text)
  }
  fs.writeFileSync(file, good)
  const again = await collect({ source: t.url, checkpoint })
  await again.stop()
  await t.end()
})

test('a checkpoint that cannot be written holds no change back, and is said', async () => {
  const t = await table(await kit.mariadb())
  const checkpoint = place()
  /** @type {any[]} */
  const said = []
  const hear = level => (fields, message) => said.push({ level, message, ...fields })
  const seen = await collect({
    source: t.url,
    checkpoint: { url: checkpoint, intervalMs: 10 },
    logger: { debug() {}, info: hear('info'), warn: hear('warn'), error: hear('error') },
  })
  await t.insert(1)
  await seen.until(() => seen.changes.length === 1, 'the first row')
  fs.renameSync(checkpoint, `${checkpoint}-away`)
  await t.insert(2)
  await seen.until(() => seen.changes.length === 2, 'the second row')
  const lastError = () => seen.streamer.health().sources.default.lastError
  await eventually(() => lastError()?.code === 'ERR_STREAMER_CHECKPOINT_FAILED', {
    what: 'the failure in health()',
  })
  assert.ok(!lastError()?.message.includes('row 2'))
  const failures = () =>
    Number(/^streamer_checkpoint_failures_total (\d+)/m.exec(seen.streamer.metrics())?.[1])
  await eventually(() => failures() > 2, { what: 'several attempts' })
  const warnings = () => said.filter(({ code }) => code === 'ERR_STREAMER_CHECKPOINT_FAILED')
  await eventually(() => warnings().length > 0, { what: 'the failure in the log' })
  fs.renameSync(`${checkpoint}-away`, checkpoint)
  const isStoredAgain = ({ message, source }) => message.includes('stored again') && source === 'default'
  await eventually(() => said.some(isStoredAgain), { what: 'the end of it in the log' })
  assert.deepEqual(
    warnings().map(({ level, source }) => [level, source]),
    [['warn', 'default']],
    'said once'
  )
  assert.equal(said.filter(isStoredAgain).length, 1)
  await seen.stop()
  const next = await collect({ source: t.url, checkpoint })
  await t.insert(3)
  await next.until(() => next.changes.length === 1, 'the third row')
  assert.deepEqual(ids(next.changes), [3])
  await next.stop()
  await t.end()
})

test('what could not be stored in the end is what stop() rejects with', async () => {
  const t = await table(await kit.mariadb())
  const checkpoint = place()
  const seen = await collect({ source: t.url, checkpoint })
  await t.insert(1)
  await seen.until(() => seen.changes.length === 1, 'the first row')
  fs.renameSync(checkpoint, `${checkpoint}-away`)
  await t.insert(2)
  await seen.until(() => seen.changes.length === 2, 'the second row')
  await assert.rejects(seen.stop(), { code: 'ERR_STREAMER_CHECKPOINT_FAILED' })
  assert.equal(seen.streamer.health().status, 'stopped')
  await t.end()
})

test('Redis that goes away and comes back empty holds nothing back, and is written again', async () => {
  const t = await table(await kit.mariadb())
  const redis = await kit.redis()
  const checkpoint = { url: redis.url, intervalMs: 10 }
  const seen = await collect({ source: t.url, checkpoint, reconnect: QUICK })
  await t.insert(1)
  await seen.until(() => seen.changes.length === 1, 'the first row')
  await redis.kill()
  await t.insert(2)
  await seen.until(() => seen.changes.length === 2, 'a row without Redis')
  await eventually(
    () => seen.streamer.health().sources.default.lastError?.code === 'ERR_STREAMER_CHECKPOINT_FAILED',
    { what: 'the failure in health()' }
  )
  await redis.restart()
  await t.insert(3)
  await seen.until(() => seen.changes.length === 3, 'a row with Redis again')
  await seen.stop()
  const next = await collect({ source: t.url, checkpoint })
  await t.insert(4)
  await next.until(() => next.changes.length === 1, 'the next row')
  assert.deepEqual(ids(next.changes), [4])
  await next.stop()
  await t.end()
  await redis.stop()
})

test('Redis that comes back empty is given the definitions as well', async () => {
  const server = await kit.mariadb({ args: ['--binlog-row-metadata=NO_LOG'] })
  const t = await table(server)
  const redis = await kit.redis()
  const checkpoint = { url: redis.url, intervalMs: 10 }
  const stored = async () => {
    const answer = await say(redis.port, 'HMGET ultimate-streaming:checkpoint:default checkpoint definitions')
    return answer.includes('crc32') && answer.length
  }
  const seen = await collect({ source: t.url, checkpoint })
  await t.query('ALTER TABLE t ADD COLUMN extra INT DEFAULT 7 AFTER id')
  await t.query("INSERT INTO t VALUES (1, 8, 'a')")
  await seen.until(() => seen.changes.length === 1, 'the first row')
  await eventually(stored, { what: 'a checkpoint' })
  await say(redis.port, 'FLUSHALL')
  await t.query("INSERT INTO t VALUES (2, 8, 'b')")
  await seen.until(() => seen.changes.length === 2, 'the second row')
  await eventually(stored, { what: 'a checkpoint again' })
  await seen.stop()
  // Nothing but the checkpoint can tell what the table was before this: the log before it goes.
  await t.query('FLUSH BINARY LOGS')
  await t.query("INSERT INTO t VALUES (3, 9, 'c')")
  await t.query('ALTER TABLE t CHANGE extra renamed INT, DROP COLUMN text')
  await purge(t)
  const second = await collect({ source: t.url, checkpoint })
  await second.until(() => second.changes.length + second.gaps.length > 0, 'the row')
  assert.deepEqual(second.gaps, [])
  assert.deepEqual({ ...second.changes[0].after }, { id: 3, extra: 9, text: 'c' })
  await second.stop()
  await t.end()
  await redis.stop()
  await server.stop()
})

test('a directory that is deleted and made again has one owner', async () => {
  const t = await table(await kit.mariadb())
  const checkpoint = place()
  const first = await collect({ source: t.url, checkpoint: { url: checkpoint, intervalMs: 10 } })
  fs.rmSync(checkpoint, { recursive: true })
  const second = await collect({ source: t.url, checkpoint })
  await t.insert(1)
  await assert.rejects(
    first.until(() => false, 'the refusal'),
    /ERR_STREAMER_CHECKPOINT_LOCKED/
  )
  assert.equal(first.streamer.health().status, 'down')
  await second.until(() => second.changes.length === 1, 'the row')
  // Only where something was left to store.
  await first.stop().catch(error => assert.equal(error.code, 'ERR_STREAMER_CHECKPOINT_LOCKED'))
  await second.stop()
  await t.end()
})

test('what a dead letter has taken is done, and does not come again', async () => {
  const t = await table(await kit.mariadb())
  const config = { source: t.url, checkpoint: place() }
  const streamer = new Streamer(config)
  const [handled, dead] = [[], []]
  streamer.consume(
    batch => {
      if (batch[0].after.id === 2) throw new Error('no')
      handled.push(...ids(batch))
    },
    { batchSize: 1, retries: 1, deadLetter: (batch, error) => void dead.push(...ids(batch), String(error)) }
  )
  await streamer.start()
  await t.insert(1, 2, 3)
  await eventually(() => handled.length === 2, { what: 'the row behind it' })
  await streamer.stop()
  assert.deepEqual(
    [handled, dead],
    [
      [1, 3],
      [2, 'Error: no'],
    ]
  )
  const next = await collect(config)
  await t.insert(4)
  await next.until(() => next.changes.length === 1, 'the next row')
  assert.deepEqual(ids(next.changes), [4])
  await next.stop()
  await t.end()
})

test('a batch whose handler fails for good comes again at the next start', async () => {
  const t = await table(await kit.mariadb())
  const config = { source: t.url, checkpoint: place() }
  const streamer = new Streamer(config)
  const handled = []
  const failed = new Promise(resolve => streamer.once('error', resolve))
  const stopped = new Promise(resolve => streamer.once('stop', resolve))
  streamer.consume(
    batch => {
      for (const change of batch) {
        if (change.after.id === 2) throw new Error('no')
        handled.push(change.after.id)
      }
    },
    { batchSize: 1, retries: 1 }
  )
  await streamer.start()
  await t.insert(1, 2, 3)
  assert.equal((await failed).code, 'ERR_STREAMER_HANDLER_FAILED')
  await stopped
  const next = await collect(config)
  await next.until(() => next.changes.length === 2, 'the batch that failed and the one behind it')
  assert.deepEqual([handled, ids(next.changes)], [[1], [2, 3]])
  await next.stop()
  await t.end()
})
