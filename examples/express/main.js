'use strict'

// Express: one Streamer for the process, Server-Sent Events behind a middleware that asks who it is.

const path = require('node:path')
const express = require('express')
const { Streamer } = require('ultimate-streaming')
const { mayWatch, tokenOf } = require('../common/access')
const { Audience } = require('../common/audience')
const { toJson } = require('../common/json')
const { openShop, published, publishedChange, url } = require('../common/shop')
const { onShutdown } = require('../common/shutdown')

async function main() {
  const shop = await openShop()
  const streamer = new Streamer({ source: { url, tables: ['orders'] } })
  const audience = new Audience()
  streamer.on('change', change => audience.send('change', publishedChange(change)))
  await streamer.start()

  const app = express()
  app.get('/', (_, response) => response.sendFile(path.join(__dirname, '../common/dashboard.html')))
  app.get('/health', (_, response) => {
    const health = streamer.health()
    response.status(health.status === 'healthy' ? 200 : 503).json({ status: health.status })
  })
  app.use((request, response, next) => {
    if (mayWatch(tokenOf(request))) next()
    else response.sendStatus(401)
  })
  app.get('/orders', async (_, response) => {
    const rows = await shop('orders')
    response.type('json').send(toJson(rows.map(published)))
  })
  app.get('/changes', (_, response) => audience.join(response))

  const port = Number(process.env.PORT ?? 3000)
  const server = app.listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${port}`))
  onShutdown(async () => {
    audience.close()
    server.close()
    await streamer.stop()
    await shop.destroy()
  })
}

main()
