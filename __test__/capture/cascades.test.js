'use strict'

// Rows that foreign keys change: MariaDB, and MySQL before 9.6, do not log them.

const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { collect } = require('../support/collect')
const { freshDatabase, openKit } = require('../support/servers')

/** @type {import('../support/servers').Kit} */
let kit
before(async () => {
  kit = await openKit()
})
after(() => kit?.close())

const TABLES = [
  'CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(20))',
  // One to one: the key of a child is its parent's.
  'CREATE TABLE profiles (customer INT PRIMARY KEY, text VARCHAR(20), FOREIGN KEY (customer) REFERENCES customers (id) ON DELETE CASCADE ON UPDATE CASCADE)',
  'CREATE TABLE orders (id INT PRIMARY KEY, customer INT, FOREIGN KEY (customer) REFERENCES customers (id) ON DELETE CASCADE)',
  'CREATE TABLE items (id INT PRIMARY KEY, orders INT, FOREIGN KEY (orders) REFERENCES orders (id) ON DELETE CASCADE)',
  'CREATE TABLE notes (id INT PRIMARY KEY, customer INT, FOREIGN KEY (customer) REFERENCES customers (id) ON DELETE SET NULL)',
  'CREATE TABLE strict (id INT PRIMARY KEY, customer INT, FOREIGN KEY (customer) REFERENCES customers (id))',
  "INSERT INTO customers VALUES (1, 'a'), (2, 'b'), (3, 'c')",
  "INSERT INTO profiles VALUES (1, 'x'), (2, 'y')",
  'INSERT INTO orders VALUES (10, 1), (11, 1)',
  'INSERT INTO items VALUES (100, 10)',
  'INSERT INTO notes VALUES (7, 1)',
]

/** @param {any} change */
const shown = change =>
  `${change.op} ${change.table}${change.key === null ? '' : ' ' + JSON.stringify(change.key)}${change.synthetic ? ' (derived)' : ''}`

const SERVERS = /** @type {const} */ ([
  ['mariadb', []],
  ['mysql', ['--innodb-native-foreign-keys=ON']],
])

