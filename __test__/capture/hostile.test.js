'use strict'

// What answers is no server but somebody in between, or a server that was taken over: nothing is sent to it that it must not have,
// and no length that it claims takes memory.

const assert = require('node:assert/strict')
const net = require('node:net')
const { after, test } = require('node:test')
const { Streamer } = require('../..')

const CLIENT_SSL = 0x800
/** Everything of the protocol that a server of today offers, TLS too. */
const CAPABILITIES = 0xc3ffffff
const PASSWORD = 'C4n4ry-of-the-mine'
const OK = Buffer.from([0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00])

/** A packet of the classic protocol. @param {number} sequence @param {Buffer} payload */
function packet(sequence, payload) {
  const header = Buffer.alloc(4)
  header.writeUIntLE(payload.length, 0, 3)
  header[3] = sequence
  return Buffer.concat([header, payload])
}

/** The first packet of a server (Protocol::HandshakeV10). @param {number} capabilities */
function greeting(capabilities) {
  const fixed = Buffer.alloc(4 + 9 + 2 + 1 + 2 + 2 + 1 + 10)
  fixed.writeUInt32LE(7, 0)
  fixed.fill('a', 4, 12)
  fixed.writeUInt16LE(capabilities & 0xffff, 13)
  fixed[15] = 45
  fixed.writeUInt16LE(2, 16)
  fixed.writeUInt16LE((capabilities >>> 16) & 0xffff, 18)
  fixed[20] = 21
  const text = value => Buffer.from(`${value}\0`)
  return packet(
    0,
    Buffer.concat([
      Buffer.from([10]),
      text('8.0.36'),
      fixed,
      text('b'.repeat(12)),
      text('mysql_native_password'),
    ])
  )
}

/** @type {net.Server[]} */
const open = []
after(() => open.forEach(server => server.close()))

/**
 * Answers each packet of a client with what `script` says; keeps all that was received.
 * @param {number} capabilities @param {((received: Buffer, turn: number) => Buffer | null)} script
 */
async function hostile(capabilities, script) {
  const received = []
  const server = net.createServer(socket => {
    let turn = 0
    socket.on('error', () => {})
    socket.write(greeting(capabilities))
    socket.on('data', data => {
      received.push(data)
      const answer = script(data, turn++)
      if (answer === null) socket.end()
      else socket.write(answer)
    })
  })
  open.push(server)
  await new Promise(resolve => server.listen(0, '127.0.0.1', () => resolve(undefined)))
  const { port } = /** @type {net.AddressInfo} */ (server.address())
  return { url: `mysql://root:${PASSWORD}@127.0.0.1:${port}/shop`, received }
}

/** @param {any} source */
async function refusal(source) {
  const streamer = new Streamer({ source, reconnect: { attempts: 0 } })
  const error = await streamer.start().then(
    () => assert.fail('it started'),
    reason => reason
  )
  await streamer.stop()
  assert.ok(!`${error.stack}${JSON.stringify(error)}`.includes(PASSWORD))
  return error
}

test('a server that seems to have no TLS is sent nothing', async () => {
  const { url, received } = await hostile(CAPABILITIES & ~CLIENT_SSL, () => null)
  const error = await refusal({ url, tls: true })
  assert.equal(error.code, 'ERR_STREAMER_TLS_UNAVAILABLE')
  assert.equal(Buffer.concat(received).length, 0)
})

for (const method of ['mysql_clear_password', 'mysql_old_password']) {
  test(`a request for ${method} in plain text is refused, and answered by nothing`, async () => {
    const switching = Buffer.concat([Buffer.from([0xfe]), Buffer.from(`${method}\0${'c'.repeat(20)}\0`)])
    const { url, received } = await hostile(CAPABILITIES, () => packet(2, switching))
    const error = await refusal({ url, tls: false })
    assert.equal(error.code, 'ERR_STREAMER_AUTH_REJECTED')
    assert.match(error.message, new RegExp(method))
    assert.equal(received.length, 1, 'only the response to the greeting')
    assert.ok(!Buffer.concat(received).includes(PASSWORD))
  })
}

test('a request for a local file is refused, and no byte of it is sent', async () => {
  const { url, received } = await hostile(CAPABILITIES, (_, turn) =>
    turn === 0 ? packet(2, OK) : packet(1, Buffer.from('\xfb/etc/passwd', 'latin1'))
  )
  const error = await refusal({ url, tls: false })
  assert.equal(error.code, 'ERR_STREAMER_PROTOCOL_UNEXPECTED')
  assert.match(error.message, /local file/)
  assert.ok(!Buffer.concat(received).includes('root:x:'))
  assert.equal(received.length, 2, 'the login and one query')
})

for (const [what, answer] of /** @type {const} */ ([
  [
    'a number of columns beyond all bounds',
    Buffer.from([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
  ],
  ['a column definition whose length is not there', Buffer.from([0xfd, 0xff, 0xff, 0xff])],
  ['a packet that is announced and does not come', null],
])) {
  test(`${what} takes no memory`, async () => {
    const endless = Buffer.from([0xff, 0xff, 0xff, 0x01])
    const before = process.memoryUsage.rss()
    const { url } = await hostile(CAPABILITIES, (_, turn) => {
      if (turn === 0) return packet(2, OK)
      if (turn > 1) return null
      return answer === null ? endless : Buffer.concat([packet(1, answer), packet(2, Buffer.from([0xfe]))])
    })
    const error = await refusal({ url, tls: false })
    assert.match(error.code, /^ERR_STREAMER_(PROTOCOL_UNEXPECTED|CONNECTION_LOST|TIMEOUT|LIMIT_EXCEEDED)$/)
    assert.ok(process.memoryUsage.rss() - before < 64 << 20)
  })
}
