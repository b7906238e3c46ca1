'use strict'

// Drizzle: what it commits is seen without a hook.
//   node drizzle/main.js

const { createClient } = require('@libsql/client')
const { eq } = require('drizzle-orm')
const { drizzle } = require('drizzle-orm/libsql')
const { integer, real, sqliteTable, text } = require('drizzle-orm/sqlite-core')
const { Streamer } = require('ultimate-streaming')
const { openShop, url } = require('../common/shop')

const orders = sqliteTable('orders', {
  id: integer().primaryKey(),
  product: text().notNull(),
  total: real().notNull(),
})

async function main() {
  if (!url.startsWith('sqlite:'))
    throw new Error('This example is for SQLite; knex/ is for MySQL and MariaDB too.')
  await (await openShop()).destroy()
  const client = createClient({ url: url.replace(/^sqlite:/, 'file:'), timeout: 5000 })
  const database = drizzle(client)

  const streamer = new Streamer({ source: { url, tables: ['orders'] } })
  const changes = streamer.changes()
  await streamer.start()

  const [{ id }] = await database.insert(orders).values({ product: 'tea', total: 4.5 }).returning()
  await database.update(orders).set({ total: 5 }).where(eq(orders.id, id))
  await database.delete(orders).where(eq(orders.id, id))

  for await (const { op, table, key, before, after } of changes) {
    if (key?.id !== id) continue
    console.log(op, table, after ?? before)
    if (op === 'delete') break
  }
  await streamer.stop()
  client.close()
}

main()
