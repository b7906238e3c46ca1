'use strict'

// The database under the benchmark, of each kind: how its rows are made, read by key, written, and its queries counted.

const CONNECTIONS = 10
const SQL = 'SELECT id, version, text FROM items WHERE id = ?'

/** @typedef {{ id: number, version: number, text: string }} Item */
/**
 * @typedef {object} Database
 * @property {(url: string) => Promise<{ load: (id: number) => Promise<any>, end: () => Promise<unknown> }>} pooled reads through a pool of the usual driver
 * @property {(streamer: any, id: number) => Promise<any>} read through ours
 * @property {(change: any) => [number, number]} version key and version of a change
 * @property {(url: string) => Promise<{ write: (id: number) => Promise<unknown>, end: () => Promise<unknown> }>} writer
 * @property {(server: any) => Promise<{ url: string, fill: (items: Item[]) => Promise<unknown>, queries: () => Promise<number>, end: () => Promise<unknown> }>} fresh
 */

/** @type {Database} */
const SQL_DATABASE = {
  async pooled(url) {
    const pool = require('mysql2/promise').createPool({ uri: url, connectionLimit: CONNECTIONS })
    return { load: async id => (await pool.execute(SQL, [id]))[0][0], end: () => pool.end() }
  },
  read: async (streamer, id) => (await streamer.query(SQL, [id]))[0],
  version: ({ after }) => [after.id, after.version],
  async writer(url) {
    const connection = await require('mysql2/promise').createConnection({ uri: url })
    const write = id => connection.execute('UPDATE items SET version = version + 1 WHERE id = ?', [id])
    return { write, end: () => connection.end() }
  },
  async fresh(server) {
    const { freshDatabase } = require('../../__test__/support/servers')
    const database = await freshDatabase(server)
    const connection = await database.connect()
    await connection.query(
      'CREATE TABLE items (id INT PRIMARY KEY, version INT NOT NULL, text VARCHAR(200) NOT NULL)'
    )
    return {
      url: database.url,
      fill: items =>
        connection.query('INSERT INTO items VALUES ?', [
          items.map(({ id, version, text }) => [id, version, text]),
        ]),
      async queries() {
        const [rows] = await connection.query("SHOW GLOBAL STATUS LIKE 'Com_select'")
        return Number(rows[0].Value)
      },
      end: () => connection.end(),
    }
  },
}

/** @type {Database} */
const MONGODB = {
  async pooled(url) {
    const { MongoClient } = require('mongodb')
    const client = await MongoClient.connect(url, { maxPoolSize: CONNECTIONS })
    const items = client.db().collection('items')
    return { load: id => items.findOne({ _id: /** @type {any} */ (id) }), end: () => client.close() }
  },
  read: async (streamer, id) => (await streamer.find('items', { _id: id }))[0],
  version: ({ after }) => [after._id, after.version],
  async writer(url) {
    const { MongoClient } = require('mongodb')
    const client = await MongoClient.connect(url)
    const items = client.db().collection('items')
    const write = id => items.updateOne({ _id: /** @type {any} */ (id) }, { $inc: { version: 1 } })
    return { write, end: () => client.close() }
  },
  async fresh(server) {
    const { freshMongodb } = require('../../__test__/support/mongodb')
    const database = await freshMongodb(server)
    return {
      url: database.url,
      fill: items =>
        database.db
          .collection('items')
          .insertMany(/** @type {any} */ (items.map(({ id, ...rest }) => ({ _id: id, ...rest })))),
      queries: async () => (await database.db.admin().serverStatus()).opcounters.query,
      end: () => database.drop(),
    }
  },
}

/** @param {string} kind */
const databaseOf = kind => (kind === 'mongodb' ? MONGODB : SQL_DATABASE)

module.exports = { databaseOf }
