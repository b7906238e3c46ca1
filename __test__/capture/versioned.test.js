'use strict'

// Tables that MariaDB versions (WITH SYSTEM VERSIONING): their log holds former rows as well, under the keys of the current ones.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { collect } = require('../support/collect')
const { freshDatabase, openKit } = require('../support/servers')

/** @type {import('../support/servers').Kit} */
let kit
/** @type {any} */
let server

before(async () => {
  kit = await openKit()
  server = await kit.mariadb()
})
after(() => kit?.close())

const TABLES = {
  'columns that do not show': `(id INT PRIMARY KEY, v VARCHAR(9)) WITH SYSTEM VERSIONING`,
  'columns that do not show, no text among them': `(id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING`,
  'columns of one’s own': `(id INT PRIMARY KEY, v INT, s TIMESTAMP(6) GENERATED ALWAYS AS ROW START,
    e TIMESTAMP(6) GENERATED ALWAYS AS ROW END, z INT, PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING`,
  partitions: `(id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING
    PARTITION BY SYSTEM_TIME (PARTITION p0 HISTORY, PARTITION pn CURRENT)`,
}

/** What was done and to which row, in order. @param {any[]} changes */
const brief = changes =>
  changes.map(({ op, before: old, after: row }) => [op, old?.id, old?.v, row?.id, row?.v])

for (const metadata of ['FULL', 'MINIMAL'])
  for (const image of ['FULL', 'MINIMAL', 'NOBLOB'])
    test(`history is no change: ${metadata} metadata, ${image} images`, async () => {
      const database = await freshDatabase(server)
      const connection = await database.connect()
      await connection.query(`SET GLOBAL binlog_row_metadata = ${metadata}`)
      await connection.query(`SET SESSION binlog_row_image = ${image}`)
      const seen = await collect(database.url)
      const from = seen.streamer.position()
      const names = Object.keys(TABLES).map((_, index) => `t${index}`)
      for (const [index, columns] of Object.values(TABLES).entries())
        await connection.query(`CREATE TABLE t${index} ${columns}`)
      await connection.query('CREATE TABLE later (id INT PRIMARY KEY, v INT)')
      await connection.query('ALTER TABLE later ADD SYSTEM VERSIONING')
      names.push('later')
      for (const name of names) {
        await connection.query(`INSERT INTO ${name} (id, v) VALUES (1, 1), (2, 2), (3, 3)`)
        await connection.query(`UPDATE ${name} SET v = 5 WHERE id = 1`)
        await connection.query('BEGIN')
        await connection.query(`DELETE FROM ${name} WHERE id = 2`)
        await connection.query(`INSERT INTO ${name} (id, v) VALUES (2, 22)`)
        await connection.query(`UPDATE ${name} SET id = 4 WHERE id = 3`)
        await connection.query('COMMIT')
        await connection.query(`DELETE HISTORY FROM ${name}`)
        await connection.query(`REPLACE INTO ${name} (id, v) VALUES (4, 44)`)
      }
      await connection.query('ALTER TABLE later DROP SYSTEM VERSIONING')
      await connection.query('DELETE FROM later WHERE id = 1')
      await connection.query('CREATE TABLE done (id INT PRIMARY KEY)')
      await connection.query('INSERT INTO done VALUES (1)')
      const late = await collect({ url: database.url, from })
      for (const reader of [seen, late]) {
        await reader.until(() => reader.changes.at(-1)?.table === 'done', 'the last row')
        assert.deepEqual(reader.gaps, [])
        for (const name of names) {
          const changes = reader.changes.filter(({ table }) => table === name)
          const rows = new Map()
          for (const { op, key, after: row } of changes) {
            assert.deepEqual(Object.keys(/** @type {any} */ (key)), ['id'])
            const { id } = /** @type {any} */ (key)
            assert.equal(rows.has(id), op !== 'insert', `${name}: ${op} ${id}`)
            if (op === 'delete') rows.delete(id)
            else rows.set(id, { ...rows.get(id), ...row })
          }
          const [expected] = await connection.query(`SELECT id, v FROM ${name} ORDER BY id`)
          const found = [...rows.values()].toSorted((left, right) => left.id - right.id)
          const values = list => list.map(({ id, v }) => [id, String(v)])
          assert.deepEqual(values(found), values(expected), name)
          assert.equal(changes.length, name === 'later' ? 11 : 10, JSON.stringify(brief(changes)))
        }
        assert.deepEqual(
          reader.changes.map(({ id }) => id),
          seen.changes.map(({ id }) => id)
        )
        await reader.stop()
      }
      await connection.end()
    })
