'use strict'

// Writes random inserts, updates and deletes over many tables, in transactions of 1 to 500 rows. Runs as its own process:
//   node writer.js <url> <database> <tables> <changes> <seed>
// The last line it prints is `done <changes>`.

const mysql = require('mysql2/promise')
const { random } = require('./random')

const WORDS = ['alpha', 'Bravo', 'çedille', '東京', '😀 emoji', "quote'd", 'back\\slash', '', 'x'.repeat(300)]

/** @param {import('mysql2/promise').Connection} connection @param {number} tables */
async function createTables(connection, tables) {
  for (let t = 0; t < tables; t++) {
    // Every third table has a key of two columns, every fifth has none of its own but a unique column.
    const key = t % 3 === 0 ? 'PRIMARY KEY (id, part)' : 'PRIMARY KEY (id)'
    await connection.query(`CREATE TABLE t${t} (
      id INT NOT NULL, part SMALLINT NOT NULL DEFAULT 0, name VARCHAR(400) CHARACTER SET utf8mb4, amount DECIMAL(20,4),
      big BIGINT UNSIGNED, ratio DOUBLE, seen DATETIME(6), flags SET('a','b','c'), kind ENUM('one','two','th,ree'),
      raw VARBINARY(64), doc JSON, ${key})`)
  }
}

/** @param {ReturnType<typeof random>} rng */
function values(rng) {
  return [
    rng.next() < 0.1 ? null : rng.pick(WORDS) + rng.below(1000),
    rng.next() < 0.1 ? null : `${rng.below(1e9)}.${String(rng.below(10000)).padStart(4, '0')}`,
    rng.next() < 0.1 ? '18446744073709551615' : String(rng.below(2 ** 31)),
    rng.next() < 0.1 ? null : rng.next() * 1e6,
    `2024-0${1 + rng.below(9)}-1${rng.below(10)} 12:34:56.${String(rng.below(1e6)).padStart(6, '0')}`,
    rng.pick(['', 'a', 'a,c', 'a,b,c']),
    rng.pick(['one', 'two', 'th,ree', null]),
    Buffer.from([rng.below(256), 0, rng.below(256), 0]),
    JSON.stringify({ n: rng.below(1e6), text: rng.pick(WORDS), list: [1, null, { deep: rng.next() < 0.5 }] }),
  ]
}

const SET = 'name = ?, amount = ?, big = ?, ratio = ?, seen = ?, flags = ?, kind = ?, raw = ?, doc = ?'

/** One random change; the rows that exist are kept in `live`. */
async function change(connection, rng, t, live, counters) {
  const roll = rng.next()
  if (roll < 0.45 || live.length < 5) {
    const rows = 1 + (rng.next() < 0.2 ? rng.below(20) : 0)
    const list = []
    for (let i = 0; i < rows; i++) {
      const id = counters.nextId++
      live.push(id)
      list.push([id, id % 7, ...values(rng)])
    }
    await connection.query(
      `INSERT INTO t${t} (id, part, name, amount, big, ratio, seen, flags, kind, raw, doc) VALUES ?`,
      [list]
    )
    return rows
  }
  const at = rng.below(live.length)
  const id = live[at]
  if (roll < 0.8) {
    await connection.query(`UPDATE t${t} SET ${SET} WHERE id = ?`, [...values(rng), id])
    return 1
  }
  if (roll < 0.85) {
    const moved = counters.nextId++
    live[at] = moved
    await connection.query(`UPDATE t${t} SET id = ? WHERE id = ?`, [moved, id])
    return 1
  }
  live.splice(at, 1)
  await connection.query(`DELETE FROM t${t} WHERE id = ?`, [id])
  return 1
}

async function main() {
  const [url, database, tableCount, changeCount, seed] = process.argv.slice(2)
  const tables = Number(tableCount)
  const wanted = Number(changeCount)
  const rng = random(Number(seed))
  const connection = await mysql.createConnection({ uri: url, database, supportBigNumbers: true })
  await connection.query('SET SESSION sql_mode = ?', ['NO_ENGINE_SUBSTITUTION'])
  await createTables(connection, tables)
  const live = Array.from({ length: tables }, () => [])
  const counters = { nextId: 1 }
  let done = 0
  while (done < wanted) {
    const size = 1 + rng.below(rng.next() < 0.1 ? 500 : 20)
    const rollsBack = rng.next() < 0.05
    const before = rollsBack ? live.map(ids => [...ids]) : live
    await connection.beginTransaction()
    let inside = 0
    while (inside < size) {
      const t = rng.below(tables)
      inside += await change(connection, rng, t, live[t], counters)
    }
    if (rollsBack) {
      await connection.rollback()
      before.forEach((ids, t) => live[t].splice(0, live[t].length, ...ids))
    } else {
      await connection.commit()
      done += inside
    }
  }
  await connection.query('CREATE TABLE finished (id INT PRIMARY KEY)')
  await connection.query('INSERT INTO finished VALUES (1)')
  await connection.end()
  process.stdout.write(`done ${done}\n`)
}

main().catch(error => {
  process.stderr.write(`${error.stack}\n`)
  process.exit(1)
})
