'use strict'

// Writes to a small shop on MongoDB: `node mongodb.js URL COLLECTION`. The collection is made, and dropped in the end.

const { MongoClient } = require('mongodb')
const { below, product, work } = require('./common')

async function main() {
  const [url, name] = process.argv.slice(2)
  const client = await new MongoClient(url).connect()
  const shop = client.db().collection(name)
  await client.db().createCollection(name)
  await work(
    async id => {
      const { id: _id, ...rest } = product(id)
      await shop.insertOne({ _id: /** @type {any} */ (_id), ...rest })
      const chosen = /** @type {any} */ (1 + below(id))
      await shop.updateOne({ _id: chosen }, { $inc: { pieces: 1 }, $set: { at: Date.now() } })
      if (below(4) === 0) await shop.deleteOne({ _id: /** @type {any} */ (1 + below(id)) })
    },
    () => shop.find().toArray()
  )
  await new Promise(resolve => process.once('message', resolve))
  await shop.drop()
  await client.close()
  process.disconnect?.()
}

main()
