'use strict'

// Prisma: what it commits is seen without a hook, what it rolls back is not.
//   npm run prisma    (it generates the client of schema.prisma first)

const { PrismaLibSql } = require('@prisma/adapter-libsql')
const { PrismaClient } = require('@prisma/client')
const { Streamer } = require('ultimate-streaming')
const { openShop, url } = require('../common/shop')

async function main() {
  if (!url.startsWith('sqlite:'))
    throw new Error('This example is for SQLite; knex/ is for MySQL and MariaDB too.')
  await (await openShop()).destroy()
  const adapter = new PrismaLibSql({ url: url.replace(/^sqlite:/, 'file:'), timeout: 5000 })
  const prisma = new PrismaClient({ adapter })

  const streamer = new Streamer({ source: { url, tables: ['orders'] } })
  const changes = streamer.changes()
  await streamer.start()

  const { id } = await prisma.order.create({ data: { product: 'tea', total: 4.5 } })
  await prisma
    .$transaction(async transaction => {
      await transaction.order.update({ where: { id }, data: { total: 0 } })
      throw new Error('thought better of it')
    })
    .catch(error => console.log('rolled back:', error.message))
  await prisma.$transaction([
    prisma.order.update({ where: { id }, data: { total: 5 } }),
    prisma.$executeRaw`UPDATE orders SET product = 'green tea' WHERE id = ${id}`,
  ])
  await prisma.order.delete({ where: { id } })

  for await (const { op, table, key, before, after } of changes) {
    if (key?.id !== id) continue
    console.log(op, table, after ?? before)
    if (op === 'delete') break
  }
  await streamer.stop()
  await prisma.$disconnect()
}

main()
