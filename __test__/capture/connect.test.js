'use strict'

// How a connection is made, and what is said when it cannot be.

const assert = require('node:assert/strict')
const { once } = require('node:events')
const fs = require('node:fs')
const http = require('node:http')
const net = require('node:net')
const { after, before, describe, test } = require('node:test')
const { eventually, freshDatabase, openKit } = require('../support/servers')
const { collect, refusal } = require('../support/collect')

/** @type {Awaited<ReturnType<typeof openKit>>} */
let kit
/** @type {Record<string, any>} */
const servers = {}
before(async () => {
  kit = await openKit()
  servers.mysql = await kit.mysql({ args: [], tls: true })
  servers.mariadb = await kit.mariadb({ args: ['--plugin-load-add=auth_ed25519'], tls: true })
})
after(() => kit?.close())

const GRANTS = {
  mysql: 'GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO ',
  mariadb: 'GRANT SELECT, REPLICATION SLAVE, BINLOG MONITOR ON *.* TO ',
}

/** Creates an account and proves that a change arrives through it. */
async function account(
  kind,
  identified,
  { grants = GRANTS[kind], user = `u${Math.random().toString(36).slice(2, 10)}` } = {}
) {
  const database = await freshDatabase(servers[kind])
  const connection = await database.connect()
  const quoted = `${connection.escape(user)}@'%'`
  await connection.query(`CREATE USER ${quoted} ${identified}`)
  if (grants) await connection.query(`${grants}${quoted}`)
  await connection.query('CREATE TABLE t (id INT PRIMARY KEY)')
  const url = (password, { host = `127.0.0.1:${servers[kind].port}`, query = '' } = {}) =>
    `mysql://${encodeURIComponent(user)}:${encodeURIComponent(password)}@${host}/${database.name}${query}`
  return { connection, database, user, url }
}

async function arrives(config, connection) {
  const seen = await collect(config)
  await connection.query('INSERT INTO t VALUES (1)')
  await seen.until(() => seen.changes.length >= 1, 'the row')
  await seen.stop()
  await connection.end()
}

describe('authentication', () => {
  test('caching_sha2_password over TLS', async () => {
    const { connection, url } = await account('mysql', "IDENTIFIED WITH caching_sha2_password BY 'secret'")
    await arrives({ url: url('secret'), tls: { ca: servers.mysql.tls.ca } }, connection)
  })

  test('caching_sha2_password without TLS exchanges the key, first and cached', async () => {
    const { connection, database, url } = await account(
      'mysql',
      "IDENTIFIED WITH caching_sha2_password BY 'secret'"
    )
    const again = await database.connect()
    await arrives({ url: url('secret'), tls: false }, connection)
    await again.query('DELETE FROM t')
    await arrives({ url: url('secret'), tls: false }, again)
  })

  test('mysql_native_password', async () => {
    const { connection, url } = await account(
      'mariadb',
      "IDENTIFIED VIA mysql_native_password USING PASSWORD('secret')"
    )
    await arrives({ url: url('secret') }, connection)
  })

  test('ed25519', async () => {
    const { connection, url } = await account('mariadb', "IDENTIFIED VIA ed25519 USING PASSWORD('secret')")
    await arrives({ url: url('secret') }, connection)
  })

  test('credentials and database with every special character', async () => {
    for (const kind of ['mysql', 'mariadb']) {
      const password = 'p@ss:w/o?r#d%&=+ ü\'"\\`$'
      const user = 'us@er:%/é'
      const database = await freshDatabase(servers[kind])
      const connection = await database.connect()
      const name = `we?ird db/é#${kind}%`
      await connection.query(`CREATE DATABASE \`${name}\``)
      await connection.query(
        `CREATE USER ${connection.escape(user)}@'%' IDENTIFIED BY ${connection.escape(password)}`
      )
      await connection.query(`${GRANTS[kind]}${connection.escape(user)}@'%'`)
      await connection.query(`CREATE TABLE \`${name}\`.t (id INT PRIMARY KEY)`)
      await connection.query(`USE \`${name}\``)
      const auth = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`
      await arrives(`mysql://${auth}@127.0.0.1:${servers[kind].port}/${encodeURIComponent(name)}`, connection)
    }
  })

  test('a unix socket', async () => {
    for (const kind of ['mysql', 'mariadb']) {
      const { connection, database } = await account(kind, "IDENTIFIED BY 'secret'")
      const socket = encodeURIComponent(servers[kind].socket)
      await arrives(`mysql://root@localhost/${database.name}?socket=${socket}`, connection)
    }
  })

  test('a client certificate', async () => {
    const { connection, url } = await account('mariadb', "IDENTIFIED BY 'secret' REQUIRE X509")
    const { ca, clientCert, clientKey } = servers.mariadb.tls
    await arrives({ url: url('secret'), tls: { ca, cert: clientCert, key: clientKey } }, connection)
  })

  test('several hosts are tried in turn', async () => {
    const { connection, url } = await account('mysql', "IDENTIFIED BY 'secret'")
    await arrives({ url: url('secret', { host: `127.0.0.1:1,127.0.0.1:${servers.mysql.port}` }) }, connection)
  })
})

