'use strict'

// A server moves to another address: its name is looked up anew with each attempt to connect.

const assert = require('node:assert/strict')
const { once } = require('node:events')
const fs = require('node:fs')
const net = require('node:net')
const os = require('node:os')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { canServeNames, nameServer, ownAddress, spawnWithNames } = require('../support/names')
const { eventually, freshDatabase, openKit } = require('../support/servers')

/** @type {import('../support/servers').Kit} */
let kit
/** @type {string} */
let folder
before(async () => {
  kit = await openKit()
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'streamer-names-'))
})
after(async () => {
  await kit?.close()
  fs.rmSync(folder, { recursive: true, force: true })
})

/** An address at which a server can be reached until it is closed. @param {number} to @param {string} address @param {number} port */
async function door(to, address, port) {
  const open = new Set()
  let taken = 0
  const listener = net.createServer(socket => {
    taken++
    const inner = net.connect(to, '127.0.0.1')
    for (const side of [socket, inner]) {
      open.add(side)
      side.on('error', () => {})
      side.on('close', () => {
        socket.destroy()
        inner.destroy()
      })
    }
    socket.pipe(inner)
    inner.pipe(socket)
  })
  listener.listen(port, address)
  await once(listener, 'listening')
  return {
    port: /** @type {net.AddressInfo} */ (listener.address()).port,
    taken: () => taken,
    close() {
      listener.close()
      for (const socket of open) socket.destroy()
    },
  }
}

test('a name is looked up anew with each connection', { skip: !canServeNames }, async () => {
  const server = await kit.mariadb()
  const database = await freshDatabase(server)
  const writer = await database.connect()
  await writer.query('CREATE TABLE t (id INT PRIMARY KEY)')
  const [one, other] = [ownAddress(), ownAddress()]
  const first = await door(server.port, one, 0)
  const second = await door(server.port, other, first.port)
  const records = { 'A db.streamer.test': [one] }
  const names = await nameServer(records)
  const file = path.join(folder, 'seen')
  const url = `mariadb://root@db.streamer.test:${first.port}/${database.name}`
  const child = spawnWithNames(folder, names.address, 'consume.js', {
    file,
    config: { source: { url, tls: false }, reconnect: { initialMs: 20, maxMs: 200 } },
  })
  let said = ''
  child.stdout.on('data', data => (said += data))
  await eventually(() => said !== '', { what: 'the process to say something' })
  assert.equal(said, 'ready\n')
  const sees = id =>
    eventually(() => fs.readFileSync(file, 'utf8').includes(`"key":{"id":${id}}`), { what: `row ${id}` })
  await writer.query('INSERT INTO t VALUES (1)')
  await sees(1)
  assert.equal(second.taken(), 0)
  records['A db.streamer.test'] = [other]
  first.close()
  await writer.query('INSERT INTO t VALUES (2)')
  await sees(2)
  assert.ok(second.taken() > 0, 'through the new address')
  child.kill('SIGTERM')
  await once(child, 'exit')
  second.close()
  names.close()
  await writer.end()
})
