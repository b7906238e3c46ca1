'use strict'

// A log that has grown past a stored position is not yet the log that the position was stored for.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { after, before, test } = require('node:test')
const mysql = require('mysql2/promise')
const { Streamer } = require('../..')
const { collect } = require('../support/collect')
const { eventually, openKit } = require('../support/servers')

/** @type {import('../support/servers').Kit} */
let kit
/** @type {string} */
let folder
before(async () => {
  kit = await openKit()
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'streamer-witness-'))
})
after(async () => {
  await kit?.close()
  fs.rmSync(folder, { recursive: true, force: true })
})

let places = 0
const place = () => path.join(folder, `place-${places++}`)

const QUICK = { initialMs: 10, maxMs: 100 }

const KINDS = {
  mysql: { kind: 'mysql', args: [], reset: 'RESET BINARY LOGS AND GTIDS' },
  'mysql without GTIDs': {
    kind: 'mysql',
    args: ['--gtid-mode=OFF', '--enforce-gtid-consistency=OFF'],
    reset: 'RESET BINARY LOGS AND GTIDS',
  },
  mariadb: { kind: 'mariadb', args: [], reset: 'RESET MASTER' },
}

/** A server of its own with an empty table `shop.t`. @param {string} kind @param {string[]} args */
async function shop(kind, args) {
  const server = await kit[kind]({ own: true, args })
  const writer = await mysql.createConnection({ uri: server.url })
  await writer.query('CREATE DATABASE shop')
  await writer.query('CREATE TABLE shop.t (id INT PRIMARY KEY)')
  /** @param {number} from @param {number} to */
  const insert = async (from, to) => {
    for (let id = from; id <= to; id++) await writer.query('INSERT INTO shop.t VALUES (?)', [id])
  }
  const close = async () => {
    await writer.end()
    await server.stop()
  }
  return { server, url: `${server.url}/shop`, insert, close, query: sql => writer.query(sql) }
}

/** What a start meets that must fail. @param {any} config */
async function refused(config) {
  const streamer = new Streamer(config)
  const [gaps, changes] = [[], []]
  streamer.on('gap', gap => gaps.push(gap.reason))
  streamer.on('change', change => changes.push(change.after?.id))
  await assert.rejects(streamer.start(), { code: 'ERR_STREAMER_POSITION_LOST' })
  await streamer.stop()
  return { gaps, changes }
}

