'use strict'

// What a transaction can look like in the log: compressed, huge, prepared, rolled back, with images that hold some columns.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { freshDatabase, openKit } = require('../support/servers')
const { collect } = require('../support/collect')

/** @type {Awaited<ReturnType<typeof openKit>>} */
let kit
/** @type {Record<string, any>} */
const servers = {}
before(async () => {
  kit = await openKit()
  servers.mysql = await kit.mysql({
    args: ['--gtid-mode=ON', '--enforce-gtid-consistency=ON', '--max-allowed-packet=128M'],
  })
  servers.mariadb = await kit.mariadb({
    args: ['--max-allowed-packet=128M', '--log-bin-compress=ON', '--log-bin-compress-min-len=10'],
  })
  servers.files = await kit.mysql({ args: [] })
})
after(() => kit?.close())

/** @param {string} kind */
async function table(kind, columns = 'id INT PRIMARY KEY, v VARCHAR(100)') {
  const database = await freshDatabase(servers[kind])
  const connection = await database.connect()
  await connection.query(`CREATE TABLE t (${columns})`)
  return { database, connection, run: (sql, values) => connection.query(sql, values) }
}

test('a transaction compressed by one session arrives whole, among plain ones (MySQL)', async () => {
  const { database, connection, run } = await table('mysql')
  const seen = await collect({ url: database.url })
  await run("INSERT INTO t VALUES (0, 'plain')")
  await run('SET SESSION binlog_transaction_compression = ON')
  await run('START TRANSACTION')
  for (let id = 1; id <= 50; id++) await run('INSERT INTO t VALUES (?, ?)', [id, 'c'.repeat(80)])
  await run('COMMIT')
  await run('SET SESSION binlog_transaction_compression = OFF')
  await run("INSERT INTO t VALUES (51, 'plain')")
  await seen.until(() => seen.changes.length >= 52, '52 changes')
  assert.deepEqual(
    seen.changes.map(change => change.after.id),
    Array.from({ length: 52 }, (_, id) => id)
  )
  const inside = seen.changes.slice(1, 51)
  assert.equal(new Set(inside.map(change => change.transaction.id)).size, 1)
  assert.deepEqual(
    inside.map(change => change.transaction.last),
    [...Array(49).fill(false), true]
  )
  await seen.stop()
  await connection.end()
})

test('compressed statements and rows arrive (MariaDB, log_bin_compress)', async () => {
  const { database, connection, run } = await table('mariadb', 'id INT PRIMARY KEY, v TEXT')
  const seen = await collect({ url: database.url })
  await run('INSERT INTO t VALUES ?', [Array.from({ length: 500 }, (_, id) => [id, 'text '.repeat(50)])])
  await run('ALTER TABLE t ADD COLUMN n INT DEFAULT 7')
  await run("UPDATE t SET v = REPEAT('x', 3000) WHERE id < 10")
  await run('DELETE FROM t WHERE id >= 490')
  await seen.until(() => seen.changes.length >= 520, '520 changes')
  assert.deepEqual(seen.gaps, [])
  assert.equal(seen.changes.filter(change => change.op === 'insert').length, 500)
  const update = seen.changes.find(change => change.op === 'update')
  assert.deepEqual(
    { before: update.before.n, after: update.after.n, changed: update.changed },
    { before: 7, after: 7, changed: ['v'] }
  )
  await seen.stop()
  await connection.end()
})

