'use strict'

// Fastify: the Streamer as a plugin that begins with the application and ends with it.

const fs = require('node:fs')
const path = require('node:path')
const fastify = require('fastify')
const { Streamer } = require('ultimate-streaming')
const { mayWatch, tokenOf } = require('../common/access')
const { Audience } = require('../common/audience')
const { toJson } = require('../common/json')
const { openShop, published, publishedChange, url } = require('../common/shop')
const { onShutdown } = require('../common/shutdown')

/** Decorates the application with `streamer` and `audience`. @param {import('fastify').FastifyInstance} app */
async function changes(app, { source }) {
  const streamer = new Streamer({ source })
  const audience = new Audience()
  streamer.on('change', change => audience.send('change', publishedChange(change)))
  app.decorate('streamer', streamer)
  app.decorate('audience', audience)
  // Before the server closes: it waits for open connections, and these never end by themselves.
  app.addHook('preClose', async () => audience.close())
  app.addHook('onClose', () => streamer.stop())
  await streamer.start()
}
// Without a scope of its own, as fastify-plugin does it: routes outside see what it decorates.
changes[Symbol.for('skip-override')] = true

async function main() {
  const shop = await openShop()
  const app = fastify()
  await app.register(changes, { source: { url, tables: ['orders'] } })
  app.addHook('onRequest', async (request, reply) => {
    if (!mayWatch(tokenOf(request.raw))) return reply.code(401).send({ error: 'Unauthorized' })
  })

  const page = fs.readFileSync(path.join(__dirname, '../common/dashboard.html'))
  app.get('/', (_, reply) => reply.type('text/html').send(page))
  app.get('/orders', async (_, reply) => {
    reply.type('application/json')
    return toJson((await shop('orders')).map(published))
  })
  app.get('/changes', (_, reply) => {
    reply.hijack()
    app.audience.join(reply.raw)
  })
  app.addHook('onClose', () => shop.destroy())

  const port = Number(process.env.PORT ?? 3000)
  console.log(await app.listen({ port, host: '127.0.0.1' }))
  onShutdown(() => app.close())
}

main()