for (const [kind, args] of SERVERS) {
  test(`what foreign keys change is derived where the log does not hold it (${kind})`, async () => {
    const server = await kit[kind]({ args: [...args] })
    const database = await freshDatabase(server)
    const writer = await database.connect()
    for (const sql of TABLES) await writer.query(sql)
    const seen = await collect(database.url)
    const all = () => seen.changes.map(shown)

    await writer.query('DELETE FROM customers WHERE id = 1')
    await seen.until(() => seen.changes.at(-1)?.transaction?.last, 'the cascade of a delete')
    assert.deepEqual(all(), [
      'delete customers {"id":1}',
      'truncate profiles {"customer":1} (derived)',
      'truncate items (derived)',
      'truncate notes (derived)',
      'truncate orders (derived)',
    ])
    assert.equal(new Set(seen.changes.map(change => change.transaction?.id)).size, 1)
    assert.equal(seen.changes[1].before, null)

    seen.changes.length = 0
    await writer.query("UPDATE customers SET name = 'bb' WHERE id = 2")
    await writer.query('UPDATE customers SET id = 20 WHERE id = 2')
    await seen.until(() => seen.changes.some(change => change.synthetic), 'the cascade of an update')
    assert.deepEqual(all(), [
      'update customers {"id":2}',
      'delete customers {"id":2}',
      'insert customers {"id":20}',
      'truncate profiles (derived)',
    ])

    // Not looked at, so not followed; and a constraint that is new, or gone.
    seen.changes.length = 0
    await writer.query('SET foreign_key_checks = 0')
    await writer.query('DELETE FROM customers WHERE id = 20')
    await writer.query('SET foreign_key_checks = 1')
    await writer.query('DELETE FROM profiles')
    for (const table of ['profiles', 'items', 'orders', 'notes']) await writer.query(`DROP TABLE ${table}`)
    await writer.query(
      'CREATE TABLE pets (id INT PRIMARY KEY, customer INT, FOREIGN KEY (customer) REFERENCES customers (id) ON DELETE CASCADE)'
    )
    await writer.query('DELETE FROM customers WHERE id = 3')
    await seen.until(
      () => seen.changes.some(change => change.table === 'pets' && change.synthetic),
      'the new constraint'
    )
    assert.deepEqual(
      all().filter(text => !text.startsWith('drop')),
      [
        'delete customers {"id":20}',
        'delete profiles {"customer":20}',
        'delete customers {"id":3}',
        'truncate pets (derived)',
      ]
    )

    await seen.stop()
    await writer.end()
    await server.stop()
  })

  test(`a resume inside a transaction with derived changes repeats none of them (${kind})`, async () => {
    const server = await kit[kind]({ args: [...args] })
    const database = await freshDatabase(server)
    const writer = await database.connect()
    for (const sql of TABLES) await writer.query(sql)
    const seen = await collect(database.url)
    await writer.query('DELETE FROM customers WHERE id = 1')
    await seen.until(() => seen.changes.at(-1)?.transaction?.last, 'the cascade')
    await seen.stop()
    for (const [index, change] of seen.changes.entries()) {
      const again = await collect({ url: database.url, from: change.position })
      await writer.query(`INSERT INTO strict VALUES (${index}, NULL)`)
      await again.until(() => again.changes.some(({ table }) => table === 'strict'), 'a later row')
      const rest = again.changes.filter(({ table }) => table !== 'strict').map(({ id }) => id)
      assert.deepEqual(
        rest,
        seen.changes.slice(index + 1).map(({ id }) => id)
      )
      await again.stop()
    }
    await writer.end()
    await server.stop()
  })

  test(`no change is made of a child that did not exist (${kind})`, async () => {
    const server = await kit[kind]({ args: [...args] })
    const database = await freshDatabase(server)
    const writer = await database.connect()
    for (const sql of TABLES) await writer.query(sql)
    const seen = await collect({ url: database.url, tables: ['profiles', 'strict'] })
    // Customer 3 has no profile.
    await writer.query('DELETE FROM customers WHERE id IN (2, 3)')
    await writer.query('INSERT INTO strict VALUES (1, NULL)')
    await seen.until(() => seen.changes.some(({ table }) => table === 'strict'), 'what follows')
    const derived = seen.changes.filter(({ table }) => table === 'profiles')
    assert.ok(derived.length > 0)
    for (const { op, synthetic } of derived) assert.deepEqual([op, synthetic], ['truncate', true])
    await seen.stop()
    await writer.end()
    await server.stop()
  })

  test(`a key that a collation only takes for the parent's is not named (${kind})`, async () => {
    const server = await kit[kind]({ args: [...args] })
    const database = await freshDatabase(server)
    const writer = await database.connect()
    await writer.query('CREATE TABLE codes (code VARCHAR(10) PRIMARY KEY)')
    await writer.query(
      'CREATE TABLE labels (code VARCHAR(10) PRIMARY KEY, FOREIGN KEY (code) REFERENCES codes (code) ON DELETE CASCADE)'
    )
    await writer.query("INSERT INTO codes VALUES ('Abc')")
    await writer.query("INSERT INTO labels VALUES ('abc')")
    const seen = await collect(database.url)
    await writer.query('DELETE FROM codes')
    await seen.until(() => seen.changes.at(-1)?.transaction?.last, 'the cascade')
    assert.deepEqual(seen.changes.map(shown), ['delete codes {"code":"Abc"}', 'truncate labels (derived)'])
    await seen.stop()
    await writer.end()
    await server.stop()
  })

  test(`children are told of parents that are not delivered (${kind})`, async () => {
    const server = await kit[kind]({ args: [...args] })
    const database = await freshDatabase(server)
    const writer = await database.connect()
    for (const sql of TABLES) await writer.query(sql)
    const seen = await collect({ url: database.url, tables: ['orders', 'strict'] })
    await writer.query('DELETE FROM customers WHERE id = 1')
    await seen.until(() => seen.changes.length > 0, 'the notice')
    assert.deepEqual(seen.changes.map(shown), ['truncate orders (derived)'])
    await seen.stop()
    await writer.end()
    await server.stop()
  })
}

test('what the server logs itself is not derived (MySQL 9.6 and later)', async () => {
  const database = await freshDatabase(await kit.mysql())
  const writer = await database.connect()
  for (const sql of TABLES) await writer.query(sql)
  const seen = await collect(database.url)
  await writer.query('DELETE FROM customers WHERE id = 1')
  await seen.until(() => seen.changes.at(-1)?.transaction?.last, 'the cascade')
  assert.ok(seen.changes.every(change => change.synthetic === undefined))
  assert.deepEqual(
    seen.changes.map(({ op, table, key }) => `${op} ${table} ${key?.id ?? key?.customer}`).sort(),
    [
      'delete customers 1',
      'delete items 100',
      'delete orders 10',
      'delete orders 11',
      'delete profiles 1',
      'update notes 7',
    ]
  )
  await seen.stop()
  await writer.end()
})
