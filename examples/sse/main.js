'use strict'

// Server-Sent Events with nothing but node:http.

const fs = require('node:fs')
const http = require('node:http')
const path = require('node:path')
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

  const page = fs.readFileSync(path.join(__dirname, '../common/dashboard.html'))
  const server = http.createServer(async (request, response) => {
    if (!mayWatch(tokenOf(request))) return response.writeHead(401).end()
    switch (request.url) {
      case '/':
        return response.writeHead(200, { 'content-type': 'text/html' }).end(page)
      case '/orders': {
        const rows = await shop('orders')
        return response
          .writeHead(200, { 'content-type': 'application/json' })
          .end(toJson(rows.map(published)))
      }
      case '/changes':
        return audience.join(response)
      default:
        return response.writeHead(404).end()
    }
  })
  const port = Number(process.env.PORT ?? 3000)
  server.listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${port}`))

  onShutdown(async () => {
    audience.close()
    server.close()
    await streamer.stop()
    await shop.destroy()
  })
}

main()
