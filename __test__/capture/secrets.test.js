'use strict'

// A password and a row's value that must not be seen anywhere but where they belong: not in a message, a log record, a metric,
// health, a stack, a checkpoint, or what `console.log` shows of a streamer.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const net = require('node:net')
const os = require('node:os')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { inspect } = require('node:util')
const { Streamer } = require('../..')
const { freshMongodb } = require('../support/mongodb')
const { eventually, freshDatabase, openKit } = require('../support/servers')

const PASSWORD = 'C4n4ry-pass'
const VALUE = 'C4n4ry-value'

/** @type {import('../support/servers').Kit} */
let kit
/** @type {string} */
let folder
before(async () => {
  kit = await openKit()
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'streamer-secrets-'))
})
after(async () => {
  await kit?.close()
  fs.rmSync(folder, { recursive: true, force: true })
})

/** Gives a Redis a password. @param {number} port @returns {Promise<void>} */
function lock(port) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () =>
      socket.write(`CONFIG SET requirepass ${PASSWORD}\r\n`)
    )
    socket.once('error', reject)
    socket.once('data', answer => {
      socket.destroy()
      if (String(answer).startsWith('+OK')) resolve()
      else reject(new Error(String(answer)))
    })
  })
}

/** Everything that is said about a streamer while it runs. @param {any} config */
function overheard(config) {
  /** @type {string[]} */
  const said = []
  const hear = (...things) =>
    said.push(...things.map(thing => inspect(thing, { depth: 9, showHidden: true })))
  const logger = Object.fromEntries(
    ['debug', 'info', 'warn', 'error'].map(level => [level, (fields, message) => hear(fields, message)])
  )
  const streamer = new Streamer({ ...config, logger })
  for (const event of ['error', 'disconnect', 'reconnect', 'health', 'heartbeat', 'gap', 'schema'])
    streamer.on(event, thing => hear(thing, thing?.stack, JSON.stringify(thing)))
  const look = () => hear(streamer, streamer.health(), streamer.metrics(), JSON.stringify(streamer))
  return { streamer, said, hear, look }
}

/** @param {string[]} said */
function assertNothing(said) {
  assert.ok(said.length > 10, 'something was said')
  for (const text of said) {
    assert.ok(!text.includes(PASSWORD) && !text.includes(encodeURIComponent(PASSWORD)), text.slice(0, 2000))
    assert.ok(!text.includes(VALUE), text.slice(0, 2000))
  }
}

for (const kind of /** @type {const} */ (['mysql', 'mariadb'])) {
  test(`neither a password nor a value is said by a source that works and breaks (${kind})`, async () => {
    const server = await kit[kind]({ own: true })
    const database = await freshDatabase(server)
    const writer = await database.connect()
    writer.on('error', () => {})
    await writer.query(`CREATE USER canary IDENTIFIED BY '${PASSWORD}'`)
    await writer.query('GRANT ALL ON *.* TO canary')
    await writer.query('CREATE TABLE t (id INT PRIMARY KEY, secret VARCHAR(50))')
    const redis = await kit.redis({ own: true })
    await lock(redis.port)
    const url = new URL(database.url)
    Object.assign(url, { username: 'canary', password: PASSWORD })
    const redisUrl = `redis://:${PASSWORD}@127.0.0.1:${redis.port}/0`
    for (const checkpoint of [path.join(folder, kind), redisUrl]) {
      const { streamer, said, hear, look } = overheard({
        source: url.href,
        checkpoint: { url: checkpoint, intervalMs: 10 },
        heartbeat: { intervalMs: 50, timeoutMs: 1000 },
        reconnect: { initialMs: 10, maxMs: 50 },
      })
      let rows = 0
      streamer.consume(batch => {
        rows += batch.length
        if (rows === 1) throw new Error('a handler that fails once')
      })
      await streamer.start()
      const id = Math.floor(Math.random() * 1e9)
      await writer.query('INSERT INTO t VALUES (?, ?)', [id, VALUE])
      await eventually(() => rows >= 2, { what: 'the row, twice' })
      await writer.query(`CREATE USER IF NOT EXISTS other IDENTIFIED BY '${PASSWORD}'`)
      const [dumps] = await writer.query(
        "SELECT ID AS id FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'"
      )
      for (const dump of dumps) await writer.query(`KILL ${dump.id}`)
      await eventually(() => streamer.health().sources.default.reconnects > 0, { what: 'the reconnection' })
      look()
      await streamer.stop().catch(hear)
      look()
      assertNothing(said)
    }
    for (const name of fs.readdirSync(path.join(folder, kind)))
      assertNothing([...Array(10).fill(''), fs.readFileSync(path.join(folder, kind, name), 'latin1')])
    await writer.end()
    await redis.stop()
    await server.stop()
  })
}

