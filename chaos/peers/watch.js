'use strict'

// The `mongodb` driver's change stream on a collection `truth`, as its documentation shows it.

const { MongoClient } = require('mongodb')
const { seen, told } = require('./report')

async function main() {
  const { url, watch = {} } = JSON.parse(process.argv[2])
  const client = new MongoClient(url)
  await client.connect()
  const stream = client.db().collection('truth').watch([], watch)
  stream.on('change', change => {
    if (change.operationType === 'insert') seen(change.fullDocument._id)
  })
  stream.on('error', error => told(error.codeName ?? error.message))
  stream.on('close', () => told('closed'))
  stream.on('end', () => told('ended'))
}

main()
