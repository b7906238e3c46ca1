'use strict'

// This library following a table or collection `truth`: `node ours.js <json>`, where the text is `{ url, source }`.

const { Streamer } = require('../..')
const { seen, told } = require('./report')

const { url, options = {} } = JSON.parse(process.argv[2])
const streamer = new Streamer({ source: { url, ...options } })
streamer.on('change', ({ table, op, after }) => {
  if (table === 'truth' && op === 'insert') seen(after.n ?? after._id)
})
streamer.on('disconnect', ({ error }) => told(error.code))
streamer.on('health', ({ status }) => status !== 'healthy' && told(status))
streamer.on('gap', ({ reason }) => told(`gap: ${reason}`))
streamer.on('error', error => told(error.code))
streamer.start()
