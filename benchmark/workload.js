'use strict'

// What the SQL contenders read: one table of ten mixed columns, filled in known ways, and what its rows add up to.

const COLUMNS = `
  id INT NOT NULL PRIMARY KEY,
  account BIGINT NOT NULL,
  name VARCHAR(60) CHARACTER SET utf8mb4 NOT NULL,
  email VARCHAR(120) CHARACTER SET utf8mb4 NOT NULL,
  city VARCHAR(60) CHARACTER SET utf8mb4,
  amount DECIMAL(12,2) NOT NULL,
  ratio DOUBLE NOT NULL,
  is_active TINYINT NOT NULL,
  created DATETIME NOT NULL,
  note TEXT CHARACTER SET utf8mb4 NOT NULL`

const NAMES = ['Ada Lovelace', 'Grace Hopper', 'Zoë Müller', 'Linus Torvalds', 'Jean Bartik', 'Łukasz Nowak']
const CITIES = ['London', 'New York', 'Zürich', null, 'Buenos Aires', 'Reykjavik', 'Singapore']
const NOTE = 'The quick brown fox jumps over the lazy dog, and nobody has counted how often. '
const BEGAN = Date.UTC(2026, 0, 1)

/** The row number `n`, the same for everybody. @param {number} n */
function rowOf(n) {
  return {
    id: n,
    account: 4_000_000_000 + n * 7,
    // One row in twenty has a name that is not plain ASCII.
    name: `${NAMES[n % 20 === 0 ? 2 + (n % 40 === 0 ? 3 : 0) : n % 2]} ${n}`,
    email: `user.${n}@mail-${n % 97}.example.com`,
    city: CITIES[n % CITIES.length],
    amount: (n % 100_000) + (n % 100) / 100,
    ratio: n / 3,
    is_active: n % 2,
    created: new Date(BEGAN + n * 1000),
    note: NOTE.slice(n % 40),
  }
}

/** Looks at the content of a text, not only at its length. @param {string | null} value */
function text(value) {
  return value === null ? 7 : value.length * 31 + value.charCodeAt(value.length >> 1)
}

/**
 * Reads every value of a row once, and makes a number of all. Every contender calls this for every row; who gave a wrong value, or left
 * one out, ends with another sum.
 * @param {any} row
 */
function touch(row) {
  return (
    Number(row.id) +
    Number(row.account) +
    text(row.name) +
    text(row.email) +
    text(row.city) +
    Math.round(Number(row.amount) * 100) +
    Math.trunc(row.ratio * 8) +
    row.is_active +
    row.created.getTime() +
    text(row.note)
  )
}

/** What rows `first` to `last` (excluded) add up to. @param {number} first @param {number} last */
function checksum(first, last) {
  let sum = 0
  for (let n = first; n < last; n++) sum = (sum + touch(rowOf(n))) | 0
  return sum
}

/** Inserts rows, `each` in a statement and a transaction. */
async function insert(connection, table, count, each = 1000) {
  for (let first = 0; first < count; first += each) {
    const rows = []
    for (let n = first; n < Math.min(count, first + each); n++) rows.push(Object.values(rowOf(n)))
    await connection.query(`INSERT INTO ${table} VALUES ?`, [rows])
  }
}

/** Copies rows one by one, each in a statement of its own; `each` of them in a transaction. */
async function insertSingly(connection, from, to, count, each) {
  await connection.query(`CREATE PROCEDURE copy_rows() BEGIN
    DECLARE n INT DEFAULT 0;
    WHILE n < ${count} DO
      IF n % ${each} = 0 THEN START TRANSACTION; END IF;
      INSERT INTO ${to} SELECT * FROM ${from} WHERE id = n;
      SET n = n + 1;
      IF n % ${each} = 0 THEN COMMIT; END IF;
    END WHILE;
    COMMIT;
  END`)
  await connection.query('CALL copy_rows()')
  await connection.query('DROP PROCEDURE copy_rows')
}

/** Copies all of a table of `block` rows again and again until there are `count`: 1,000 rows a statement, each a transaction. */
async function insertBlocks(connection, from, to, count, block) {
  await connection.query(`CREATE PROCEDURE copy_blocks() BEGIN
    DECLARE n INT DEFAULT 0;
    WHILE n < ${count} DO
      INSERT INTO ${to} SELECT * FROM ${from} WHERE id >= n % ${block} AND id < n % ${block} + 1000;
      SET n = n + 1000;
    END WHILE;
  END`)
  await connection.query('CALL copy_blocks()')
  await connection.query('DROP PROCEDURE copy_blocks')
}

/** Where the log ends. @param {any} connection @returns {Promise<{ file: string, offset: number }>} */
async function logEnd(connection) {
  const [rows] = await connection.query('SHOW BINARY LOGS')
  const { Log_name: file, File_size: size } = rows.at(-1)
  return { file, offset: Number(size) }
}

module.exports = { COLUMNS, checksum, insert, insertBlocks, insertSingly, logEnd, rowOf, touch }
