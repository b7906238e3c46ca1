'use strict'

// A process that follows MongoDB, to be killed: `node document-reader.js <json>`, where the text is `{ config, file }`. Every change and
// every progress of a snapshot is a line of extended JSON, in order, before it counts as done with.

const fs = require('node:fs')
const { EJSON } = require('bson')
const { Streamer } = require('../..')

const { config, file } = JSON.parse(process.argv[2])
const streamer = new Streamer(config)
const log = fs.openSync(file, 'a')
const line = item => `${EJSON.stringify(item, { relaxed: false })}\n`

streamer.on('batch', changes => {
  fs.writeSync(log, changes.map(change => line({ change: { ...change } })).join(''))
  if (changes.some(change => change.table === 'finished')) console.log('finished')
})
streamer.on('snapshot', snapshot => fs.writeSync(log, line({ snapshot })))
streamer.on('error', error => console.log(`error ${error.code} ${error.message}`))
streamer.start().then(
  () => console.log('ready'),
  error => console.log(`error ${error.code} ${error.message}`)
)
