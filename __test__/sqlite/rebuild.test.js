'use strict'

// Several processes write random changes, one of them changes definitions in between, and the process that reads is killed again
// and again. From what was delivered, in order and each change once, the tables are rebuilt: they must equal the database, and
// each change must fit what is there. STREAMER_REBUILD_CHANGES sets the transactions of each writer (default 400). With
// STREAMER_REBUILD_SECONDS all four writers change definitions in between, for so long.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const readline = require('node:readline')
const v8 = require('node:v8')
const { test } = require('node:test')
const { Child } = require('../support/child')
const { freshSqlite, write } = require('../support/sqlite')

const TRANSACTIONS = Number(process.env.STREAMER_REBUILD_CHANGES ?? 400)
const SEED = Number(process.env.STREAMER_SEED ?? Date.now() % 1e9)
const SECONDS = Number(process.env.STREAMER_REBUILD_SECONDS ?? 0)
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

/** Texts of rows, which are never changed. @type {WeakMap<object, string>} */
const texts = new WeakMap()

/** What is equal has one text. */
function text(row) {
  let known = texts.get(row)
  if (known !== undefined) return known
  known = Object.entries(row)
    .map(([name, value]) => {
      const shown = value instanceof Uint8Array ? Buffer.from(value).toString('hex') : String(value)
      return `${name}=${value === null ? 'null' : typeof value}:${shown}`
    })
    .join(';')
  texts.set(row, known)
  return known
}

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
async function* delivered(file) {
  const seen = new Set()
  for await (const line of readline.createInterface({ input: fs.createReadStream(file) })) {
    if (line === '') continue
    const item = v8.deserialize(Buffer.from(line, 'base64'))
    const id = item.change?.id ?? item.schema?.position ?? item.gap.to
    if (seen.has(id)) continue
    seen.add(id)
    yield item
  }
}

/** The writers, at work. @param {string} file @param {boolean} hasDdl */
function writing(file, hasDdl) {
  const each = Array.from({ length: WRITERS }, (_, index) => {
    const definitions = hasDdl && (SECONDS > 0 || index === 0) ? '1' : '0'
    return write(['random', file, String(SEED + index), String(TRANSACTIONS), definitions, String(SECONDS)])
  })
  return Promise.all(each)
}

/** How long a reader lives. */
const life = () => (SECONDS > 0 ? 1000 + Math.random() * 4000 : 50 + (SEED % 100))

/** Removes a line that the killed process wrote in part: it was not acknowledged, and comes again. @param {string} file */
function cut(file) {
  const { size } = fs.statSync(file)
  const end = Buffer.alloc(Math.min(size, 1 << 20))
  const descriptor = fs.openSync(file, 'r+')
  fs.readSync(descriptor, end, 0, end.length, size - end.length)
  fs.ftruncateSync(descriptor, size - end.length + end.lastIndexOf('\n') + 1)
  fs.closeSync(descriptor)
}

/** Kills readers as long as there is writing. @returns the one that is alive, and how many were killed */
async function killWhile(written, argument) {
  let isOver = false
  const over = written.finally(() => (isOver = true))
  const start = async () => {
    const reader = new Child('sqlite-reader.js', argument)
    await reader.says('ready')
    return reader
  }
  let reader = await start()
  let kills = 0
  for (; !isOver; kills++) {
    await new Promise(resolve => setTimeout(resolve, life()))
    await reader.kill()
    cut(argument.file)
    reader = await start()
  }
  await over
  return { reader, kills }
}

async function assertEqual(database, tables) {
  const names = await database.query(
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_streamer%' ESCAPE '\\' AND name NOT LIKE 'sqlite%'"
  )
  assert.deepEqual([...tables.all.keys()].sort(), names.map(({ name }) => name).sort())
  for (const [name, { rows }] of tables.all) {
    const found = await database.query(`SELECT * FROM "${name}"`)
    assert.deepEqual(rows.map(text).sort(), found.map(text).sort(), `${name} differs (seed ${SEED})`)
  }
}

/** @param {import('node:test').TestContext} t @param {string} journal @param {boolean} hasDdl */
async function rebuild(t, journal, hasDdl) {
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
  const first = new Child('sqlite-reader.js', argument)
  await first.says('ready')
  await first.kill()
  const { reader, kills } = await killWhile(writing(database.file, hasDdl), argument)
  await database.run('INSERT INTO finished VALUES (1)')
  await reader.says('finished')
  await reader.kill()
  let definitions = 0
  for await (const { change, schema, gap } of delivered(argument.file)) {
    assert.equal(gap, undefined)
    if (change) tables.apply(change)
    else {
      tables.define(schema.table, columnsOf(schema.statement))
      definitions++
    }
  }
  t.diagnostic(`${tables.changes} changes, ${definitions} definitions, ${kills} kills`)
  await assertEqual(database, tables)
  await database.drop()
}

for (const hasDdl of SECONDS > 0 ? [true] : [false, true]) {
  for (const journal of hasDdl ? ['wal'] : ['wal', 'delete']) {
    const name = `${WRITERS} writers${hasDdl ? ' and changing definitions' : ''}, journal ${journal}, a reader that is killed`
    test(`${name}: tables rebuilt equal the database`, t => rebuild(t, journal, hasDdl))
  }
}
