'use strict'

// Several processes write random changes, one of them changes definitions in between, and the process that reads is killed again
// and again. From what was delivered, in order and each change once, the tables are rebuilt: they must equal the database, and
// each change must fit what is there. STREAMER_REBUILD_CHANGES sets the transactions of each writer (default 400).

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const v8 = require('node:v8')
const { test } = require('node:test')
const { Child } = require('../support/child')
const { freshSqlite, write } = require('../support/sqlite')

const TRANSACTIONS = Number(process.env.STREAMER_REBUILD_CHANGES ?? 400)
const SEED = Number(process.env.STREAMER_SEED ?? Date.now() % 1e9)
const WRITERS = 4

const TABLES = `
  CREATE TABLE plain(id INTEGER PRIMARY KEY, a);
  CREATE TABLE pair(x TEXT, y INT, z, PRIMARY KEY(x, y)) WITHOUT ROWID;
  CREATE TABLE keyless(v, w);
  CREATE TABLE uniq(id INTEGER PRIMARY KEY, u TEXT COLLATE NOCASE UNIQUE, v, w, UNIQUE(u, v));
  CREATE TABLE parent(id INTEGER PRIMARY KEY, v);
  CREATE TABLE child(id INTEGER PRIMARY KEY, parent REFERENCES parent(id) ON DELETE CASCADE ON UPDATE CASCADE);
  CREATE TABLE finished(v);
`

/** What is equal has one text. */
const text = row =>
  Object.entries(row)
    .map(([name, value]) => {
      const shown = value instanceof Uint8Array ? Buffer.from(value).toString('hex') : String(value)
      return `${name}=${value === null ? 'null' : typeof value}:${shown}`
    })
    .join(';')

/** Names of columns in a definition of this test. @param {string} statement */
function columnsOf(statement) {
  const body = statement.slice(statement.indexOf('(') + 1, statement.lastIndexOf(')'))
  return body.split(/,(?![^(]*\))/).map(part => /^\s*"?(\w+)/.exec(part)[1])
}

/** Tables in memory, to which changes are applied; each must fit what is there. */
class Tables {
  /** @type {Map<string, { columns: string[], rows: any[] }>} */
  all = new Map()
  changes = 0

  define(name, columns) {
    const table = this.all.get(name)
    if (table === undefined) return this.all.set(name, { columns, rows: [] })
    // A column that has another name now stands where it stood; one that is new has its default.
    const rows = table.rows.map(row =>
      Object.fromEntries(
        columns.map((column, index) => [column, index < table.columns.length ? row[table.columns[index]] : 7])
      )
    )
    this.all.set(name, { columns, rows })
  }

  #find(rows, image, key, what) {
    const wanted = text(image)
    const at = rows.findIndex(row => text(row) === wanted)
    assert.ok(at >= 0, `${what}: ${JSON.stringify(key)} is not there`)
    return at
  }

  apply({ op, table: name, key, before, after, renamedTo, synthetic }) {
    this.changes++
    if (op === 'drop') return void this.all.delete(name)
    if (op === 'rename') {
      this.all.set(renamedTo.slice(5), this.all.get(name))
      return void this.all.delete(name)
    }
    const table = this.all.get(name)
    assert.ok(table, `${op} of ${name}, which is not there`)
    if (op === 'truncate') return void (table.rows = [])
    const what = `${op} ${name}`
    if (op === 'insert') {
      const isHeld = key !== null && table.rows.some(row => text(keyOf(row, key)) === text(key))
      assert.ok(!isHeld, `${what}: ${JSON.stringify(key)} is there`)
      table.rows.push(after)
    } else if (op === 'update' && synthetic) {
      const at = table.rows.findIndex(row => text(keyOf(row, key)) === text(key))
      assert.ok(at >= 0, `${what}: a row that was found is not there`)
      table.rows[at] = after
    } else {
      const at = this.#find(table.rows, before, key, what)
      if (op === 'delete') table.rows.splice(at, 1)
      else table.rows[at] = after
    }
  }
}

const keyOf = (row, key) => Object.fromEntries(Object.keys(key).map(name => [name, row[name]]))

/** What a reader wrote down, each thing once. @param {string} file */
function delivered(file) {
  const seen = new Set()
  return fs
    .readFileSync(file, 'utf8')
    .split('\n')
    .filter(line => line !== '')
    .map(line => v8.deserialize(Buffer.from(line, 'base64')))
    .filter(({ change, schema, gap }) => {
      const id = change?.id ?? schema?.position ?? gap.to
      return !seen.has(id) && seen.add(id)
    })
}

for (const hasDdl of [false, true]) {
  for (const journal of hasDdl ? ['wal'] : ['wal', 'delete']) {
    const name = `${WRITERS} writers${hasDdl ? ' and changing definitions' : ''}, journal ${journal}, a reader that is killed`
    test(`${name}: tables rebuilt equal the database`, async t => {
      t.diagnostic(`seed ${SEED}`)
      const database = await freshSqlite(TABLES, { journal })
      const tables = new Tables()
      for (const { name, sql } of await database.query(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'table'"
      ))
        tables.define(name, columnsOf(sql))
      const argument = {
        config: {
          source: database.url,
          checkpoint: { url: path.join(database.folder, 'positions'), intervalMs: 20 },
        },
        file: path.join(database.folder, 'seen'),
      }
      let reader = new Child('sqlite-reader.js', argument)
      await reader.says('ready')
      const writers = Array.from({ length: WRITERS }, (_, index) =>
        write([
          'random',
          database.file,
          String(SEED + index),
          String(TRANSACTIONS),
          hasDdl && index === 0 ? '1' : '0',
        ])
      )
      let isOver = false
      const written = Promise.all(writers).finally(() => (isOver = true))
      let kills = 0
      while (!isOver) {
        await new Promise(resolve => setTimeout(resolve, 50 + (SEED % 100)))
        await reader.kill()
        kills++
        reader = new Child('sqlite-reader.js', argument)
        await reader.says('ready')
      }
      await written
      await database.run('INSERT INTO finished VALUES (1)')
      await reader.says('finished')
      await reader.kill()
      const items = delivered(argument.file)
      for (const { change, schema, gap } of items) {
        assert.equal(gap, undefined)
        if (change) tables.apply(change)
        else tables.define(schema.table, columnsOf(schema.statement))
      }
      t.diagnostic(`${tables.changes} changes, ${kills} kills`)
      const names = await database.query(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_streamer%' ESCAPE '\\' AND name NOT LIKE 'sqlite%'"
      )
      assert.deepEqual([...tables.all.keys()].sort(), names.map(({ name }) => name).sort())
      for (const [name, { rows }] of tables.all) {
        const found = await database.query(`SELECT * FROM "${name}"`)
        assert.deepEqual(rows.map(text).sort(), found.map(text).sort(), `${name} differs (seed ${SEED})`)
      }
      await database.drop()
    })
  }
}
