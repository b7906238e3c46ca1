'use strict'

// Mongoose: what its models save is seen without a hook, also what other processes save.
//   DATABASE_URL=mongodb://127.0.0.1/shop?replicaSet=rs0 node mongoose/main.js

const mongoose = require('mongoose')
const { Streamer } = require('ultimate-streaming')

const url = process.env.DATABASE_URL ?? 'mongodb://127.0.0.1/shop?replicaSet=rs0'

const Order = mongoose.model(
  'Order',
  new mongoose.Schema({ product: { type: String, required: true }, total: Number })
)

async function main() {
  await mongoose.connect(url)
  await Order.createCollection()
  const streamer = new Streamer({
    source: { url, tables: [Order.collection.collectionName], fullDocument: 'updateLookup' },
  })
  const changes = streamer.changes()
  await streamer.start()

  const order = await Order.create({ product: 'tea', total: 4.5 })
  await Order.updateOne({ _id: order._id }, { total: 5 })

  for await (const { op, table, after } of changes) {
    // A document with the model's methods and virtuals, made of what was delivered.
    const hydrated = Order.hydrate(after)
    console.log(op, table, hydrated.product, hydrated.total)
    if (op !== 'update') continue
    console.log('is the same order:', hydrated._id.equals(order._id))
    break
  }
  await streamer.stop()
  await mongoose.disconnect()
}

main()
