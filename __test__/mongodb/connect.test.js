'use strict'

// Ways to connect to MongoDB: TLS with an authority of one's own, passwords, certificates, several hosts; and what is refused.

const assert = require('node:assert/strict')
const { once } = require('node:events')
const fs = require('node:fs')
const { connect } = require('node:net')
const os = require('node:os')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { createServer } = require('node:tls')
const { MongoClient } = require('mongodb')
const { Streamer } = require('../..')
const { collect } = require('../support/collect')
const { canServeNames, nameServer, spawnWithNames } = require('../support/names')
const { eventually, openKit } = require('../support/servers')
const { standalone } = require('../support/standalone')

/** @type {import('../support/servers').Kit} */
let kit
/** @type {any} */
let server
/** @type {import('../support/servers').TlsPaths} */
let tls
/** @type {string} */
let folder
/** @type {MongoClient} */
let admin

const ROOT = 'root:of-the-log'

before(async () => {
  kit = await openKit()
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'streamer-mongodb-'))
  // Certificates of the kit's; MySQL's as good as any.
  const other = await kit.mariadb({ tls: true })
  tls = Object.fromEntries(
    Object.entries(/** @type {any} */ (other.tls)).map(([name, file]) => {
      const copy = path.join(folder, path.basename(String(file)))
      fs.copyFileSync(String(file), copy)
      return [name, copy]
    })
  )
  await other.stop()
  const both = path.join(folder, 'server.pem')
  fs.writeFileSync(both, fs.readFileSync(tls.cert, 'utf8') + fs.readFileSync(tls.key, 'utf8'))
  const keyFile = path.join(folder, 'members')
  fs.writeFileSync(keyFile, 'c2hhcmVkIGJ5IHRoZSBtZW1iZXJz', { mode: 0o400 })
  server = await kit.mongodb({ own: true })
  const first = await new MongoClient(server.url).connect()
  await first.db('admin').command({ createUser: 'root', pwd: 'of-the-log', roles: ['root'] })
  await first.close()
  await server.restart([
    ...['--auth', '--keyFile', keyFile, '--tlsMode', 'preferTLS', '--tlsCertificateKeyFile', both],
    ...['--tlsCAFile', tls.ca, '--tlsAllowConnectionsWithoutCertificates'],
  ])
  admin = await new MongoClient(as(ROOT)).connect()
  await admin.db('shop').createCollection('orders')
  const user = (name, roles, mechanisms = ['SCRAM-SHA-256']) =>
    admin.db('admin').command({ createUser: name, pwd: 'p@ss:w/rd', roles, mechanisms })
  const reading = [{ role: 'read', db: 'shop' }]
  await user('modern', reading)
  await user('older', reading, ['SCRAM-SHA-1'])
  await user('tailing', [...reading, { role: 'read', db: 'local' }])
  await user('stranger', [{ role: 'read', db: 'elsewhere' }])
  await admin.db('$external').command({ createUser: 'CN=streamer test client', roles: reading })
})
after(async () => {
  await admin?.close()
  await kit?.close()
  fs.rmSync(folder, { recursive: true, force: true })
})

/** The server's URL with credentials. @param {string} credentials @param {string} [rest] */
function as(credentials, rest = '') {
  const url = new URL(server.url)
  const options = [url.search.slice(1), rest].filter(Boolean).join('&')
  return `mongodb://${credentials}${credentials && '@'}127.0.0.1:${server.port}/shop?authSource=admin&${options}`
}

const encoded = name => `${name}:${encodeURIComponent('p@ss:w/rd')}`

let last = 0

/** Streams, and sees a document. @param {any} config */
async function streams(config) {
  const seen = await collect(config)
  const _id = ++last
  await admin.db('shop').collection('orders').insertOne({ _id })
  await seen.until(() => seen.changes.some(change => change.key?._id === _id), 'the document')
  await seen.stop()
}

/** @param {any} config @param {string} code @param {RegExp} [message] */
async function refused(config, code, message = /./) {
  const streamer = new Streamer(config)
  await assert.rejects(streamer.start(), error => {
    assert.equal(error.code, code, String(error))
    assert.match(error.message, message)
    assert.ok(!/p@ss|of-the-log|p%40ss/.test(`${error.stack}${JSON.stringify(error)}`), 'no password')
    return true
  })
  await streamer.stop()
}

test('SCRAM-SHA-256 and SCRAM-SHA-1', async () => {
  await streams(as(encoded('modern')))
  await streams(as(encoded('older')))
  await streams(as(encoded('older'), 'authMechanism=SCRAM-SHA-1'))
})

test('a wrong password, a user that is not there, and no user at all', async () => {
  await refused(as('modern:wrong'), 'ERR_STREAMER_AUTH_REJECTED')
  await refused(as(encoded('nobody')), 'ERR_STREAMER_AUTH_REJECTED')
  await refused(as(''), 'ERR_STREAMER_GRANT_MISSING')
})

test('privileges that are missing are named', async () => {
  await refused(as(encoded('stranger')), 'ERR_STREAMER_GRANT_MISSING', /shop|changeStream|read/)
})