describe('wrong servers', () => {
  const secret = 'a-password-that-must-not-show'

  /** A refusal has its code, one sentence, and no secret in it. */
  function check(error, code, words) {
    assert.equal(error.code, code, error.message)
    assert.match(error.message, words)
    assert.ok(!JSON.stringify([error.message, error.details, error.stack]).includes(secret))
  }

  test('a wrong password', async () => {
    for (const kind of ['mysql', 'mariadb']) {
      const { connection, url } = await account(kind, "IDENTIFIED BY 'right'")
      check(await refusal(url(secret)), 'ERR_STREAMER_AUTH_REJECTED', /Access denied/)
      await connection.end()
    }
  })

  test('a database that does not exist', async () => {
    const error = await refusal(`mysql://root@127.0.0.1:${servers.mysql.port}/no_such_database`)
    check(error, 'ERR_STREAMER_DATABASE_UNKNOWN', /no_such_database/)
  })

  test('a table that does not exist', async () => {
    const { connection, database } = await account('mysql', "IDENTIFIED BY 'x'")
    const url = `mysql://root@127.0.0.1:${servers.mysql.port}/${database.name}`
    check(await refusal({ url, tables: ['no_such_table'] }), 'ERR_STREAMER_TABLE_UNKNOWN', /no_such_table/)
    await connection.end()
  })

  test('no binlog', async () => {
    for (const [kind, arg] of [
      ['mysql', '--skip-log-bin'],
      ['mariadb', '--skip-log-bin'],
    ]) {
      const server = await kit[kind]({ args: [arg] })
      const error = await refusal({ url: server.url, capture: 'log' })
      check(error, 'ERR_STREAMER_SERVER_SETTING_UNSUITABLE', /log_bin must be ON, it is OFF/)
      assert.match(error.message, /log-bin|log_bin/)
      await server.stop()
    }
  })

  test('statement format', async () => {
    const server = await kit.mariadb({ args: ['--binlog-format=STATEMENT'] })
    const error = await refusal({ url: server.url, capture: 'log' })
    check(error, 'ERR_STREAMER_SERVER_SETTING_UNSUITABLE', /binlog_format must be ROW, it is STATEMENT/)
    assert.match(error.message, /SET GLOBAL binlog_format = 'ROW'/)
    await server.stop()
  })

  test('missing grants, each with the statement that mends it', async () => {
    for (const kind of ['mysql', 'mariadb']) {
      const { connection, url, user } = await account(kind, `IDENTIFIED BY '${secret}'`, {
        grants: 'GRANT SELECT ON *.* TO ',
      })
      const error = await refusal({ url: url(secret), capture: 'log' })
      check(error, 'ERR_STREAMER_GRANT_MISSING', /REPLICATION SLAVE/)
      assert.match(error.message, kind === 'mysql' ? /REPLICATION CLIENT/ : /BINLOG MONITOR/)
      // What it says mends it.
      for (const { remedy } of error.details.findings)
        await connection.query(remedy.replace(/^run `(.*)`$/, '$1'))
      assert.ok(error.message.includes(user))
      await arrives(url(secret), connection)
    }
  })

  test('a port where nothing listens is tried again, and gives up after the attempts', async () => {
    const error = await refusal({
      source: `mysql://root:${secret}@127.0.0.1:1/x`,
      reconnect: { attempts: 1, initialMs: 1 },
    })
    check(error, 'ERR_STREAMER_CONNECT_FAILED', /127\.0\.0\.1:1/)
  })

  test('a host name that does not exist', async () => {
    const error = await refusal({
      source: `mysql://root:${secret}@no-such-host.invalid/x`,
      reconnect: { attempts: 0 },
    })
    check(error, 'ERR_STREAMER_HOST_UNKNOWN', /no-such-host\.invalid/)
  })

  test('a port that speaks HTTP', async () => {
    const silent = http.createServer((_, response) => response.end('hello')).listen(0, '127.0.0.1')
    const chatty = net
      .createServer(socket => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
      .listen(0, '127.0.0.1')
    await Promise.all([once(silent, 'listening'), once(chatty, 'listening')])
    const url = server => `mysql://root:${secret}@127.0.0.1:${server.address().port}/x`
    check(await refusal(url(chatty)), 'ERR_STREAMER_PROTOCOL_UNEXPECTED', /not a MySQL or MariaDB server/)
    // One that waits for us to speak first cannot be told from a server that is slow.
    const waiting = await refusal({ source: url(silent), reconnect: { attempts: 0 } })
    check(waiting, 'ERR_STREAMER_TIMEOUT', /check that a MySQL or MariaDB server answers there/)
    silent.closeAllConnections()
    silent.close()
    chatty.close()
  })

  test('TLS with an authority that is not trusted', async () => {
    const { connection, url } = await account('mysql', "IDENTIFIED BY 'x'")
    const error = await refusal({ url: url(secret), tls: true })
    check(error, 'ERR_STREAMER_TLS_CERTIFICATE_REJECTED', /certificate|authority/i)
    await connection.end()
  })

  test('TLS with a certificate for another host', async () => {
    const { connection, url } = await account('mysql', "IDENTIFIED BY 'secret'")
    const host = `127.0.0.2:${servers.mysql.port}`
    const ca = fs.readFileSync(servers.mysql.tls.ca, 'utf8')
    const error = await refusal({ url: url('secret', { host }), tls: { ca } })
    check(error, 'ERR_STREAMER_TLS_CERTIFICATE_REJECTED', /127\.0\.0\.2|name|host/i)
    // The chain alone is right.
    await arrives(
      url('secret', {
        host,
        query: `?ssl-mode=VERIFY_CA&ssl-ca=${encodeURIComponent(servers.mysql.tls.ca)}`,
      }),
      connection
    )
  })

  // MySQL reloads no certificate that has expired; the client is the same.
  test('TLS with a certificate that has expired, at the start and while streaming', async () => {
    const server = await kit.mariadb({ tls: true })
    const database = await freshDatabase(server)
    const connection = await database.connect()
    await connection.query('CREATE TABLE t (id INT PRIMARY KEY)')
    const { ca, cert, expiredCert } = server.tls
    const valid = fs.readFileSync(cert)
    const present = async pem => {
      fs.writeFileSync(cert, pem)
      await connection.query('FLUSH SSL')
    }
    const source = { url: database.url, tls: { ca } }
    const seen = await collect({ source, reconnect: { initialMs: 20, maxMs: 200 } })
    await present(fs.readFileSync(expiredCert))
    const expired = /^The certificate of 127\.0\.0\.1 was rejected: it has expired\. Renew the server/
    check(await refusal(source), 'ERR_STREAMER_TLS_CERTIFICATE_REJECTED', expired)
    check(await refusal({ ...source, capture: 'poll' }), 'ERR_STREAMER_TLS_CERTIFICATE_REJECTED', expired)
    // A connection that stands is not touched; the next one is refused until the certificate was renewed.
    await connection.query('INSERT INTO t VALUES (1)')
    await seen.until(() => seen.changes.length === 1, 'a row through the old connection')
    const [threads] = await connection.query('SHOW PROCESSLIST')
    for (const { Id, Command } of threads)
      if (Command.startsWith('Binlog Dump')) await connection.query(`KILL ${Id}`)
    const lastError = () => seen.streamer.health().sources.default.lastError
    await eventually(() => lastError()?.code === 'ERR_STREAMER_TLS_CERTIFICATE_REJECTED', {
      what: 'the refusal in health()',
    })
    await connection.query('INSERT INTO t VALUES (2)')
    await present(valid)
    await seen.until(() => seen.changes.length === 2, 'the row behind the renewal')
    await seen.stop()
    await connection.end()
    await server.stop()
  })

  test('PREFERRED encrypts where the server can, and reads, polls and takes snapshots where it cannot', async () => {
    const server = await kit.mariadb({ args: ['--skip-ssl'] })
    for (const plain of [false, true]) {
      const database = await freshDatabase(plain ? server : servers.mariadb)
      const connection = await database.connect()
      await connection.query('CREATE TABLE t (id INT PRIMARY KEY)')
      await connection.query('INSERT INTO t VALUES (1)')
      const url = `${database.url}?ssl-mode=PREFERRED`
      const seen = await collect({ source: { url, snapshot: 'initial' }, cache: true })
      await seen.until(() => seen.changes.length === 1, 'the row of the snapshot')
      const sql =
        "SELECT VARIABLE_VALUE <> '' AS v FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'Ssl_cipher'"
      assert.deepEqual(await seen.streamer.query(sql), [{ v: plain ? 0 : 1 }])
      await seen.stop()
      const polled = await collect({
        url,
        capture: 'poll',
        poll: { columns: { [`${database.name}.t`]: 'id' } },
      })
      await connection.query('INSERT INTO t VALUES (2)')
      await polled.until(() => polled.changes.some(({ key }) => key.id === 2), 'the polled row')
      await polled.stop()
      await connection.end()
    }
    await server.stop()
  })

  test('TLS asked of a server that has none', async () => {
    const server = await kit.mariadb({ args: ['--skip-ssl'] })
    const error = await refusal({ url: server.url, tls: true })
    check(error, 'ERR_STREAMER_TLS_UNAVAILABLE', /TLS/)
    await server.stop()
  })

  test('a replica id that the server has itself', async () => {
    const connection = await (await freshDatabase(servers.mysql)).connect()
    const [[{ id }]] = await connection.query('SELECT @@global.server_id AS id')
    const error = await refusal({ url: servers.mysql.url, serverId: id })
    check(error, 'ERR_STREAMER_SERVER_ID_TAKEN', new RegExp(String(id)))
    await connection.end()
  })
})
