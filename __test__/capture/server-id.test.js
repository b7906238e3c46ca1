'use strict'

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { collect } = require('../support/collect')
const { eventually, freshDatabase, openKit } = require('../support/servers')

/** @type {import('../support/servers').Kit} */
let kit
before(async () => {
  kit = await openKit()
})
after(() => kit?.close())

for (const kind of /** @type {const} */ (['mysql', 'mariadb'])) {
  test(`two readers with one replica id do not kick each other for ever (${kind})`, async () => {
    const server = await kit[kind]({ own: true })
    const database = await freshDatabase(server)
    const writer = await database.connect()
    await writer.query('CREATE TABLE t (id INT PRIMARY KEY)')
    await writer.query('CREATE TABLE other (id INT)')
    const dumps = async () => {
      const [rows] = await writer.query(
        "SELECT COUNT(*) AS dumps FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'"
      )
      return Number(rows[0].dumps)
    }
    const records = []
    const note = (fields, message) => records.push({ ...fields, message })
    const config = {
      source: { url: database.url, serverId: 4711 },
      reconnect: { initialMs: 10, maxMs: 50 },
      logger: { debug: () => {}, info: () => {}, warn: note, error: note },
    }
    // The first is away when the second takes the id, and comes back.
    const proxy = await kit.proxy(server)
    const address = new URL(database.url)
    address.port = String(proxy.port)
    const first = await collect({ ...config, source: { ...config.source, url: address.href } })
    await proxy.fault({ kind: 'cut' })
    await eventually(
      async () => {
        await writer.query('INSERT INTO other VALUES (1)')
        return (await dumps()) === 0
      },
      { what: 'the first to be gone' }
    )
    const second = await collect(config)
    await proxy.fault({ kind: 'heal' })
    const readers = [first, second]
    let last = 0
    await eventually(
      async () => {
        await writer.query('INSERT INTO t VALUES (?)', [++last])
        const healthy = readers.every(({ streamer }) => streamer.health().status === 'healthy')
        return healthy && (await dumps()) === 2
      },
      { what: 'both to stream' }
    )
    const before = readers.map(({ disconnects }) => disconnects.length)
    const until = last + 20
    while (last < until) await writer.query('INSERT INTO t VALUES (?)', [++last])
    for (const reader of readers) {
      await reader.until(() => reader.changes.at(-1)?.after?.id === last, 'the last row')
      const ids = reader.changes.filter(({ table }) => table === 't').map(change => Number(change.after?.id))
      assert.deepEqual(
        ids,
        Array.from(ids, (_, index) => ids[0] + index),
        'nothing lost, nothing doubled'
      )
    }
    assert.deepEqual(
      readers.map(({ disconnects }) => disconnects.length),
      before,
      'neither was disconnected again'
    )
    // MySQL tells readers apart by their uuid, too.
    if (kind === 'mariadb') {
      const said = records.filter(({ code }) => code === 'ERR_STREAMER_SERVER_ID_TAKEN')
      assert.deepEqual([said.length > 0, said[0]?.serverId], [true, 4711], JSON.stringify(records))
    }
    await Promise.all(readers.map(reader => reader.stop()))
    await writer.end()
    await server.stop()
  })
}