test('a grant that is revoked is said, and capture goes on when it is back', async () => {
  const roles = [{ role: 'read', db: 'shop' }]
  await admin.db('admin').command({ createUser: 'trusted', pwd: 'p@ss:w/rd', roles })
  const seen = await collect({
    source: as(encoded('trusted')),
    heartbeat: { intervalMs: 200, timeoutMs: 1000 },
    reconnect: { initialMs: 20, maxMs: 200 },
  })
  await admin.db('admin').command({ revokeRolesFromUser: 'trusted', roles })
  const _id = /** @type {any} */ (++last)
  await admin.db('shop').collection('orders').insertOne({ _id })
  await seen.until(
    () => seen.disconnects.some(({ error }) => error.code === 'ERR_STREAMER_GRANT_MISSING'),
    'the refusal'
  )
  assert.notEqual(seen.streamer.health().status, 'healthy')
  await admin.db('admin').command({ grantRolesToUser: 'trusted', roles })
  await seen.until(() => seen.changes.some(change => change.key?._id === _id), 'the document')
  assert.deepEqual(seen.gaps, [])
  await seen.stop()
})

test('the oplog needs a grant of its own, which is named', async () => {
  const source = user => ({ source: { url: as(encoded(user)), log: 'oplog' } })
  await refused(
    source('modern'),
    'ERR_STREAMER_GRANT_MISSING',
    /grantRolesToUser\("<user>", \[\{role: "read", db: "local"\}\]\)/
  )
  await streams(source('tailing'))
})

test('TLS with an authority of one’s own, as a file and as text', async () => {
  await streams({ url: as(encoded('modern')), tls: { ca: tls.ca } })
  await streams({ url: as(encoded('modern')), tls: { ca: fs.readFileSync(tls.ca, 'utf8') } })
})

test('TLS whose authority is not known is refused, unless nothing is to be verified', async () => {
  await refused({ url: as(encoded('modern')), tls: true }, 'ERR_STREAMER_TLS_CERTIFICATE_REJECTED')
  await streams({ url: as(encoded('modern')), tls: { verify: false } })
})

test('a certificate that has expired, and one for another host, are refused, each for its reason', async () => {
  // mongod itself does not start with such a certificate.
  const present = async cert => {
    const options = { cert: fs.readFileSync(cert), key: fs.readFileSync(tls.key) }
    const front = createServer(options, socket => {
      const behind = connect(server.port, '127.0.0.1')
      for (const end of [socket, behind]) end.on('error', () => {})
      socket.pipe(behind).pipe(socket)
    })
    front.on('tlsClientError', () => {})
    await once(front.listen(0), 'listening')
    return front
  }
  const through = (front, host = '127.0.0.1') =>
    as(encoded('modern'), 'directConnection=true').replace(
      `127.0.0.1:${server.port}`,
      `${host}:${front.address().port}`
    )
  const [expired, valid] = [await present(tls.expiredCert), await present(tls.cert)]
  await streams({ url: through(valid), tls: { ca: tls.ca } })
  const code = 'ERR_STREAMER_TLS_CERTIFICATE_REJECTED'
  await refused(
    { url: through(expired), tls: { ca: tls.ca } },
    code,
    /^The server's certificate has expired\. /
  )
  await refused(
    { url: through(valid, '127.0.0.2'), tls: { ca: tls.ca } },
    code,
    /^The server's certificate was made for another host name\. /
  )
  await refused(
    { url: through(valid), tls: true },
    code,
    /^The server's certificate is signed by an authority that is not trusted\. /
  )
  expired.close()
  valid.close()
})

test('a client certificate is an account (X.509)', async () => {
  const url = as('', 'authMechanism=MONGODB-X509').replace('authSource=admin', 'authSource=$external')
  await streams({ url, tls: { ca: tls.ca, cert: tls.clientCert, key: tls.clientKey } })
})

test('several hosts, of which one answers, and a direct connection', async () => {
  const url = as(encoded('modern'))
  await streams(url.replace('127.0.0.1:', '127.0.0.1:1,127.0.0.1:'))
  await streams(as(encoded('modern'), 'directConnection=true').replace(/replicaSet=[^&]*&?/, ''))
})

test('mongodb+srv: hosts and options come from the DNS', { skip: !canServeNames }, async () => {
  const names = await nameServer({
    'SRV _mongodb._tcp.shop.streamer.test': [{ target: 'member.streamer.test', port: server.port }],
    'TXT shop.streamer.test': ['authSource=admin'],
    'A member.streamer.test': ['127.0.0.1'],
  })
  const file = path.join(folder, 'seen')
  const argument = {
    file,
    config: { source: `mongodb+srv://${encoded('modern')}@shop.streamer.test/shop?tls=false` },
  }
  const child = spawnWithNames(folder, names.address, 'consume.js', argument)
  let said = ''
  child.stdout.on('data', data => (said += data))
  await eventually(() => said !== '', { what: 'the process to say something', deadlineMs: 20_000 })
  assert.equal(said, 'ready\n')
  const _id = ++last
  await admin.db('shop').collection('orders').insertOne({ _id })
  await eventually(() => fs.readFileSync(file, 'utf8').includes(`"key":{"_id":${_id}}`), {
    what: 'the document',
  })
  child.kill('SIGTERM')
  await once(child, 'exit')
  names.close()
})

test('a server that is no replica set has no change streams, and is told how to become one', async () => {
  const alone = await standalone()
  try {
    const source = { url: alone.url('shop'), capture: 'log' }
    await refused(source, 'ERR_STREAMER_SERVER_SETTING_UNSUITABLE', /replica set/)
  } finally {
    await alone.remove()
  }
})
