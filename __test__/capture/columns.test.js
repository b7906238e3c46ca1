'use strict'

// Columns that are unlike others: odd names, every character set, generated, invisible and hidden ones. What arrives equals what a
// SELECT shows, with and without names in the log.

const assert = require('node:assert/strict')
const { after, before, describe, test } = require('node:test')
const { freshDatabase, openKit } = require('../support/servers')
const { collect } = require('../support/collect')

/** @type {Awaited<ReturnType<typeof openKit>>} */
let kit
before(async () => {
  kit = await openKit()
})
after(() => kit?.close())

const NAMES = [
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  '0',
  '12',
  'a b',
  'ü`"\'',
  '日本',
  'length',
  'then',
]

// Letters of many scripts; each character set keeps those that it has, and the server replaces the others.
const LETTERS = 'aZ~ é ß ñ Ž ő ş € £ Ω λ Ж я א ש ب ت ไ ก 日本語 漢字 かな カナ ｶﾅ 한국어 中文 ½ © ° 😀 𠮷'

for (const { kind, metadata } of [
  { kind: 'mysql', metadata: 'MINIMAL' },
  { kind: 'mysql', metadata: 'FULL' },
  { kind: 'mariadb', metadata: 'NO_LOG' },
  { kind: 'mariadb', metadata: 'FULL' },
]) {
  describe(`${kind} with binlog_row_metadata=${metadata}`, () => {
    let server
    before(async () => {
      server = await kit[kind]({ args: [`--binlog-row-metadata=${metadata}`] })
    })
    after(() => server?.stop())

    async function fresh() {
      const database = await freshDatabase(server)
      const connection = await database.connect()
      return { database, connection, run: (sql, values) => connection.query(sql, values) }
    }

    test('columns with the names of built-in properties are ordinary own properties', async () => {
      const { database, connection, run } = await fresh()
      const quoted = NAMES.map(name => `\`${name.replaceAll('`', '``')}\``)
      await run(
        `CREATE TABLE odd (id INT, ${quoted.map(name => `${name} INT`).join(', ')}, PRIMARY KEY (id, \`__proto__\`))`
      )
      const seen = await collect({ url: database.url })
      await run(`INSERT INTO odd VALUES (1, ${NAMES.map((_, n) => n).join(', ')})`)
      await run('UPDATE odd SET `constructor` = 99')
      await seen.until(() => seen.changes.length >= 2, 'two changes')
      const [insert, update] = seen.changes
      assert.equal(Object.getPrototypeOf(insert.after), Object.prototype)
      for (const [n, name] of NAMES.entries()) {
        assert.ok(Object.hasOwn(insert.after, name), name)
        assert.equal(Object.getOwnPropertyDescriptor(insert.after, name).value, n, name)
      }
      assert.deepEqual(Object.keys(insert.key).sort(), ['__proto__', 'id'])
      assert.deepEqual(update.changed, ['constructor'])
      assert.equal(Object.keys(structuredClone(update.after)).length, NAMES.length + 1)
      await seen.stop()
      await connection.end()
    })

    test('text and labels in every character set of the server', async () => {
      const { database, connection, run } = await fresh()
      await run("SET SESSION sql_mode = ''")
      const [charsets] = await run('SHOW CHARACTER SET')
      const names = charsets.map(row => row.Charset).filter(name => name !== 'binary')
      assert.ok(names.length >= 39, `${names.length} character sets`)
      for (const name of names) {
        // Labels are letters that the character set has: the others would be refused as duplicates of "?".
        const [[{ letters }]] = await run(
          `SELECT CONVERT(CONVERT(? USING ${name}) USING utf8mb4) AS letters`,
          [LETTERS]
        )
        const labels = [...new Set([...letters.replaceAll(/[?\s,]/g, '')])].slice(0, 20)
        const list = labels.map(label => connection.escape(label)).join(', ')
        await run(`CREATE TABLE \`${name}\` (id INT PRIMARY KEY, v VARCHAR(200) CHARACTER SET ${name}, c CHAR(60) CHARACTER SET ${name},
          t TEXT CHARACTER SET ${name}, e ENUM(${list}) CHARACTER SET ${name} COLLATE ${await binary(run, name)})`)
      }
      const seen = await collect({ url: database.url })
      for (const name of names) {
        await run(
          `INSERT INTO \`${name}\` VALUES (1, CONVERT(? USING ${name}), CONVERT(? USING ${name}), CONVERT(? USING ${name}), 2)`,
          [LETTERS, LETTERS.slice(0, 40), LETTERS.repeat(30)]
        )
      }
      await seen.until(() => seen.changes.length >= names.length, 'a row of every character set')
      assert.deepEqual(seen.gaps, [])
      for (const { table, after: row } of seen.changes) {
        const [[selected]] = await run(`SELECT * FROM \`${table}\``)
        assert.deepEqual(row, { ...selected }, table)
      }
      await seen.stop()
      await connection.end()
    })

    test('generated and invisible columns', async () => {
      const { database, connection, run } = await fresh()
      await run(`CREATE TABLE g (id INT PRIMARY KEY, a INT, s INT GENERATED ALWAYS AS (a * 2) STORED, v INT GENERATED ALWAYS AS (a + 1) VIRTUAL,
        hidden INT ${kind === 'mysql' ? 'DEFAULT 7 INVISIBLE' : 'INVISIBLE DEFAULT 7'}, z INT)`)
      const seen = await collect({ url: database.url })
      await run('INSERT INTO g (id, a, z) VALUES (1, 10, 3)')
      await run('UPDATE g SET a = 20')
      await run('DELETE FROM g')
      await seen.until(() => seen.changes.length >= 3, 'three changes')
      const [insert, update, gone] = seen.changes
      assert.deepEqual(insert.after, { id: 1, a: 10, s: 20, v: 11, hidden: 7, z: 3 })
      assert.deepEqual(update.before, insert.after)
      assert.deepEqual(update.after, { id: 1, a: 20, s: 40, v: 21, hidden: 7, z: 3 })
      assert.deepEqual([...update.changed].sort(), ['a', 's', 'v'])
      assert.deepEqual(gone.before, update.after)
      assert.deepEqual(seen.gaps, [])
      await seen.stop()
      await connection.end()
    })

    test('columns that the server keeps for itself do not show, and shift nothing', async () => {
      const { database, connection, run } = await fresh()
      const tables =
        kind === 'mysql'
          ? [
              'CREATE TABLE h (id INT PRIMARY KEY, a VARCHAR(10), j JSON, z INT, KEY ((UPPER(a))), KEY ((CAST(j->"$.x" AS UNSIGNED ARRAY))))',
              'CREATE TABLE p (a VARCHAR(10), z INT)',
            ]
          : [
              'CREATE TABLE h (id INT PRIMARY KEY, a VARCHAR(10), j JSON, z INT, b TEXT UNIQUE)',
              'CREATE TABLE p (a VARCHAR(10), z INT) WITH SYSTEM VERSIONING',
            ]
      for (const sql of tables) await run(sql)
      const seen = await collect({ url: database.url })
      await run('INSERT INTO h (id, a, j, z) VALUES (1, "x", \'{"x": [1, 2]}\', 5)')
      await run('INSERT INTO p VALUES ("y", 6)')
      await seen.until(() => seen.changes.length >= 2, 'two changes')
      const { b, ...row } = seen.changes[0].after
      assert.deepEqual(row, { id: 1, a: 'x', j: { x: [1, 2] }, z: 5 })
      assert.equal(b ?? null, null)
      assert.equal(seen.changes[1].after.a, 'y')
      assert.equal(seen.changes[1].after.z, 6)
      assert.deepEqual(seen.gaps, [])
      await seen.stop()
      await connection.end()
    })

    test('a table of a thousand columns, nulls among them', async () => {
      const { database, connection, run } = await fresh()
      const columns = Array.from({ length: 1000 }, (_, n) => `c${n} TINYINT`)
      await run(`CREATE TABLE wide (id INT PRIMARY KEY, ${columns.join(', ')})`)
      const seen = await collect({ url: database.url })
      const row = columns.map((_, n) => (n % 3 === 0 ? null : n % 100))
      await run('INSERT INTO wide VALUES ?', [[[1, ...row]]])
      await run('UPDATE wide SET c999 = NULL, c3 = 1, c48 = 2')
      await seen.until(() => seen.changes.length >= 2, 'two changes')
      assert.deepEqual(Object.values(seen.changes[0].after), [1, ...row])
      assert.deepEqual(seen.changes[1].changed, ['c3', 'c48'])
      await seen.stop()
      await connection.end()
    })

    test('names that would end a statement are names', async () => {
      const { database, connection, run } = await fresh()
      await run('CREATE TABLE x (id INT PRIMARY KEY)')
      const tables = ['a`;drop table x;--', "b';drop table x;#", '`', 'c\\', '*', 'd.e']
      const quoted = name => `\`${name.replaceAll('`', '``')}\``
      for (const table of tables) await run(`CREATE TABLE ${quoted(table)} (\`;--\` INT PRIMARY KEY)`)
      const seen = await collect({ url: database.url })
      for (const table of tables) await run(`INSERT INTO ${quoted(table)} VALUES (1)`)
      await run('INSERT INTO x VALUES (1)')
      await seen.until(() => seen.changes.length + seen.gaps.length > tables.length, 'all rows')
      assert.deepEqual([seen.changes.map(change => change.table), seen.gaps], [[...tables, 'x'], []])
      assert.deepEqual({ ...seen.changes[0].after }, { ';--': 1 })
      await seen.stop()
      await connection.end()
    })

    test('tables without a key, with names in capitals and other scripts, in two databases', async () => {
      const { database, connection, run } = await fresh()
      const other = await freshDatabase(server)
      for (const name of [database.name, other.name])
        await run(`CREATE TABLE \`${name}\`.\`Größe 表\` (a INT, b VARCHAR(10))`)
      const seen = await collect({ url: server.url, tables: [`${database.name}.*`, `${other.name}.*`] })
      await run(`INSERT INTO \`${database.name}\`.\`Größe 表\` VALUES (1, 'one'), (1, 'one')`)
      await run(`UPDATE \`${other.name}\`.\`Größe 表\` SET a = 2`)
      await run(`INSERT INTO \`${other.name}\`.\`Größe 表\` VALUES (3, 'three')`)
      await seen.until(() => seen.changes.length >= 3, 'three changes')
      assert.deepEqual(
        seen.changes.map(change => [change.database, change.table, change.key, change.after]),
        [
          [database.name, 'Größe 表', null, { a: 1, b: 'one' }],
          [database.name, 'Größe 表', null, { a: 1, b: 'one' }],
          [other.name, 'Größe 表', null, { a: 3, b: 'three' }],
        ]
      )
      await seen.stop()
      await connection.end()
    })
  })
}

/** A collation of a character set that tells all letters apart. */
async function binary(run, charset) {
  const [rows] = await run('SHOW COLLATION WHERE Charset = ?', [charset])
  return rows.map(row => row.Collation).find(name => name.endsWith('_bin')) ?? rows[0].Collation
}
