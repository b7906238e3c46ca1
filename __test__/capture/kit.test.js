'use strict'

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const fs = require('node:fs')
const { after, before, describe, it } = require('node:test')
const { eventually, freshDatabase, openKit, sharedServer } = require('../support/servers')

/** @param {number} port */
async function answers(port) {
  const socket = require('node:net').connect(port, '127.0.0.1')
  return new Promise(resolve => {
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
  }).finally(() => socket.destroy())
}

describe('the test kit', () => {
  /** @type {import('../support/servers').Kit} */
  let kit
  before(async () => {
    kit = await openKit()
  })
  after(() => kit.close())

  for (const kind of /** @type {const} */ (['mysql', 'mariadb'])) {
    it(`keeps what was committed on ${kind} through a crash`, async () => {
      const server = await kit[kind]({ own: true })
      assert.match(server.version, /^\d+\.\d+\.\d+/)
      assert.ok(fs.existsSync(server.dataDir) && fs.existsSync(server.socket))
      const database = await freshDatabase(server)
      const first = await database.connect()
      first.on('error', () => {})
      await first.query('CREATE TABLE t (id INT PRIMARY KEY)')
      await first.query('INSERT INTO t VALUES (1), (2)')
      await server.kill()
      await assert.rejects(server.kill(), /The server does not run/)
      await server.restart()
      const second = await database.connect()
      const [rows] = await second.query('SELECT id FROM t ORDER BY id')
      assert.deepEqual(rows, [{ id: 1 }, { id: 2 }])
      await second.end()
      await database.drop()
      await server.remove()
      assert.equal(fs.existsSync(server.dataDir), false)
      await assert.rejects(server.resume(), /No server is called/)
    })
  }

  it('starts servers side by side', async () => {
    const [one, two, redis] = await Promise.all([
      kit.mariadb({ own: true }),
      kit.mariadb({ own: true, args: ['--max-connections=55'] }),
      kit.redis({ own: true }),
    ])
    assert.equal(new Set([one.port, two.port, redis.port]).size, 3)
    const connection = await (await freshDatabase(two)).connect()
    const [rows] = await connection.query('SELECT @@max_connections AS n')
    assert.deepEqual(rows, [{ n: 55 }])
    await connection.end()
  })

  it('breaks a connection through a proxy, and counts it', async () => {
    const server = await sharedServer('mariadb')
    assert.equal(await sharedServer('mariadb'), server)
    const proxy = await kit.proxy(server)
    const database = await freshDatabase({ ...server, url: proxy.url })
    const connection = await database.connect()
    connection.on('error', () => {})
    await connection.query('SELECT 1')
    await proxy.fault({ kind: 'cut', how: 'rst' })
    await assert.rejects(connection.query('SELECT 1'))
    await assert.rejects(database.connect())
    const counters = await proxy.counters()
    assert.equal(counters.resets, 1)
    assert.equal(counters.refused, 1)
    await proxy.fault({ kind: 'heal' })
    const healed = await database.connect()
    await healed.query('SELECT 1')
    await healed.end()
    await database.drop()
    await assert.rejects(proxy.fault(/** @type {any} */ ({ kind: 'flood' })), /Unknown fault "flood"/)
  })

  it('takes its servers along when the process that asked for them is killed', async () => {
    const script = `
      const { openKit } = require(${JSON.stringify(require.resolve('../support/servers'))})
      openKit().then(async kit => {
        const servers = await Promise.all([kit.mysql({ own: true }), kit.mariadb({ own: true })])
        console.log(JSON.stringify(servers))
        setInterval(() => {}, 1000)
      })`
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    child.stdout.on('data', text => (output += text))
    const servers = await eventually(() => output.endsWith('\n') && JSON.parse(output), {
      what: 'two servers',
    })
    for (const { port } of servers) assert.equal(await answers(port), true)
    child.kill('SIGKILL')
    for (const { port, dataDir } of servers) {
      await eventually(async () => !(await answers(port)), { what: `the end of the server on ${port}` })
      await eventually(() => !fs.existsSync(dataDir), { what: `the end of ${dataDir}` })
    }
  })

  it('says what a condition returned last when it does not come true', async () => {
    let looks = 0
    assert.equal(await eventually(() => (++looks < 3 ? 0 : looks)), 3)
    await assert.rejects(
      eventually(() => null, { deadlineMs: 30, what: 'nothing' }),
      /Waited 30 ms for nothing; last, it returned null/
    )
    const thrown = new Error('not yet')
    await assert.rejects(
      eventually(() => Promise.reject(thrown), { deadlineMs: 30 }),
      error => error instanceof Error && error.cause === thrown
    )
  })

  it('refuses what it does not know in a sentence', async () => {
    await assert.rejects(kit.mariadb({ args: ['--no-such-option'] }), /no-such-option/)
    await assert.rejects(kit.mongodb({ members: /** @type {any} */ (2) }), /one member or three/)
    await assert.rejects(kit.redis({ tls: true }), /without TLS/)
  })
})