for (const kind of ['mysql', 'mariadb', 'files']) {
  test(`XA rows wait for XA COMMIT, and vanish with XA ROLLBACK (${kind})`, async () => {
    const { database, connection, run } = await table(kind)
    const seen = await collect({ url: database.url })
    const other = await database.connect()
    await run("XA START 'first'")
    await run("INSERT INTO t VALUES (1, 'xa')")
    await run("UPDATE t SET v = 'later' WHERE id = 1")
    await run("XA END 'first'")
    await run("XA PREPARE 'first'")
    await connection.end()
    await other.query("INSERT INTO t VALUES (2, 'between')")
    await seen.until(() => seen.changes.length >= 1, 'the change between')
    assert.deepEqual(
      seen.changes.map(change => change.after.id),
      [2]
    )
    const committer = await database.connect()
    await committer.query("XA COMMIT 'first'")
    await committer.query("XA START 'second'")
    await committer.query("INSERT INTO t VALUES (3, 'never')")
    await committer.query("XA END 'second'")
    await committer.query("XA PREPARE 'second'")
    await committer.end()
    const last = await database.connect()
    await last.query("XA ROLLBACK 'second'")
    await last.query("XA START 'third'")
    await last.query("INSERT INTO t VALUES (4, 'one phase')")
    await last.query("XA END 'third'")
    await last.query("XA COMMIT 'third' ONE PHASE")
    await last.query("INSERT INTO t VALUES (5, 'end')")
    await seen.until(() => seen.changes.some(change => change.after?.id === 5), 'the last change')
    assert.deepEqual(
      seen.changes.map(change => [change.op, change.after.id, change.after.v]),
      [
        ['insert', 2, 'between'],
        ['insert', 1, 'xa'],
        ['update', 1, 'later'],
        ['insert', 4, 'one phase'],
        ['insert', 5, 'end'],
      ]
    )
    assert.deepEqual(seen.gaps, [])
    await seen.stop()
    await last.end()
    await other.end()
  })

  test(`a position taken while an XA transaction is prepared loses nothing of it (${kind})`, async () => {
    const { database, connection, run } = await table(kind)
    const seen = await collect({ url: database.url })
    await run("XA START 'kept'")
    await run("INSERT INTO t VALUES (1, 'xa')")
    await run("XA END 'kept'")
    await run("XA PREPARE 'kept'")
    await connection.end()
    const other = await database.connect()
    await other.query("INSERT INTO t VALUES (2, 'between')")
    await seen.until(() => seen.changes.length >= 1, 'the change between')
    const from = seen.changes[0].position
    await seen.stop()
    await other.query("XA COMMIT 'kept'")
    await other.query("INSERT INTO t VALUES (3, 'end')")
    const resumed = await collect({ url: database.url, from })
    await resumed.until(() => resumed.changes.some(change => change.after.id === 3), 'the last change')
    assert.deepEqual(
      resumed.changes.map(change => change.after.id),
      [1, 3]
    )
    await resumed.stop()
    await other.end()
  })

  test(`images hold the columns that were logged, and no others (${kind})`, async () => {
    const { database, connection, run } = await table(kind, 'id INT PRIMARY KEY, a INT, b TEXT, c INT')
    const seen = await collect({ url: database.url })
    await run('SET SESSION binlog_row_image = MINIMAL')
    await run('INSERT INTO t (id, a) VALUES (1, 5)')
    await run('UPDATE t SET a = NULL WHERE id = 1')
    await run('SET SESSION binlog_row_image = NOBLOB')
    await run('UPDATE t SET c = 9 WHERE id = 1')
    await run('SET SESSION binlog_row_image = MINIMAL')
    await run('DELETE FROM t WHERE id = 1')
    await seen.until(() => seen.changes.length >= 4, 'four changes')
    const [insert, update, noblob, gone] = seen.changes
    assert.equal(insert.after.id, 1)
    assert.equal(insert.after.a, 5)
    assert.deepEqual(update.before, { id: 1 })
    assert.deepEqual(update.after, { a: null })
    assert.deepEqual(update.key, { id: 1 })
    assert.deepEqual(update.changed, ['a'])
    assert.ok(!('b' in noblob.after))
    assert.deepEqual(noblob.after, { id: 1, a: null, c: 9 })
    assert.deepEqual(noblob.changed, ['c'])
    assert.deepEqual(gone.before, { id: 1 })
    assert.equal(gone.after, null)
    await seen.stop()
    await connection.end()
  })

  test(`a changed primary key is a delete and an insert (${kind})`, async () => {
    const { database, connection, run } = await table(kind)
    const seen = await collect({ url: database.url })
    await run("INSERT INTO t VALUES (1, 'v')")
    await run('UPDATE t SET id = 2')
    await seen.until(() => seen.changes.length >= 3, 'three changes')
    assert.deepEqual(
      seen.changes.map(({ op, key, before: old, after: now, transaction }) => [
        op,
        key,
        old,
        now,
        transaction.last,
      ]),
      [
        ['insert', { id: 1 }, null, { id: 1, v: 'v' }, true],
        ['delete', { id: 1 }, { id: 1, v: 'v' }, null, false],
        ['insert', { id: 2 }, null, { id: 2, v: 'v' }, true],
      ]
    )
    await seen.stop()
    await connection.end()
  })

  test(`every position resumes exactly behind its change (${kind})`, async () => {
    const { database, connection, run } = await table(kind)
    const seen = await collect({ url: database.url, tables: ['t'] })
    for (let n = 0; n < 4; n++) {
      await run('START TRANSACTION')
      for (let i = 0; i < 3; i++) await run('INSERT INTO t VALUES (?, ?)', [n * 3 + i, 'v'])
      await run('COMMIT')
    }
    await seen.until(() => seen.changes.length >= 12, 'twelve changes')
    await seen.stop()
    for (const [n, { position }] of seen.changes.entries()) {
      if (n === 11) continue
      const resumed = await collect({ url: database.url, from: position })
      await resumed.until(() => resumed.changes.length >= 11 - n, `the changes behind ${position}`)
      await resumed.stop()
      assert.deepEqual(resumed.changes, seen.changes.slice(n + 1), `from ${position}`)
    }
    await connection.end()
  })
}

