'use strict'

// A process that consumes, to be killed: `node consume.js <json>`, where the text is `{ config, options, file }`. Every change that its
// handler was given is a line of the file before the handler's promise resolves. Says `ready` when it streams, and names what ends it.
// At SIGUSR2 its handler fails from then on; the consumer is stopped, and another one takes its place.

const fs = require('node:fs')
const { Streamer } = require('../..')

const { config, options, file } = JSON.parse(process.argv[2])
const streamer = new Streamer(config)
const log = fs.openSync(file, 'a')

streamer.on('gap', gap => console.log(`gap ${gap.reason}`))
streamer.on('error', error => {
  console.log(`error ${error.code} ${error.message}`)
  process.exitCode = 1
})
let isBroken = false
const handle = batch => {
  if (isBroken) throw new Error('broken')
  fs.writeSync(
    log,
    batch
      .map(
        ({ id, op, table, key, after }) =>
          JSON.stringify({ id, op, table, key, after, pid: process.pid }) + '\n'
      )
      .join('')
  )
}
const consume = () => streamer.consume(handle, { ...options, retries: Infinity })
let consumer = consume()
streamer.start().then(
  () => console.log('ready'),
  () => {}
)
process.on('SIGUSR2', async () => {
  isBroken = true
  await consumer.stop()
  isBroken = false
  consumer = consume()
  console.log('replaced')
})
process.on('SIGTERM', () => {
  streamer.stop().then(
    () => console.log('stopped'),
    error => console.log(`error ${error.code}`)
  )
})