test('neither a password nor a value is said by a source that works and breaks (mongodb)', async () => {
  const server = await kit.mongodb({ own: true })
  const database = await freshMongodb(server)
  await database.client.db('admin').command({ createUser: 'canary', pwd: PASSWORD, roles: ['root'] })
  const url = database.url.replace('mongodb://', `mongodb://canary:${PASSWORD}@`) + '&authSource=admin'
  const checkpoint = path.join(folder, 'mongodb')
  const { streamer, said, hear, look } = overheard({
    source: { url, fullDocument: 'whenAvailable', fullDocumentBeforeChange: 'whenAvailable' },
    checkpoint: { url: checkpoint, intervalMs: 10 },
    heartbeat: { intervalMs: 50, timeoutMs: 1000 },
    reconnect: { initialMs: 10, maxMs: 50 },
  })
  let changes = 0
  streamer.consume(batch => {
    changes += batch.length
    if (changes === 1) throw new Error('a handler that fails once')
  })
  await streamer.start()
  const t = database.db.collection('t')
  await t.insertOne({ _id: /** @type {any} */ (1), secret: VALUE })
  await eventually(() => changes >= 2, { what: 'the document, twice' })
  // A change whose images are missing.
  await t.updateOne({ _id: /** @type {any} */ (1) }, { $set: { more: VALUE } })
  await server.kill()
  await eventually(() => streamer.health().status !== 'healthy', { what: 'the end to be noticed' })
  await server.restart()
  await eventually(() => streamer.health().sources.default.reconnects > 0, { what: 'the reconnection' })
  look()
  await streamer.stop().catch(hear)
  look()
  assertNothing(said)
  for (const name of fs.readdirSync(checkpoint))
    assertNothing([...Array(10).fill(''), fs.readFileSync(path.join(checkpoint, name), 'latin1')])
  await database.client.close()
  await server.stop()
})

test('nor by what is refused', async () => {
  const server = await kit.mysql()
  /** @type {string[]} */
  const said = []
  const host = `127.0.0.1:${server.port}`
  const configs = [
    `mysql://canary:${PASSWORD}@${host}/shop`,
    `mysql://canary:${PASSWORD}@127.0.0.1:1/shop`,
    `mysql://canary:${PASSWORD}@nowhere.invalid/shop`,
    `mongodb://canary:${PASSWORD}@127.0.0.1:1/shop?serverSelectionTimeoutMS=200`,
    `mysql://canary:${PASSWORD}@${host}:x/shop`,
    `mysql://canary:${PASSWORD}@@${host}/shop`,
    `http://canary:${PASSWORD}@${host}/shop`,
    { url: `mysql://canary@${host}/shop`, password: PASSWORD },
  ]
  for (const source of configs) {
    try {
      const streamer = new Streamer({ source, reconnect: { attempts: 0 } })
      streamer.on('error', () => {})
      await streamer.start().finally(() => streamer.stop())
      assert.fail('it was not refused')
    } catch (error) {
      said.push(inspect(error, { depth: 9, showHidden: true }), String(error.stack), JSON.stringify(error))
    }
  }
  for (const checkpoint of [
    `redis://:${PASSWORD}@127.0.0.1:1/0`,
    `redis://:${PASSWORD}@127.0.0.1:${server.port}/0`,
  ]) {
    const streamer = new Streamer({ source: server.url + '/mysql', checkpoint })
    await assert.rejects(streamer.start(), error => {
      said.push(inspect(error, { depth: 9 }), String(error.stack), JSON.stringify(error))
      return error.code === 'ERR_STREAMER_CHECKPOINT_FAILED'
    })
    await streamer.stop().catch(() => {})
  }
  assertNothing(said)
})
