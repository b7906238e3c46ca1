'use strict'

// Socket.IO: a room for each table, the newest change of each row where a browser is slow.

const fs = require('node:fs')
const http = require('node:http')
const path = require('node:path')
const { Server } = require('socket.io')
const { Streamer } = require('ultimate-streaming')
const { mayWatch } = require('../common/access')
const { toJson } = require('../common/json')
const { openShop, published, publishedChange, url } = require('../common/shop')
const { onShutdown } = require('../common/shutdown')
const { Newest } = require('./newest')

/** What a browser may ask for. */
const ROOMS = new Set(['orders'])

async function main() {
  const shop = await openShop()
  const page = fs.readFileSync(path.join(__dirname, 'dashboard.html'))
  const server = http.createServer((request, response) => {
    if (request.url === '/') response.writeHead(200, { 'content-type': 'text/html' }).end(page)
    else response.writeHead(404).end()
  })
  const io = new Server(server)
  io.use((socket, next) => {
    if (mayWatch(socket.handshake.auth.token)) next()
    else next(new Error('unauthorized'))
  })
  io.on('connection', socket => {
    socket.data.newest = new Newest(socket)
    socket.on('watch', async (table, answer) => {
      if (!ROOMS.has(table) || typeof answer !== 'function') return
      socket.join(table)
      // As text: the parser of Socket.IO refuses a bigint.
      answer(toJson((await shop(table)).map(published)))
    })
  })

  const streamer = new Streamer({ source: { url, tables: [...ROOMS] } })
  streamer.on('change', change => {
    const members = io.of('/').adapter.rooms.get(change.table) ?? []
    const shown = toJson(publishedChange(change))
    for (const id of members) io.of('/').sockets.get(id)?.data.newest.send(String(change.key.id), shown)
  })
  await streamer.start()

  const port = Number(process.env.PORT ?? 3000)
  server.listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${port}`))
  onShutdown(async () => {
    await io.close()
    await streamer.stop()
    await shop.destroy()
  })
}

main()
