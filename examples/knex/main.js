'use strict'

// Knex: what it commits is seen without a hook, what it rolls back is not. Its queries can be read through the cache.
//   node knex/main.js

const { Streamer } = require('ultimate-streaming')
const { openShop, url } = require('../common/shop')

async function main() {
  const database = await openShop()
  const hasCache = !url.startsWith('sqlite:')
  const streamer = new Streamer({ source: { url, tables: ['orders'] }, cache: hasCache })
  const changes = streamer.changes()
  await streamer.start()

  /** Rows of a query of Knex, from memory as long as they are right. */
  function cached(query) {
    const { sql, bindings } = query.toSQL().toNative()
    return streamer.query(sql, bindings)
  }

  const [id] = await database('orders').insert({ product: 'tea', total: 4.5 })
  await database
    .transaction(async transaction => {
      await transaction('orders').where({ id }).update({ total: 0 })
      throw new Error('thought better of it')
    })
    .catch(error => console.log('rolled back:', error.message))
  await database('orders').where({ id }).update({ total: 5 })

  for await (const { op, table, key, after } of changes) {
    if (key?.id !== id) continue
    console.log(op, table, after)
    if (op === 'update') break
  }
  if (hasCache) {
    for (let read = 0; read < 3; read++)
      console.log('read', (await cached(database('orders').where({ id })))[0])
    const { hits, misses } = streamer.cache.stats()
    console.log(`${hits} hits, ${misses} misses`)
  }
  await streamer.stop()
  await database.destroy()
}

main()
