'use strict'

// A process that follows a SQLite database, to be killed: `node sqlite-reader.js <json>`, where the text is `{ config, file }`. Every
// change, definition and gap is a line of the file, in order, before it counts as done with.

const fs = require('node:fs')
const v8 = require('node:v8')
const { Streamer } = require('../..')

const { config, file } = JSON.parse(process.argv[2])
const streamer = new Streamer(config)
const log = fs.openSync(file, 'a')
const line = item => `${v8.serialize(item).toString('base64')}\n`

streamer.on('batch', changes => {
  fs.writeSync(log, changes.map(change => line({ change: { ...change } })).join(''))
  if (changes.some(change => change.table === 'finished')) console.log('finished')
})
streamer.on('schema', schema => fs.writeSync(log, line({ schema })))
streamer.on('snapshot', snapshot => fs.writeSync(log, line({ snapshot })))
streamer.on('gap', gap => fs.writeSync(log, line({ gap })))
streamer.on('error', error => console.log(`error ${error.code} ${error.message}`))
streamer.start().then(
  () => console.log('ready'),
  error => console.log(`error ${error.code} ${error.message}`)
)