for (const [name, { kind, args, reset }] of Object.entries(KINDS)) {
  for (const rows of [5, 0]) {
    test(`a log that was reset while nobody read, and grew past the checkpoint (${name}, after ${rows} rows)`, async () => {
      const t = await shop(kind, args)
      const checkpoint = place()
      const first = await collect({ source: t.url, checkpoint })
      await t.insert(1, rows)
      await first.until(() => first.changes.length === rows, 'the rows')
      await first.stop()
      // Files are told apart by the second in which they were begun.
      const [[{ began }]] = await t.query('SELECT UNIX_TIMESTAMP() AS began')
      await eventually(
        async () => Number((await t.query('SELECT UNIX_TIMESTAMP() AS now'))[0][0].now) > Number(began)
      )
      await t.query(reset)
      await t.insert(1001, 1100)
      for (let start = 0; start < 2; start++) {
        assert.deepEqual(await refused({ source: t.url, checkpoint }), {
          gaps: ['source-rewound'],
          changes: [],
        })
      }
      const decided = await collect({ source: { url: t.url, from: 'earliest' }, checkpoint })
      await decided.until(() => decided.changes.length === 100, 'what the new log holds')
      assert.deepEqual(
        decided.gaps.map(gap => gap.reason),
        ['source-rewound']
      )
      await decided.stop()
      const later = await collect({ source: t.url, checkpoint })
      await t.insert(1101, 1101)
      await later.until(() => later.changes.length === 1, 'the next row')
      assert.deepEqual(later.gaps, [])
      await later.stop()
      await t.close()
    })
  }

  test(`a log that was reset while the link was cut, and grew past what was read (${name})`, async () => {
    const t = await shop(kind, args)
    const proxy = await kit.proxy(t.server)
    const seen = await collect({ source: `${proxy.url}/shop`, reconnect: QUICK })
    await t.insert(1, 3)
    await seen.until(() => seen.changes.length === 3, 'the rows')
    await proxy.fault({ kind: 'cut' })
    await seen.until(() => seen.disconnects.length > 0, 'the cut')
    await t.query(reset)
    await t.insert(1001, 1100)
    await proxy.fault({ kind: 'heal' })
    await assert.rejects(
      seen.until(() => false, 'an error'),
      /ERR_STREAMER_POSITION_LOST/
    )
    assert.deepEqual([seen.changes.length, seen.gaps.map(gap => gap.reason)], [3, ['source-rewound']])
    await seen.stop()
    await t.close()
  })

  test(`what happens to every log is no gap (${name})`, async () => {
    const t = await shop(kind, args)
    const checkpoint = place()
    let id = 0
    const happenings = {
      nothing: async () => {},
      'a rotation': () => t.query('FLUSH BINARY LOGS'),
      'two rotations and a purge of what was read': async () => {
        await t.query('FLUSH BINARY LOGS')
        await t.query('FLUSH BINARY LOGS')
        await eventually(async () => {
          const [logs] = await t.query('SHOW BINARY LOGS')
          await t.query(`PURGE BINARY LOGS TO '${logs.at(-1).Log_name}'`)
          return logs.length === 1
        })
      },
      'no checksums': () => t.query('SET GLOBAL binlog_checksum = NONE'),
      'checksums again': () => t.query('SET GLOBAL binlog_checksum = CRC32'),
      'a crash': async () => {
        await t.server.kill()
        await t.server.restart()
      },
    }
    for (const [what, happen] of Object.entries(happenings)) {
      // Without GTIDs nobody knows what a purged file held.
      if (what.includes('purge') && name.includes('without')) continue
      const config = { source: t.url, checkpoint: { url: checkpoint, intervalMs: 10 } }
      const before = await collect(config)
      await t.insert(++id, ++id)
      await before.until(() => before.changes.length === 2, `two rows before ${what}`)
      await before.stop()
      await happen()
      if (what === 'a crash') break
      const behind = await collect(config)
      await t.insert(++id, ++id)
      await behind.until(() => behind.changes.length === 2, `two rows behind ${what}`)
      assert.deepEqual(
        [behind.gaps, behind.changes.map(change => change.after?.id)],
        [[], [id - 1, id]],
        what
      )
      await behind.stop()
    }
    const behind = await collect({ source: t.url, checkpoint })
    const writer = await mysql.createConnection({ uri: t.server.url })
    await writer.query('INSERT INTO shop.t VALUES (?)', [id + 1])
    await behind.until(() => behind.changes.length === 1, 'a row behind a crash')
    assert.deepEqual(behind.gaps, [])
    await behind.stop()
    await writer.end()
    await t.server.stop()
  })
}

test('another MariaDB with the same server_id is another source', async () => {
  const [ours, other] = [await shop('mariadb', ['--server-id=1']), await shop('mariadb', ['--server-id=1'])]
  const checkpoint = place()
  const first = await collect({ source: ours.url, checkpoint })
  await ours.insert(1, 3)
  await first.until(() => first.changes.length === 3, 'the rows')
  await first.stop()
  await other.insert(1001, 1100)
  const replaced = { gaps: ['source-replaced'], changes: [] }
  assert.deepEqual(await refused({ source: other.url, checkpoint }), replaced)
  // Also where it has not come as far.
  const shorter = await shop('mariadb', ['--server-id=1'])
  assert.deepEqual(await refused({ source: shorter.url, checkpoint }), replaced)
  for (const t of [ours, other, shorter]) await t.close()
})
