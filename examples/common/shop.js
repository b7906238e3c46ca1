'use strict'

// The shop that the examples follow: one table, in a SQLite file or on the MySQL or MariaDB that DATABASE_URL names.

const path = require('node:path')
const { knex } = require('knex')
const SQLite = require('knex/lib/dialects/better-sqlite3')

/** `libsql` has the interface of better-sqlite3, and its binaries in the package: nothing is built, nothing is fetched. */
class Sqlite extends SQLite {
  _driver() {
    return require('libsql')
  }
}

/** What is followed, for Streamer and for Knex alike. */
const url = process.env.DATABASE_URL ?? `sqlite:${path.join(__dirname, '../shop.db')}`

function connect() {
  if (!url.startsWith('sqlite:')) {
    return knex({ client: 'mysql2', connection: url.replace(/^mariadb:/, 'mysql:') })
  }
  return knex({
    client: Sqlite,
    connection: { filename: url.slice('sqlite:'.length) },
    useNullAsDefault: true,
    pool: {
      // Streamer writes too, for moments: who writes beside it waits.
      afterCreate(connection, done) {
        connection.exec('PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 5000')
        done(null, connection)
      },
    },
  })
}

/** A connection to the shop, with its table in place. */
async function openShop() {
  const database = connect()
  if (!(await database.schema.hasTable('orders'))) {
    await database.schema.createTable('orders', table => {
      table.bigIncrements('id')
      table.string('product', 40).notNullable()
      table.decimal('total', 8, 2).notNullable()
      table.string('card', 19).comment('not for browsers')
    })
  }
  return database
}

/** What a browser may see of a row: the columns that are named, and no other that somebody adds one day. */
function published({ id, product, total }) {
  return { id, product, total }
}

/** What a browser may see of a change. */
function publishedChange({ op, key, after }) {
  return { op, key, after: after && published(after) }
}

module.exports = { openShop, published, publishedChange, url }