test('JSON updated in part arrives as the whole value, or as a difference where the base is not logged (MySQL)', async () => {
  const { database, connection, run } = await table('mysql', 'id INT PRIMARY KEY, doc JSON, other JSON')
  const seen = await collect({ url: database.url })
  const document = { a: 1, list: [1, 2, 3], text: 'x'.repeat(500), deep: { b: { c: 1 } } }
  await run('INSERT INTO t VALUES (1, ?, ?)', [JSON.stringify(document), '[1,2,3]'])
  await run("SET SESSION binlog_row_value_options = 'PARTIAL_JSON'")
  await run("UPDATE t SET doc = JSON_SET(doc, '$.a', 2, '$.deep.b.c', 'changed')")
  await run("UPDATE t SET doc = JSON_REMOVE(doc, '$.list[1]'), other = JSON_REPLACE(other, '$[0]', 9)")
  await run("UPDATE t SET doc = JSON_SET(doc, '$.fresh', CAST('{\"k\":[true,null]}' AS JSON))")
  await run('SET SESSION binlog_row_image = MINIMAL')
  await run("UPDATE t SET doc = JSON_REPLACE(doc, '$.a', 3)")
  await seen.until(() => seen.changes.length >= 5, 'five changes')
  const [, first, second, third, partial] = seen.changes
  assert.deepEqual(first.after.doc, { ...document, a: 2, deep: { b: { c: 'changed' } } })
  assert.deepEqual(first.changed, ['doc'])
  assert.deepEqual(second.after.doc.list, [1, 3])
  assert.deepEqual(second.after.other, [9, 2, 3])
  assert.deepEqual(third.after.doc.fresh, { k: [true, null] })
  assert.deepEqual(partial.after.doc.operations, [{ op: 'replace', path: '$.a', value: 3 }])
  const [[row]] = await connection.query('SELECT doc FROM t')
  assert.deepEqual({ ...third.after.doc, a: 3 }, typeof row.doc === 'string' ? JSON.parse(row.doc) : row.doc)
  await seen.stop()
  await connection.end()
})

test('a row over 16 MB arrives whole', async () => {
  for (const kind of ['mysql', 'mariadb']) {
    const { database, connection, run } = await table(kind, 'id INT PRIMARY KEY, big LONGBLOB')
    const seen = await collect({ url: database.url })
    const big = Buffer.alloc(20 * 1024 * 1024, 'abcdefg')
    await run('INSERT INTO t VALUES (1, ?)', [big])
    await run('INSERT INTO t VALUES (2, NULL)')
    await seen.until(() => seen.changes.length >= 2, 'both rows')
    assert.ok(seen.changes[0].after.big.equals(big))
    await seen.stop()
    await connection.end()
  }
})

test('a transaction that changed rows in statement format is a gap (MySQL)', async () => {
  const { database, connection, run } = await table('files')
  const seen = await collect({ url: database.url })
  await run('SET SESSION binlog_format = STATEMENT')
  await run("INSERT INTO t VALUES (1, 'statement')")
  await run('SET SESSION binlog_format = ROW')
  await run("INSERT INTO t VALUES (2, 'row')")
  await seen.until(() => seen.changes.length >= 1 && seen.gaps.length >= 1, 'the gap and the row behind it')
  assert.equal(seen.gaps.length, 1)
  assert.equal(seen.gaps[0].reason, 'undecodable')
  assert.deepEqual(
    seen.changes.map(change => change.after.id),
    [2]
  )
  await seen.stop()
  await connection.end()
})

test('GTIDs with a tag are read and resumed (MySQL)', async () => {
  const { database, connection, run } = await table('mysql')
  const seen = await collect({ url: database.url, tables: ['t'] })
  await run("SET gtid_next = 'AUTOMATIC:shop'")
  await run("INSERT INTO t VALUES (1, 'tagged')")
  await run("SET gtid_next = 'AUTOMATIC'")
  await run("INSERT INTO t VALUES (2, 'plain')")
  await seen.until(() => seen.changes.length >= 2, 'two changes')
  await seen.stop()
  assert.match(seen.changes[0].transaction.id, /:shop:1$/)
  const resumed = await collect({ url: database.url, from: seen.changes[0].position })
  await resumed.until(() => resumed.changes.length >= 1, 'the second change')
  assert.deepEqual(resumed.changes, seen.changes.slice(1))
  await resumed.stop()
  await connection.end()
})
