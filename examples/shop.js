'use strict'

// The other process: it writes to the shop, and knows nothing of who follows it.
//   node shop.js [milliseconds between writes]

const { setTimeout: sleep } = require('node:timers/promises')
const { openShop } = require('./common/shop')
const { onShutdown } = require('./common/shutdown')

const PRODUCTS = ['tea', 'coffee', 'cocoa', 'maté', 'chai']

async function main() {
  const pause = Number(process.argv[2] ?? 1000)
  const database = await openShop()
  let isOpen = true
  onShutdown(async () => {
    isOpen = false
  })
  for (let n = 0; isOpen; n++) {
    const [id] = await database('orders').insert({
      product: PRODUCTS[n % PRODUCTS.length],
      total: 4.5 + n,
      card: '4111 1111 1111 1111',
    })
    console.log(`order ${id}`)
    await sleep(pause)
    if (n % 3 === 1) await database('orders').where({ id }).update({ total: 1 })
    if (n % 3 === 2) await database('orders').where({ id }).delete()
  }
  await database.destroy()
}

main()
